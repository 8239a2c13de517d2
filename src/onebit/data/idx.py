"""MNIST and similar sets: IDX files, plain or gzipped, checked against their headers.

Format: two zero bytes, a type byte (8: unsigned byte), the number of dimensions, each dimension as a big-endian 32-bit
integer, then the data (http://yann.lecun.com/exdb/mnist).
"""

import gzip
import math
import struct
import zlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from onebit.data.base import DATASETS, Color, DataError, ImageData, data_folder, in_memory
from onebit.format.graph import Fit
from onebit.runtime.images import CROP

FILES = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}
MOST_DEFLATED = 1032  # bytes that one byte of a .gz file can stand for


@DATASETS.register("mnist")
def mnist(
    data_dir: Path | None = None, image_size: int | None = None, fit: Fit = CROP, color: Color | None = None
) -> ImageData:
    """MNIST and sets in its layout (Fashion-MNIST, KMNIST): four IDX files of gray images, plain or .gz."""
    root = data_folder(data_dir, "mnist", f"the files {FILES['train'][0]} and so on, plain or .gz")
    folder = next(
        (path for path in (root, root / "mnist", root / "MNIST" / "raw") if _find(path, FILES["train"][0])), root
    )
    train, test = (_split(folder, *FILES[part]) for part in ("train", "test"))
    highest = max((int(labels.max()) for _, labels in (train, test) if len(labels)), default=0)
    classes = tuple(str(label) for label in range(highest + 1))
    return in_memory("mnist", train, test, classes, image_size, fit)


def _find(folder: Path, stem: str) -> Path | None:
    names = (stem, stem.replace("-idx", ".idx"))  # both spellings are in circulation
    return next((path for name in names for end in ("", ".gz") if (path := folder / f"{name}{end}").is_file()), None)


def _split(folder: Path, images_name: str, labels_name: str) -> tuple[Tensor, Tensor]:
    images, labels = (_read(folder, images_name, 3), _read(folder, labels_name, 1))
    if len(images) != len(labels):
        raise DataError(
            f"mnist: {images_name} holds {len(images)} images but {labels_name} {len(labels)} labels in {str(folder)!r}"
        )
    return torch.from_numpy(images).unsqueeze(1), torch.from_numpy(labels.astype(np.int64))


def _read(folder: Path, stem: str, dimensions: int) -> np.ndarray:
    """The array of one IDX file; DataError if it is missing, truncated or not an IDX file."""
    path = _find(folder, stem)
    if path is None:
        raise DataError(f"mnist: neither {stem} nor {stem}.gz is in {str(folder)!r}; put the four official files there")
    most = path.stat().st_size * (MOST_DEFLATED if path.suffix == ".gz" else 1)
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            head = file.read(4 + 4 * dimensions)
            if len(head) < 4 + 4 * dimensions or head[:4] != bytes((0, 0, 8, dimensions)):
                raise DataError(
                    f"mnist: {str(path)!r} is no IDX file of unsigned bytes with {dimensions} dimensions: fetch another"
                )
            shape = struct.unpack(f">{dimensions}I", head[4:])
            size = math.prod(shape)
            raw = file.read(size + 1) if size <= most else b""
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"mnist: {str(path)!r} is damaged ({error}); fetch it again") from error
    if len(raw) != size:
        told, found = "x".join(map(str, shape)), "more" if len(raw) > size else "fewer"
        raise DataError(
            f"mnist: {str(path)!r} is damaged: its header tells of {told} bytes, {found} follow; fetch it again"
        )
    return np.frombuffer(raw, np.uint8).reshape(shape).copy()
