# Builds for 64-bit ARM Linux with Debian's cross compiler, and runs what was built under QEMU:
#
#   cmake -S . -B build/arm -DCMAKE_TOOLCHAIN_FILE=native/cmake/aarch64.cmake
#
# Packages: g++-aarch64-linux-gnu, and qemu-user-static to run the tests.
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_C_COMPILER aarch64-linux-gnu-gcc)
set(CMAKE_CXX_COMPILER aarch64-linux-gnu-g++)

find_program(ONEBIT_QEMU NAMES qemu-aarch64-static qemu-aarch64)
if(ONEBIT_QEMU)
  set(CMAKE_CROSSCOMPILING_EMULATOR ${ONEBIT_QEMU} -L /usr/aarch64-linux-gnu)
endif()

# Programs are those of this machine; libraries and headers are the target's.
set(CMAKE_FIND_ROOT_PATH /usr/aarch64-linux-gnu)
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_INCLUDE ONLY)
