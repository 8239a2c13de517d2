"""Folders of pictures: ``train/`` and ``val/`` with one folder per class, decoded on access."""

import hashlib
import os
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from onebit.data.base import DATASETS, Color, DataError, ImageData, data_folder, input_of
from onebit.format.graph import Fit, InputSpec
from onebit.runtime.images import CROP, PictureError, find_pictures, read_picture, tell_counts

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
GRAY_MEAN = (0.459,)  # of 0.299 R + 0.587 G + 0.114 B, as Pillow converts
GRAY_STD = (0.226,)  # the same sum of the deviations: what it is where the three colors change together
DEFAULT_SIZE = 224


class FolderSet:
    """An image set on disk; pictures are read as for a network with this input."""

    def __init__(self, paths: Sequence[Path], labels: Sequence[int], spec: InputSpec) -> None:
        self.paths = list(paths)
        self.labels_N = torch.tensor(labels, dtype=torch.int64)
        self.spec = spec
        self._pool = ThreadPoolExecutor()  # Pillow lets go of the interpreter lock while it decodes

    def __len__(self) -> int:
        return len(self.paths)

    def batch(self, indices_B: Tensor) -> tuple[Tensor, Tensor]:
        images = list(self._pool.map(self._read, indices_B.tolist()))
        images_BHWC = torch.from_numpy(np.stack(images))
        return images_BHWC.permute(0, 3, 1, 2).contiguous(), self.labels_N[indices_B.cpu()]

    def _read(self, index: int) -> NDArray[np.uint8]:
        try:
            return read_picture(self.paths[index], self.spec)
        except PictureError as error:
            raise DataError(str(error)) from None

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the relative file names, file sizes and labels.

        Reading the contents would take as long as an epoch.
        """
        folder = os.path.commonpath(self.paths)
        found = hashlib.sha256()
        for path, label in zip(self.paths, self.labels_N.tolist(), strict=True):
            name = path.relative_to(folder).as_posix()
            found.update(f"{name}\0{path.stat().st_size}\0{label}\n".encode("utf-8", "surrogateescape"))
        return found.hexdigest()


@DATASETS.register("folder")
def folder(
    data_dir: Path | None = None, image_size: int | None = None, fit: Fit = CROP, color: Color | None = None
) -> ImageData:
    """Your own pictures in data_dir/train/CLASS/ and data_dir/val/CLASS/, read recursively as RGB or gray."""
    mean, std = (GRAY_MEAN, GRAY_STD) if color == "L" else (IMAGENET_MEAN, IMAGENET_STD)
    spec = input_of(DEFAULT_SIZE if image_size is None else image_size, mean, std, fit)
    root = data_folder(data_dir, "folder", "the folders 'train' and 'val' with one folder of images per class")
    left_out: Counter[str] = Counter()
    classes, other = (_class_folders(root / part, left_out) for part in ("train", "val"))
    if other != classes:
        odd = sorted(set(other) ^ set(classes))
        raise DataError(f"'train' and 'val' in {str(root)!r} must hold the same classes; {odd} are in one of them only")
    train, test = (_image_set(root / part, classes, spec, left_out) for part in ("train", "val"))
    return ImageData("folder", train, test, classes, spec, left_out)


def _class_folders(part: Path, left_out: Counter[str]) -> tuple[str, ...]:
    """Names of the class folders; hidden folders, and files next to the folders, are counted as skipped."""
    names = []
    for path in part.iterdir() if part.is_dir() else ():
        if path.name.startswith("."):
            left_out["hidden"] += 1
        elif path.is_dir():
            names.append(path.name)
        else:
            left_out["next to the class folders"] += 1
    if not names:
        raise DataError(f"no class folders in {str(part)!r}; put the images of each class in a folder of its own there")
    if strange := [name for name in names if not _is_text(name)]:
        raise DataError(f"class folders of {str(part)!r} whose names are not UTF-8: {strange}; rename them")
    return tuple(sorted(names))


def _is_text(name: str) -> bool:
    try:
        return bool(name.encode())
    except UnicodeEncodeError:  # the file system gave bytes that mean nothing
        return False


def _image_set(part: Path, classes: tuple[str, ...], spec: InputSpec, left_out: Counter[str]) -> FolderSet:
    paths: list[Path] = []
    labels: list[int] = []
    for label, name in enumerate(classes):
        pictures, others = find_pictures(part / name)
        if not pictures:
            found = f" (left out: {tell_counts(others)})" if others else ""
            raise DataError(f"no pictures in {str(part / name)!r}{found}; add some, or remove the folder")
        if empty := [str(path) for path in pictures if path.stat().st_size == 0]:
            raise DataError(f"empty image files: {empty[:5]}; replace or remove them")
        paths += pictures
        labels += [label] * len(pictures)
        left_out.update(others)
    return FolderSet(paths, labels, spec)
