"""MNIST and its relatives: IDX files, plain or gzipped, checked against their own headers.

Format: two zero bytes, a type byte (8: unsigned byte), the number of dimensions, each dimension as a big-endian 32-bit
integer, then the data (http://yann.lecun.com/exdb/mnist).
"""

import gzip
import struct
import zlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from onebit.data.base import DATASETS, DataError, ImageData, data_folder, in_memory
from onebit.format.graph import Fit
from onebit.runtime.images import CROP

FILES = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}


@DATASETS.register("mnist")
def mnist(data_dir: Path | None = None, image_size: int | None = None, fit: Fit = CROP) -> ImageData:
    """MNIST and anything in its layout (Fashion-MNIST, KMNIST): four IDX files of gray images, plain or .gz."""
    root = data_folder(data_dir, "mnist", f"the files {FILES['train'][0]} and so on, plain or .gz")
    folder = next(
        (path for path in (root, root / "mnist", root / "MNIST" / "raw") if _find(path, FILES["train"][0])), root
    )
    train, test = (_split(folder, *FILES[part]) for part in ("train", "test"))
    classes = tuple(str(label) for label in range(int(max(train[1].max(), test[1].max())) + 1))
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
    """The array of one IDX file; DataError if it is missing, truncated or something else."""
    path = _find(folder, stem)
    if path is None:
        raise DataError(f"mnist: neither {stem} nor {stem}.gz is in {str(folder)!r}; put the four official files there")
    try:
        raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"mnist: {str(path)!r} is damaged ({error}); fetch it again") from error
    start = 4 + 4 * dimensions
    if len(raw) < start or raw[:4] != bytes((0, 0, 8, dimensions)):
        raise DataError(f"mnist: {str(path)!r} is no IDX file of unsigned bytes with {dimensions} dimensions")
    shape = struct.unpack(f">{dimensions}I", raw[4:start])
    expected = start + int(np.prod(shape, dtype=np.int64))
    if len(raw) != expected:
        raise DataError(f"mnist: {str(path)!r} has {len(raw)} bytes instead of {expected}; fetch it again")
    return np.frombuffer(raw, np.uint8, offset=start).reshape(shape).copy()
