"""Batched augmentation on the device of the batch, normalization, and the mixing of images.

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


class Mixing:
    """Mixup (arXiv:1710.09412) and CutMix (arXiv:1905.04899): a batch mixed with itself in another order.

    Mixup: ``x = l x_a + (1 - l) x_b``.  CutMix: ``x`` is ``x_b`` within a box and ``x_a`` around it; the box, of the
    sides ``sqrt(1 - l) H`` and ``sqrt(1 - l) W``, has its center anywhere in the image and is cut at its borders, and l
    becomes the share of the image around it.  The share l comes from Beta(alpha, alpha).  As in the authors' code,
    there are one share and one box per batch.

    Args:
        mixup, cutmix: alpha of each, 0 for none.  With both, each batch takes one of them, with even chances.
    """

    def __init__(self, mixup: float, cutmix: float) -> None:
        self.mixup, self.cutmix = mixup, cutmix

    @torch.no_grad()
    def __call__(self, images_BCHW: Tensor) -> tuple[Tensor, Tensor, float]:
        """The mixed images, which image (B,) each was mixed with, and the share of the image itself."""
        partners_B = torch.randperm(len(images_BCHW), device=images_BCHW.device)
        cut = self.cutmix > 0 and (self.mixup == 0 or float(torch.rand(())) < 0.5)
        alpha = torch.tensor(self.cutmix if cut else self.mixup, dtype=torch.float64)
        share = float(torch.distributions.Beta(alpha, alpha).sample())
        if not cut:
            return torch.lerp(images_BCHW[partners_B], images_BCHW, share), partners_B, share
        height, width = images_BCHW.shape[2:]
        (top, bottom), (left, right) = (_interval(side, (1 - share) ** 0.5) for side in (height, width))
        mixed_BCHW = images_BCHW.clone()
        mixed_BCHW[:, :, top:bottom, left:right] = images_BCHW[partners_B, :, top:bottom, left:right]
        return mixed_BCHW, partners_B, 1 - (bottom - top) * (right - left) / (height * width)


def _interval(side: int, share: float) -> tuple[int, int]:
    """Beginning and end of ``share`` of ``side`` pixels around a random one, as far as they lie within the side."""
    length, center = round(share * side), int(torch.randint(side, ()))
    return max(center - length // 2, 0), min(center - length // 2 + length, side)
