#!/bin/sh
# arm_python.sh FOLDER VERSION: Debian's Python of that version for 64-bit ARM, with its headers, unpacked in FOLDER.
set -e
folder=$1 version=$2
debs=$folder/debs
mkdir -p "$debs"
packages=""
for name in "libpython$version-dev" "libpython$version-minimal" "libpython$version-stdlib" "libpython$version" \
  "python$version-minimal" libc6 libgcc-s1 libstdc++6 zlib1g libssl3 libffi8 libbz2-1.0 liblzma5 libexpat1 \
  libsqlite3-0 libuuid1 libcrypt1; do
  packages="$packages $name:arm64"
done
if ! (cd "$debs" && apt-get download -qq $packages); then
  echo "no packages for ARM: dpkg --add-architecture arm64 && apt-get update" >&2
  exit 1
fi
for deb in "$debs"/*.deb; do
  dpkg-deb -x "$deb" "$folder"
done
