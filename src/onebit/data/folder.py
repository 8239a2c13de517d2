"""Your own images: ``train/`` and ``val/`` with one folder of pictures per class, decoded when they are needed."""

import hashlib
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from onebit.data.base import DATASETS, DataError, ImageData, data_folder, input_of
from onebit.format.graph import Fit, InputSpec
from onebit.runtime.images import CROP, PictureError, read_picture

ENDINGS = frozenset({".jpg", ".jpeg", ".png", ".webp"})
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
DEFAULT_SIZE = 224


class FolderSet:
    """An image set on disk; each picture is read as a network of this input takes it."""

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
        """SHA-256 of the files' names below the folder that holds them all, their sizes in bytes and their labels.

        Reading every file would take as long as an epoch.
        """
        folder = os.path.commonpath(self.paths)
        found = hashlib.sha256()
        for path, label in zip(self.paths, self.labels_N.tolist(), strict=True):
            name = path.relative_to(folder).as_posix()
            found.update(f"{name}\0{path.stat().st_size}\0{label}\n".encode("utf-8", "surrogateescape"))
        return found.hexdigest()


@DATASETS.register("folder")
def folder(data_dir: Path | None = None, image_size: int | None = None, fit: Fit = CROP) -> ImageData:
    """Your own pictures in data_dir/train/CLASS/ and data_dir/val/CLASS/, as RGB."""
    spec = input_of(DEFAULT_SIZE if image_size is None else image_size, IMAGENET_MEAN, IMAGENET_STD, fit)
    root = data_folder(data_dir, "folder", "the folders 'train' and 'val' with one folder of images per class")
    classes = _classes(root / "train")
    if (found := _classes(root / "val")) != classes:
        odd = sorted(set(found) ^ set(classes))
        raise DataError(f"'train' and 'val' in {str(root)!r} must hold the same classes; {odd} are in one of them only")
    train, test = (_image_set(root / part, classes, spec) for part in ("train", "val"))
    return ImageData("folder", train, test, classes, spec)


def _classes(part: Path) -> tuple[str, ...]:
    names = tuple(sorted(path.name for path in part.iterdir() if path.is_dir())) if part.is_dir() else ()
    if not names:
        raise DataError(f"no class folders in {str(part)!r}; put the images of each class in a folder of its own there")
    return names


def _image_set(part: Path, classes: tuple[str, ...], spec: InputSpec) -> FolderSet:
    paths: list[Path] = []
    labels: list[int] = []
    for label, name in enumerate(classes):
        pictures = sorted(path for path in (part / name).iterdir() if path.suffix.lower() in ENDINGS)
        if not pictures:
            raise DataError(f"no images in {str(part / name)!r}; allowed are {sorted(ENDINGS)}")
        if empty := [str(path) for path in pictures if path.stat().st_size == 0]:
            raise DataError(f"empty image files: {empty[:5]}; replace or remove them")
        paths += pictures
        labels += [label] * len(pictures)
    return FolderSet(paths, labels, spec)
