"""Data sets: labeled uint8 images for training and testing, and the network input that they define."""

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
import torch
from torch import Tensor

from onebit.format.graph import Fit, InputSpec
from onebit.registry import Registry
from onebit.runtime.images import CROP, fit_pixels, tell_counts
from onebit.text import format_bytes

# Shape letters: N images of a set, B images of a batch, C channels, H W image.


class DataError(ValueError):
    """Missing or damaged data; the message names the file, where it was expected, and a remedy."""


class ImageSet(Protocol):
    """Labeled images of equal size, accessed by index."""

    def __len__(self) -> int: ...

    def batch(self, indices_B: Tensor) -> tuple[Tensor, Tensor]:
        """The images (B, C, H, W) in uint8 and labels (B,) in int64 at these positions."""
        ...

    @property
    def digest(self) -> str:
        """SHA-256 in hex over images, order and labels."""
        ...


@dataclass(frozen=True)
class MemorySet:
    """An image set held in memory."""

    images_NCHW: Tensor  # uint8
    labels_N: Tensor  # int64

    def __post_init__(self) -> None:
        if self.images_NCHW.dtype != torch.uint8 or self.images_NCHW.dim() != 4:
            raise ValueError(
                f"images must be uint8 (N, C, H, W), got {self.images_NCHW.dtype} {tuple(self.images_NCHW.shape)}"
            )
        if len(self.images_NCHW) != len(self.labels_N):
            raise ValueError(f"{len(self.images_NCHW)} images but {len(self.labels_N)} labels")

    def __len__(self) -> int:
        return len(self.labels_N)

    def batch(self, indices_B: Tensor) -> tuple[Tensor, Tensor]:
        return self.images_NCHW[indices_B], self.labels_N[indices_B]

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the pixels and the labels."""
        found = hashlib.sha256()
        for tensor in (self.images_NCHW, self.labels_N):
            found.update(f"{tensor.dtype} {tuple(tensor.shape)} ".encode())
            found.update(tensor.cpu().contiguous().numpy().data)
        return found.hexdigest()


@dataclass(frozen=True)
class ImageData:
    """A data set: training set, test set, and the network input that they define.

    ``input.mean`` and ``input.std`` are the statistics of the training images scaled to [0, 1]; ``input.fit`` defines
    how images of other sizes are resized, those of the data set included.  ``left_out`` counts, by kind, the entries
    that the reader skipped.
    """

    name: str
    train: ImageSet
    test: ImageSet
    classes: tuple[str, ...]
    input: InputSpec
    left_out: Mapping[str, int] = field(default_factory=dict)

    @property
    def contents(self) -> "Contents":
        """What was read, and what was skipped."""
        return Contents(self.name, len(self.train), len(self.test), len(self.classes), dict(self.left_out))

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(channels, height, width), in the order of PyTorch."""
        return self.input.channels, self.input.height, self.input.width

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the classes and of both sets; a resumed run must find the data that it was started with."""
        parts = (*self.classes, self.train.digest, self.test.digest)
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()


@dataclass(frozen=True)
class Contents:
    """Counts of what a reader read and of what it skipped, by kind; ``str()`` returns one line."""

    dataset: str
    train_images: int
    test_images: int
    classes: int
    left_out: dict[str, int]

    def __str__(self) -> str:
        left_out = f"; left out: {tell_counts(self.left_out)}" if self.left_out else ""
        classes = f" of {self.classes} classes" if self.classes else ""
        return f"{self.dataset}: {self.train_images} training and {self.test_images} test images{classes}{left_out}"


Color = Literal["L", "RGB"]  # gray, and red, green and blue


class Reader(Protocol):
    """Reads one data set; ``image_size`` None keeps the size of the images, otherwise they are resized according to
    ``fit``.  Picture files are read in ``color``, by default as RGB; sets of arrays keep the color that they have.
    """

    def __call__(
        self,
        data_dir: Path | None = None,
        image_size: int | None = None,
        fit: Fit = CROP,
        color: Color | None = None,
    ) -> ImageData: ...


DATASETS: Registry[Reader] = Registry("data set")


@dataclass(frozen=True)
class Origin:
    """Who made a data set, where it is described, and its license; cards of trained networks say so."""

    source: str
    license: str


ORIGINS: Registry[Origin] = Registry("origin of a data set")  # of those whose content their name decides


def data_folder(data_dir: Path | None, dataset: str, wanted: str) -> Path:
    """The data folder: ``data_dir``, or else the environment variable ONEBIT_DATA; DataError if neither is set."""
    named = data_dir if data_dir is not None else os.environ.get("ONEBIT_DATA") or None
    if named is None:
        raise DataError(
            f"data set {dataset!r} needs {wanted}; give the folder that holds it with --data_dir "
            "or the environment variable ONEBIT_DATA"
        )
    folder = Path(named).expanduser()
    if not folder.is_dir():
        raise DataError(f"data set {dataset!r} needs {wanted}, but {str(folder)!r} is not a folder")
    return folder


def statistics(images_NCHW: Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel of uint8 images, scaled to [0, 1]."""
    counts = [torch.bincount(channel.reshape(-1).int(), minlength=256).double() for channel in images_NCHW.unbind(1)]
    levels = torch.arange(256, dtype=torch.float64) / 255
    means = [float((count * levels).sum() / count.sum()) for count in counts]
    variances = [
        float((count * (levels - mean) ** 2).sum() / count.sum()) for count, mean in zip(counts, means, strict=True)
    ]
    return tuple(means), tuple(max(variance, 1e-12) ** 0.5 for variance in variances)


