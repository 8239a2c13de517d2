"""CIFAR-10 and CIFAR-100 in their official layouts, binary or Python; every file is checked before use.

Format: https://www.cs.toronto.edu/~kriz/cifar.html.  A binary record is the label byte(s) followed by 3072 bytes: red,
green and blue planes of 32x32.  A Python batch is a pickled dictionary, read by an unpickler that accepts only arrays,
lists and strings.
"""

import hashlib
import io
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from onebit.data.base import DATASETS, ORIGINS, Color, DataError, ImageData, Origin, data_folder, in_memory
from onebit.format.graph import Fit
from onebit.runtime.images import CROP

PIXELS = 3 * 32 * 32
CIFAR10_CLASSES = "airplane automobile bird cat deer dog frog horse ship truck"
CIFAR100_CLASSES = """
    apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can
    castle caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin
    elephant flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster
    man maple_tree motorcycle mountain mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck
    pine_tree plain plate poppy porcupine possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk
    skyscraper snail snake spider squirrel streetcar sunflower sweet_pepper table tank telephone television tiger
    tractor train trout tulip turtle wardrobe whale willow_tree wolf woman worm
"""

# Shape letters: N images of a file, R bytes of a binary record.


@dataclass(frozen=True)
class Layout:
    """Names and checksums of the files of a CIFAR set.

    ``md5`` maps the name of a Python-layout file to two checksums: of the file, and of its records in the binary layout
    (None if not published: then only size and labels are checked).  A Python file is valid if either matches, so a
    re-pickled copy of the official images is accepted.
    """

    name: str
    binary_folder: str
    python_folder: str
    train: tuple[str, ...]
    test: tuple[str, ...]
    label_keys: tuple[bytes, ...]  # as stored in a binary record; the last one is the class
    images: dict[str, int]
    md5: dict[str, tuple[str | None, str | None]]
    classes: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]


CIFAR10 = Layout(
    name="cifar10",
    binary_folder="cifar-10-batches-bin",
    python_folder="cifar-10-batches-py",
    train=("data_batch_1", "data_batch_2", "data_batch_3", "data_batch_4", "data_batch_5"),
    test=("test_batch",),
    label_keys=(b"labels",),
    images=dict.fromkeys(
        ("data_batch_1", "data_batch_2", "data_batch_3", "data_batch_4", "data_batch_5", "test_batch"), 10_000
    ),
    md5={
        "data_batch_1": ("c99cafc152244af753f735de768cd75f", "5dd7e06a14cb22eb9f671a540d1b7c25"),
        "data_batch_2": ("d4bba439e000b95fd0a9bffe97cbabec", "5ea93a67294ea407fff1d09f752e9692"),
        "data_batch_3": ("54ebc095f3ab1f0389bbae665268c751", "942cd6a4bcdd0dd3c604fbe906cb4421"),
        "data_batch_4": ("634d18415352ddfa80567beed471001a", "ae636b3ba5c66a11e91e8cb52e771fcb"),
        "data_batch_5": ("482c414d41f54cd18b22e5b47cb7c3f1", "53f37980c15c3d472c316c40844f3f0d"),
        "test_batch": ("40351d587109b95175f43aff81a1287e", "803d5f7f4d78ea53de84dbe85f74fb6d"),
    },
    classes=tuple(CIFAR10_CLASSES.split()),
    mean=(0.4914, 0.4822, 0.4465),
    std=(0.2470, 0.2435, 0.2616),
)

CIFAR100 = Layout(
    name="cifar100",
    binary_folder="cifar-100-binary",
    python_folder="cifar-100-python",
    train=("train",),
    test=("test",),
    label_keys=(b"coarse_labels", b"fine_labels"),
    images={"train": 50_000, "test": 10_000},
    md5={
        "train": ("16019d7e3df5f24257cddd939b257f8d", None),
        "test": ("f0ef6b0ae62326f3e7ffdfab6717acfc", None),
    },
    classes=tuple(CIFAR100_CLASSES.split()),
    mean=(0.5071, 0.4865, 0.4409),
    std=(0.2673, 0.2564, 0.2762),
)


ORIGIN = Origin(
    "A. Krizhevsky, Learning Multiple Layers of Features from Tiny Images (2009), "
    "https://www.cs.toronto.edu/~kriz/cifar.html",
    "none stated",
)
ORIGINS.register("cifar10")(ORIGIN)
ORIGINS.register("cifar100")(ORIGIN)


@DATASETS.register("cifar10")
def cifar10(
    data_dir: Path | None = None, image_size: int | None = None, fit: Fit = CROP, color: Color | None = None
) -> ImageData:
    """CIFAR-10: 50,000 train and 10,000 test images of 32x32, 10 classes (Krizhevsky 2009)."""
    return read(CIFAR10, data_dir, image_size, fit)


@DATASETS.register("cifar100")
def cifar100(
    data_dir: Path | None = None, image_size: int | None = None, fit: Fit = CROP, color: Color | None = None
) -> ImageData:
    """CIFAR-100 with its 100 fine labels: 50,000 train and 10,000 test images of 32x32 (Krizhevsky 2009)."""
    return read(CIFAR100, data_dir, image_size, fit)


