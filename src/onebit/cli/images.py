"""Reading images from paths on the command line."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from onebit.cli.base import Failure
from onebit.format.graph import Fit, InputSpec
from onebit.runtime.images import PictureError, find_pictures, prepare, read_picture, tell_counts

if TYPE_CHECKING:
    from collections import Counter

    from jsonargparse import ArgumentParser


def add_fit(parser: ArgumentParser) -> None:
    """Add the flag ``--fit`` of the verbs that read pictures."""
    parser.add_argument(
        "--fit",
        type=Literal["file", "crop", "stretch"],
        default="file",
        help="how to prepare pictures of another size or color: as the packed file specifies, with a center crop, or "
        "stretched",
    )


def fitting(spec: InputSpec, fit: str) -> InputSpec:
    """``spec`` with the fit of the command line; if the file specifies the same kind, its ``crop_pct`` is kept."""
    if fit == "file" or (spec.fit is not None and spec.fit.resize == fit):
        return spec
    return replace(spec, fit=Fit(fit))


def list_images(names: Sequence[str]) -> tuple[list[str], Counter[str]]:
    """The files of ``names`` in order, with folders replaced by the pictures in them; and counts of skipped entries.

    Raises Failure for a name that does not exist and for a folder without pictures.
    """
    from collections import Counter

    paths: list[str] = []
    left_out: Counter[str] = Counter()
    for name in names:
        if Path(name).is_dir():
            pictures, others = find_pictures(name)
            if not pictures:
                raise Failure(
                    f"{name}: no pictures in this folder" + (f" (left out: {tell_counts(others)})" if others else "")
                )
            paths += map(str, pictures)
            left_out += others
        elif Path(name).is_file():
            paths.append(name)
        else:
            raise Failure(f"{name}: no such file or folder")
    return paths, left_out


def read_image(path: str, spec: InputSpec) -> NDArray[Any]:
    """Read one file as an image for the network: uint8 (H, W, C), or float32 for a ``.npy`` array of floats.

    Raises Failure for a file that is damaged or does not fit the network; the message names the file and a remedy.
    """
    warnings.filterwarnings("ignore", "Image size .* exceeds limit")  # Pillow's, of a picture that is refused anyway
    try:
        image = _read_array(path) if Path(path).suffix == ".npy" else read_picture(path, spec)
    except PictureError as error:
        text = str(error).replace("choose a fit, 'crop' or 'stretch'", "add --fit crop or --fit stretch")
        raise Failure(text) from None
    try:
        batch, _ = prepare(image, spec)
    except ValueError as error:
        raise Failure(f"{path}: {error}") from None
    if len(batch) != 1:
        raise Failure(f"{path}: holds {len(batch)} images of shape {image.shape[1:]}; give one image per file")
    return batch[0]


def _read_array(path: str) -> NDArray[Any]:
    try:
        return np.load(path, allow_pickle=False)
    except Exception:  # numpy speaks of pickles where the file is cut or no array at all
        raise Failure(f"{path}: no .npy array of numbers, or a truncated one") from None
