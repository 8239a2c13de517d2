"""Readers of the official file formats, and batched augmentation; every data set is a name in ``DATASETS``."""

from onebit.data import cifar as cifar
from onebit.data import digits as digits
from onebit.data import folder as folder
from onebit.data import idx as idx
from onebit.data import synthetic as synthetic
from onebit.data.augment import AUGMENTATIONS, Mixing, Normalize
from onebit.data.base import (
    DATASETS,
    ORIGINS,
    Color,
    Contents,
    DataError,
    ImageData,
    ImageSet,
    MemorySet,
    Origin,
    epoch_order,
)

__all__ = [
    "AUGMENTATIONS",
    "DATASETS",
    "ORIGINS",
    "Color",
    "Contents",
    "DataError",
    "ImageData",
    "ImageSet",
    "MemorySet",
    "Mixing",
    "Normalize",
    "Origin",
    "epoch_order",
]
