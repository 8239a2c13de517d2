"""Preparation of images: pictures are decoded and resized, arrays are checked, pixels are normalized.

Training, evaluation and inference all read pictures with :func:`read_picture`, so a file gives the same pixels
everywhere. Pillow is imported when the first picture is decoded.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from onebit.format.graph import PIXELS, Fit, InputSpec

if TYPE_CHECKING:
    from pathlib import Path

    from PIL import Image

# Shape letters: N images, H W image, C channels.

# Pillow's name of each supported format -> its file extensions; AVIF and WebP depend on the Pillow build
FORMATS = {
    "JPEG": (".jpg", ".jpeg", ".jfif"),
    "PNG": (".png",),
    "WEBP": (".webp",),
    "BMP": (".bmp",),
    "GIF": (".gif",),
    "TIFF": (".tif", ".tiff"),
    "PPM": (".ppm", ".pgm", ".pbm"),
    "AVIF": (".avif",),
}
MAX_PICTURE_PIXELS = 1 << 26  # 256 MiB as Pillow holds RGB
CROP = Fit("crop")

_CHANNELS = {"RGB": 3, "L": 1}
_GRAY_MODES = ("1", "L", "LA", "La", "I")  # and "I;16" in its byte orders


class PictureError(ValueError):
    """A picture that cannot be read or does not fit the network; the message states the reason and a remedy."""


@cache
def picture_formats() -> tuple[str, ...]:
    """The rows of ``FORMATS`` that the installed Pillow reads."""
    from PIL import Image

    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


def find_pictures(folder: str | os.PathLike[str]) -> tuple[list[Path], Counter[str]]:
    """List the pictures in ``folder`` recursively, ordered by path, and count the entries that are skipped.

    A picture is a file with one of the extensions in ``FORMATS``.  Skipped entries are counted by extension, as
    "hidden" if the name of the file or folder begins with a dot, or as "other".  Links to folders are followed; each
    folder is read once.
    """
    from pathlib import Path

    endings = {ending for name in picture_formats() for ending in FORMATS[name]}
    pictures: list[str] = []
    left_out: Counter[str] = Counter()
    folders, seen = [os.fspath(folder)], set()
    while folders:
        here = folders.pop()
        if (real := os.path.realpath(here)) in seen:
            continue
        seen.add(real)
        with os.scandir(here) as entries:
            for entry in entries:
                ending = os.path.splitext(entry.name)[1].lower()
                if entry.name.startswith("."):
                    left_out["hidden"] += 1
                elif entry.is_dir():
                    folders.append(entry.path)
                elif ending in endings:
                    pictures.append(entry.path)
                else:
                    left_out[ending if re.fullmatch(r"\.\w{1,9}", ending) else "other"] += 1
    return [Path(path) for path in sorted(pictures)], left_out


def tell_counts(counts: Mapping[str, int]) -> str:
    """The counts of :func:`find_pictures` as text, largest first: "3 .txt, 1 hidden"."""
    return ", ".join(f"{count} {kind}" for kind, count in sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def read_picture(path: str | os.PathLike[str], spec: InputSpec) -> NDArray[np.uint8]:
    """Read a picture file as pixels (H, W, C) for a network with this input.

    The EXIF orientation is applied, the picture is converted to ``spec.color`` and resized according to ``spec.fit``.
    If that is None, the picture must have the right size and the right color mode.  For 16-bit samples the high byte is
    used, an alpha channel is dropped, and of several frames or pages the first is read.

    Raises PictureError for a file that is missing, damaged, of a format outside ``FORMATS``, larger than
    ``MAX_PICTURE_PIXELS`` or with 32-bit samples; for another size or color if ``spec.fit`` is None; and if
    ``spec.color`` is "other".
    """
    name = repr(os.fspath(path))
    try:
        with _open(path) as picture:
            return _pixels(picture, spec)
    except PictureError as error:
        raise PictureError(f"{name}: {error}") from None
    except FileNotFoundError:
        raise PictureError(f"{name}: no such file") from None
    except Exception as error:  # a damaged file can raise anything
        raise PictureError(f"{name} cannot be read as a picture: {_reason(error)}; replace it or remove it") from None


def fit_pixels(pixels_HWC: NDArray[np.uint8], spec: InputSpec) -> NDArray[np.uint8]:
    """Resize an image in memory with 1 or 3 channels, as :func:`read_picture` does."""
    from PIL import Image

    picture = Image.fromarray(pixels_HWC[:, :, 0] if spec.channels == 1 else pixels_HWC)
    return _array(_fitted(picture, spec), spec)


def _open(path: str | os.PathLike[str]) -> Image.Image:
    from PIL import Image

    return Image.open(path, formats=picture_formats())


def _reason(error: Exception) -> str:
    match type(error).__name__:
        case "UnidentifiedImageError":
            return f"it is no {', '.join(picture_formats()[:-1])} or {picture_formats()[-1]}"
        case "DecompressionBombError" | "DecompressionBombWarning":
            return f"it has more than {MAX_PICTURE_PIXELS} pixels"
    return " ".join(str(error).split()) or type(error).__name__


def _pixels(picture: Image.Image, spec: InputSpec) -> NDArray[np.uint8]:
    if _CHANNELS.get(spec.color) != spec.channels:
        raise PictureError(
            f"the network takes {spec.channels} channel(s) of color {spec.color!r}, and pictures are RGB or gray (L); "
            "give it the image as a .npy array"
        )
    if picture.width * picture.height > MAX_PICTURE_PIXELS:
        raise PictureError(
            f"the picture has {picture.width}x{picture.height} pixels, allowed are {MAX_PICTURE_PIXELS} in all; "
            "scale it down or remove it"
        )
    upright = _decoded(picture, spec)
    if spec.fit is None:
        _check_fits(upright, spec)
    return _array(_fitted(_converted(upright, spec.color), spec), spec)


def _array(picture: Image.Image, spec: InputSpec) -> NDArray[np.uint8]:
    return np.array(picture).reshape(spec.height, spec.width, spec.channels)


def _decoded(picture: Image.Image, spec: InputSpec) -> Image.Image:
    """Apply the orientation. JPEG is decoded at the smallest scale that still provides one pixel per pixel of the
    output.
    """
    from PIL import ImageOps

    size = (picture.height, picture.width) if _orientation(picture) >= 5 else picture.size
    if spec.fit is not None:
        left, top, right, bottom = _box(size, spec, spec.fit)
        scale = max(spec.width / (right - left), spec.height / (bottom - top))
        picture.draft(None, (max(int(picture.width * scale), 1), max(int(picture.height * scale), 1)))
    picture.load()
    if _orientation(picture) != 1:
        ImageOps.exif_transpose(picture, in_place=True)
    return picture


def _orientation(picture: Image.Image) -> int:
    """The EXIF orientation, 1 to 8; from 5 on, width and height are swapped.  1 if it cannot be read."""
    try:
        return int(picture.getexif().get(0x0112, 1))
    except Exception:  # damaged metadata of an intact picture
        return 1


def _is_gray(picture: Image.Image) -> bool:
    return picture.mode in _GRAY_MODES or picture.mode.startswith("I;16")


def _check_fits(picture: Image.Image, spec: InputSpec) -> None:
    mend = "or choose a fit, 'crop' or 'stretch'"
    if picture.size != (spec.width, spec.height):
        raise PictureError(
            f"the picture has {picture.width}x{picture.height} pixels, the network takes "
            f"{spec.width}x{spec.height}: scale it, {mend}"
        )
    if _is_gray(picture) != (spec.color == "L"):
        found, wanted = ("in color", "gray ones") if spec.color == "L" else ("gray", "RGB")
        raise PictureError(f"the picture is {found} ({picture.mode}), the network takes {wanted}: convert it, {mend}")


def _converted(picture: Image.Image, color: str) -> Image.Image:
    """Convert the picture to 8-bit RGB or L, without alpha."""
    from PIL import Image

    if picture.mode.startswith("I;16") or (picture.mode == "I" and picture.format in ("PNG", "PPM")):
        picture = Image.fromarray((np.asarray(picture) >> 8).astype(np.uint8))
    elif picture.mode in ("I", "F"):
        raise PictureError("its samples have 32 bits; save it with 8 or 16 bits per sample")
    picture.info.pop("transparency", None)  # the transparent color of a palette
    return picture if picture.mode == color else picture.convert(color)


def _fitted(picture: Image.Image, spec: InputSpec) -> Image.Image:
    from PIL import Image

    target, whole = (spec.width, spec.height), (0, 0, *picture.size)
    box = whole if spec.fit is None else _box(picture.size, spec, spec.fit)
    if picture.size == target and box == whole:
        return picture
    return picture.resize(target, Image.Resampling.BILINEAR, box)


def _box(size: tuple[int, int], spec: InputSpec, fit: Fit) -> tuple[int, int, int, int]:
    """The box (left, top, right, bottom) of a picture of this size (width, height) that is resized."""
    width, height = size
    if fit.resize == "stretch":
        return 0, 0, width, height
    scale = fit.crop_pct * min(width / spec.width, height / spec.height)
    across, down = (max(round(scale * side), 1) for side in (spec.width, spec.height))
    left, top = (width - across) // 2, (height - down) // 2
    return left, top, left + across, top + down


def prepare(images: ArrayLike, spec: InputSpec) -> tuple[NDArray[Any], bool]:
    """Check images against ``spec``; return a contiguous batch (N, H, W, C) of uint8 or float32, and whether ``images``
    was a single image.

    Raises ValueError that states what was found, what the network takes, and a remedy.
    """
    array = np.asarray(images)
    takes = f"the network takes {spec.height}x{spec.width} images of {spec.channels} channel(s)"
    if array.dtype != np.uint8 and array.dtype.kind != "f":
        raise ValueError(f"images have dtype {array.dtype}; give raw pixels as uint8 or normalized ones as float32")
    hwc, chw = (spec.height, spec.width, spec.channels), (spec.channels, spec.height, spec.width)
    pixels = array.dtype == np.uint8
    if spec.channels == 1 and array.ndim in ((2, 3) if pixels else (2,)) and array.shape[-2:] == hwc[:2]:
        array = array[..., None]
    single = array.ndim == 3
    batch = array[None] if single else array
    layouts = (hwc,) if pixels else (chw, hwc)
    if batch.ndim != 4 or len(batch) == 0 or batch.shape[1:] not in layouts:
        raise ValueError(
            f"images have shape {np.shape(images)}; {takes}: resize them to {hwc} (H, W, C), alone or in a batch"
        )
    if not pixels and batch.shape[1:] == chw:
        batch = batch.transpose(0, 2, 3, 1)
    if batch.dtype != np.uint8:
        batch = batch.astype(np.float32, copy=False)
        if not np.isfinite(batch).all():
            raise ValueError("images hold NaN or infinity; check how they were normalized")
    return np.ascontiguousarray(batch), single


def as_input(images_NHWC: NDArray[Any], spec: InputSpec) -> NDArray[Any]:
    """Convert raw pixels (uint8) or normalized floats to the type of the network's input: normalized floats, or pixels
    for the type "uint8".

    Raises ValueError as in :func:`to_pixels`.
    """
    if (images_NHWC.dtype == np.uint8) == (spec.type == PIXELS):
        return images_NHWC
    return to_pixels(images_NHWC, spec) if spec.type == PIXELS else normalize(images_NHWC, spec.mean, spec.std)


def to_pixels(images_NHWC: NDArray[Any], spec: InputSpec) -> NDArray[np.uint8]:
    """The nearest pixels, ``round(255 (x std + mean))``: the exact inverse of ``normalize``.

    Raises ValueError if a pixel would be outside 0...255, because the images were normalized differently.
    """
    std, mean = np.asarray(spec.std, np.float64), np.asarray(spec.mean, np.float64)
    levels = np.rint(255 * (images_NHWC * std + mean))
    if not (levels.min() >= 0 and levels.max() <= 255):
        low, high = ([round(float(x), 3) for x in (limit - mean) / std] for limit in (0, 1))
        raise ValueError(
            f"the network takes pixels: its first layer is int8. Floats must be pixels normalized by its mean and std, "
            f"from {low} to {high} per channel, but these lie between {images_NHWC.min():.3f} and "
            f"{images_NHWC.max():.3f}; give raw pixels as uint8, or pack the network with a float stem"
        )
    return levels.astype(np.uint8)


def normalize(pixels_NHWC: NDArray[np.uint8], mean: tuple[float, ...], std: tuple[float, ...]) -> NDArray[np.float32]:
    """``(pixel/255 - mean)/std`` in float32, with a 256-entry table per channel as in the C++ core."""
    levels = np.arange(256, dtype=np.float32)[:, None] / np.float32(255)
    table = (levels - np.asarray(mean, np.float32)) / np.asarray(std, np.float32)  # (256, C)
    return table[pixels_NHWC, np.arange(pixels_NHWC.shape[-1])].astype(np.float32, copy=False)