def read(layout: Layout, data_dir: Path | None, image_size: int | None, fit: Fit = CROP) -> ImageData:
    """Read a CIFAR set from ``data_dir``: the folder of one of its layouts, or its parent folder."""
    wanted = f"the folder {layout.binary_folder!r} or {layout.python_folder!r}"
    root = data_folder(data_dir, layout.name, wanted)
    candidates = [root / layout.binary_folder, root / layout.python_folder]
    if root.name in (layout.binary_folder, layout.python_folder):
        candidates.insert(0, root)
    folder = next((path for path in candidates if path.is_dir()), None)
    if folder is None:
        raise DataError(
            f"data set {layout.name!r} needs {wanted}, but {str(root)!r} holds neither; unpack the archive there"
        )
    binary = folder.name == layout.binary_folder
    names = [f"{stem}.bin" if binary else stem for stem in (*layout.train, *layout.test)]
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        raise DataError(f"{layout.name}: {missing} missing in {str(folder)!r}; unpack the official archive again")
    reader = binary_records if binary else python_records
    train = [reader(layout, folder, stem) for stem in layout.train]
    test = [reader(layout, folder, stem) for stem in layout.test]
    return in_memory(
        layout.name,
        tensors(layout, train),
        tensors(layout, test),
        layout.classes,
        image_size,
        fit,
        (layout.mean, layout.std),
    )


def tensors(layout: Layout, parts: list[NDArray[np.uint8]]) -> tuple[Tensor, Tensor]:
    """Images (N, 3, 32, 32) and class labels (N,) of binary records (N, R)."""
    records_NR = np.concatenate(parts)
    heads = len(layout.label_keys)
    images = torch.from_numpy(np.ascontiguousarray(records_NR[:, heads:])).view(-1, 3, 32, 32)
    return images, torch.from_numpy(records_NR[:, heads - 1].astype(np.int64))


def binary_records(layout: Layout, folder: Path, stem: str) -> NDArray[np.uint8]:
    """The records (N, R) of one file in the binary layout, verified."""
    path = folder / f"{stem}.bin"
    size = len(layout.label_keys) + PIXELS
    expected = layout.images[stem] * size
    if (found := path.stat().st_size) != expected:
        raise DataError(
            f"{layout.name}: {str(path)!r} has {found} bytes, not {expected}; unpack the official archive again"
        )
    raw = path.read_bytes()
    records_NR = np.frombuffer(raw, np.uint8).reshape(-1, size)
    check(layout, path, layout.md5[stem][1], raw, records_NR)
    return records_NR


def python_records(layout: Layout, folder: Path, stem: str) -> NDArray[np.uint8]:
    """The same records from one file in the Python layout, verified."""
    path = folder / stem
    raw = path.read_bytes()
    try:
        batch = _ArrayUnpickler(io.BytesIO(raw), encoding="bytes").load()
        labels = [_label_column(batch[key]) for key in layout.label_keys]
        images = np.asarray(batch[b"data"])
        if images.dtype != np.uint8 or images.shape != (layout.images[stem], PIXELS):
            raise ValueError(f"holds {images.dtype} images of shape {images.shape}")
        records_NR = np.concatenate([*labels, images], axis=1)
    except Exception as error:  # a damaged pickle can raise anything
        raise DataError(
            f"{layout.name}: {str(path)!r} cannot be read ({error}); unpack the official archive again"
        ) from error
    of_file, of_records = layout.md5[stem]
    if hashlib.md5(raw).hexdigest() != of_file:
        check(layout, path, of_records or of_file, records_NR.tobytes(), records_NR)
    return records_NR


def _label_column(labels: Any) -> NDArray[np.uint8]:
    """Labels (N, 1) as in the binary layout; ValueError for invalid ones."""
    labels_N = np.asarray(labels)
    if labels_N.ndim != 1 or labels_N.dtype.kind not in "iu" or labels_N.min() < 0 or labels_N.max() > 255:
        raise ValueError(f"holds labels of type {labels_N.dtype} that are not all integers from 0 to 255")
    return labels_N.astype(np.uint8)[:, None]


def check(layout: Layout, path: Path, md5: str | None, content: bytes, records_NR: NDArray[np.uint8]) -> None:
    """DataError unless ``content`` has this md5 sum and every label is one of the classes."""
    if md5 is not None and (found := hashlib.md5(content).hexdigest()) != md5:
        raise DataError(
            f"{layout.name}: {str(path)!r} is damaged (md5 {found}, official {md5}); unpack the official archive again"
        )
    if (highest := int(records_NR[:, len(layout.label_keys) - 1].max())) >= len(layout.classes):
        raise DataError(f"{layout.name}: {str(path)!r} holds label {highest}, allowed are 0..{len(layout.classes) - 1}")


class _ArrayUnpickler(pickle.Unpickler):
    """Unpickler that creates only NumPy arrays and plain values; a pickle could otherwise run any code."""

    ALLOWED = frozenset(
        {
            ("numpy", "ndarray"),
            ("numpy", "dtype"),
            ("numpy.core.multiarray", "_reconstruct"),
            ("numpy._core.multiarray", "_reconstruct"),
            ("numpy._core.numeric", "_frombuffer"),
            ("numpy.core.numeric", "_frombuffer"),
            ("_codecs", "encode"),  # how Python 3 writes bytes in protocol 2
        }
    )

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self.ALLOWED:
            raise pickle.UnpicklingError(f"{module}.{name} does not belong in a CIFAR file")
        return super().find_class(module, name)
