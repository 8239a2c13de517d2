"""Reading the images that a user names on the command line."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from onebit.cli.base import Failure
from onebit.format.graph import InputSpec
from onebit.runtime.images import prepare

_MODES = {1: ("L", "gray"), 3: ("RGB", "RGB")}


def read_images(paths: Sequence[str], spec: InputSpec, *, fit: bool) -> NDArray:
    """The files as one batch for the network: uint8 (N, H, W, C), or float32 where they are ``.npy`` arrays of floats.

    Args:
        paths: image files that Pillow reads, or ``.npy`` files with one image.
        spec: what the network takes.
        fit: scale and convert images of another size or color instead of refusing them.

    Raises:
        Failure: a file that is missing, damaged, or of another size, color or dtype; it names the file and the mend.
    """
    batches = [_read(Path(path), spec, fit) for path in paths]
    if len({batch.dtype for batch in batches}) > 1:
        raise Failure("the images mix raw pixels (uint8) and normalized floats; give one kind at a time")
    return np.concatenate(batches)


def _read(path: Path, spec: InputSpec, fit: bool) -> NDArray:
    if not path.is_file():
        raise Failure(f"{path}: no such file")
    try:
        image = _read_array(path) if path.suffix == ".npy" else _read_picture(path, spec, fit)
    except (OSError, ValueError, SyntaxError) as error:
        raise Failure(f"{path}: not an image that can be read ({error})") from None
    try:
        batch, _ = prepare(image, spec)
    except ValueError as error:
        raise Failure(f"{path}: {error}") from None
    if len(batch) != 1:
        raise Failure(f"{path}: holds {len(batch)} images of shape {image.shape[1:]}; give one image per file")
    return batch


def _read_array(path: Path) -> NDArray:
    try:
        return np.load(path, allow_pickle=False)
    except Exception:  # numpy speaks of pickles where the file is cut or no array at all
        raise ValueError("no .npy array of numbers, or a truncated one") from None


def _read_picture(path: Path, spec: InputSpec, fit: bool) -> NDArray[np.uint8]:
    from PIL import Image

    if spec.channels not in _MODES:
        raise Failure(f"{path}: the network takes {spec.channels} channels; give it as a .npy array")
    mode, word = _MODES[spec.channels]
    with Image.open(path) as opened:
        picture: Image.Image = opened
        if picture.mode in ("P", "1"):  # a palette or pure black and white is only a way to store
            picture = picture.convert("RGB" if picture.mode == "P" else "L")
        if picture.mode[0] in "IF":
            raise Failure(f"{path}: the image has more than 8 bits per channel; save it with 8 bits")
        if not fit and picture.mode != mode:
            raise Failure(
                f"{path}: the image is {picture.mode} with {len(picture.getbands())} channel(s), the network takes "
                f"{word} ({spec.channels}): convert it, or add --fit"
            )
        size = (spec.width, spec.height)
        if not fit and picture.size != size:
            raise Failure(
                f"{path}: the image is {picture.size[0]}x{picture.size[1]} pixels, the network takes "
                f"{size[0]}x{size[1]}: scale it, or add --fit"
            )
        picture = picture.convert(mode)
        return np.asarray(picture if picture.size == size else picture.resize(size, Image.Resampling.BILINEAR))
