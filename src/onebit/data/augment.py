"""Batched augmentation on the device of the batch, and normalization.

Augmentations take float images in [0, 1], before normalization, so the area that a shift exposes is black.  All
randomness comes from PyTorch's global generator, which the training loop seeds at every step.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from onebit.registry import Registry

# Shape letters: B batch, C channels, H W image.

AUGMENTATIONS: Registry[Callable[[int], nn.Module]] = Registry("augmentation")


@AUGMENTATIONS.register("none")
def none(image_size: int) -> nn.Module:
    """No augmentation."""
    return nn.Identity()


@AUGMENTATIONS.register("crop-flip")
def crop_flip(image_size: int) -> nn.Module:
    """Random crop of the image padded by an eighth (4 pixels at 32), and a horizontal flip with probability 0.5."""
    import kornia.augmentation as K

    crop = K.RandomCrop((image_size, image_size), padding=max(image_size // 8, 1), cropping_mode="resample")
    return nn.Sequential(crop, K.RandomHorizontalFlip(p=0.5))


@AUGMENTATIONS.register("shift-rotate")
def shift_rotate(image_size: int) -> nn.Module:
    """Small shifts, rotations and changes of scale without flips, for digits and letters."""
    import kornia.augmentation as K

    return nn.Sequential(K.RandomAffine(degrees=10.0, translate=(0.1, 0.1), scale=(0.9, 1.1), p=1.0))


class Normalize(nn.Module):
    """uint8 (B, C, H, W) -> float32 ``(x / 255 - mean) / std``; in training mode, ``augment`` is applied to ``x /
    255``.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: tuple[float, ...], std: tuple[float, ...], augment: nn.Module | None = None) -> None:
        super().__init__()
        if len(mean) != len(std) or min(std) <= 0:
            raise ValueError(f"mean and std need one value per channel and std above 0, got mean {mean} and std {std}")
        self.register_buffer("mean", torch.tensor(mean).view(-1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(-1, 1, 1), persistent=False)
        self.augment = augment

    @torch.no_grad()
    def forward(self, images_BCHW: Tensor) -> Tensor:
        x_BCHW = images_BCHW.float() / 255
        if self.training and self.augment is not None:
            x_BCHW = self.augment(x_BCHW)
        return (x_BCHW - self.mean) / self.std