def input_of(size: int, mean: tuple[float, ...], std: tuple[float, ...], fit: Fit) -> InputSpec:
    """The input of a network for square images; gray or RGB by the number of channels."""
    if size < 1:
        raise ValueError(f"image_size must be at least 1, got {size}")
    return InputSpec(size, size, len(mean), mean, std, "L" if len(mean) == 1 else "RGB", fit=fit)


def fitted(images_NCHW: Tensor, spec: InputSpec) -> Tensor:
    """uint8 images resized to the size of ``spec``, in the same way as pictures; unchanged if they have that size."""
    if tuple(images_NCHW.shape[2:]) == (spec.height, spec.width) and (spec.fit is None or spec.fit.crop_pct == 1):
        return images_NCHW
    out_NCHW = np.empty((len(images_NCHW), spec.channels, spec.height, spec.width), np.uint8)
    for out_CHW, image_HWC in zip(out_NCHW, images_NCHW.permute(0, 2, 3, 1).numpy(), strict=True):
        out_CHW[:] = fit_pixels(image_HWC, spec).transpose(2, 0, 1)
    return torch.from_numpy(out_NCHW)


def in_memory(
    name: str,
    train: tuple[Tensor, Tensor],
    test: tuple[Tensor, Tensor],
    classes: tuple[str, ...],
    image_size: int | None,
    fit: Fit,
    channel_statistics: tuple[tuple[float, ...], tuple[float, ...]] | None = None,
) -> ImageData:
    """An :class:`ImageData` from tensors (images, labels), resized; statistics are computed unless given."""
    for part, (images, _) in (("training", train), ("test", test)):
        if not images.numel():
            raise DataError(f"data set {name!r} holds {part} images of shape {tuple(images.shape)} (N, C, H, W): none")
    _, channels, height, width = train[0].shape
    if image_size is None and height != width:
        raise DataError(
            f"data set {name!r} holds images of {width}x{height}; networks take square ones: set image_size"
        )
    spec = input_of(width if image_size is None else image_size, (0.0,) * channels, (1.0,) * channels, fit)
    if (spec.height, spec.width) != (height, width):
        _check_room(name, len(train[0]) + len(test[0]), spec)
    train_set, test_set = (MemorySet(fitted(images, spec), labels) for images, labels in (train, test))
    mean, std = channel_statistics or statistics(train_set.images_NCHW)
    return ImageData(name, train_set, test_set, classes, replace(spec, mean=mean, std=std))


def _check_room(name: str, images: int, spec: InputSpec) -> None:
    """DataError where that many images of that size are more than the memory that is free."""
    needed = images * spec.channels * spec.height * spec.width
    free = memory_free()
    if free is not None and needed > free:
        raise DataError(
            f"the {images} images of data set {name!r} take {format_bytes(needed)} of memory at image_size "
            f"{spec.height}, and {format_bytes(free)} are free; give a smaller image_size"
        )


def memory_free() -> int | None:
    """Bytes that the system can still give without swapping; None where it does not say."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")), None)


def epoch_order(count: int, seed: int, epoch: int) -> Tensor:
    """A permutation of ``count`` indices that depends only on ``seed`` and ``epoch``.

    A run that is resumed within an epoch therefore sees the same remaining images.
    """
    generator = torch.Generator().manual_seed(mix(seed, epoch))
    return torch.randperm(count, generator=generator)


def mix(*numbers: int) -> int:
    """Combine integers to one 63-bit seed: equal inputs give equal seeds, similar ones unrelated seeds.

    The finalizer of SplitMix64 (Steele, Lea, Flood 2014), applied once per number.
    """
    state = 0
    for number in numbers:
        state = (state ^ (number & _WORD)) + 0x9E3779B97F4A7C15 & _WORD
        state = (state ^ state >> 30) * 0xBF58476D1CE4E5B9 & _WORD
        state = (state ^ state >> 27) * 0x94D049BB133111EB & _WORD
        state ^= state >> 31
    return state >> 1


_WORD = (1 << 64) - 1
