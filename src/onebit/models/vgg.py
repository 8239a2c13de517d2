"""VGG-Small: the CIFAR network of Trained Binarization (arXiv:1909.11366), laid out as in its authors' sibling work.

128C3 - 128C3 - MP2 - 256C3 - 256C3 - MP2 - 512C3 - 512C3 - MP2 - FC; 3x3 kernels, padding 1, no bias, first
convolution and last linear layer real.  The pool comes right behind the convolution, so that it sees exact integers:
convolution, pool, norm, and the next layer binarizes.  The ReLU before the classifier is our assumption.
"""

from typing import Any

from torch import Tensor, nn

from onebit.models.base import MODELS, check_sizes, nonlinearity, scaled
from onebit.nn import Scheme, as_scheme

WIDTHS = (128, 128, 256, 256, 512, 512)
POOLED = (1, 3, 5)  # convolutions with a pool behind them


class VGGSmall(nn.Module):
    """(B, in_channels, input_size, input_size) -> logits (B, num_classes).

    Args:
        num_classes, in_channels: sizes of the output and the input.
        input_size: side of the square images, a multiple of 8.
        width: factor on all channel counts.
        scheme: how the five inner convolutions become binary.

    Raises:
        ValueError: an ``input_size`` that three 2x2 pools do not divide, ``width`` not above 0.
    """

    def __init__(
        self,
        *,
        num_classes: int = 10,
        in_channels: int = 3,
        input_size: int = 32,
        width: float = 1.0,
        scheme: str | Scheme,
    ) -> None:
        super().__init__()
        check_sizes(num_classes, in_channels, input_size)
        if input_size < 8 or input_size % 8:
            raise ValueError(f"input_size must be a multiple of 8, got {input_size}")
        scheme = as_scheme(scheme)
        layers: list[nn.Module] = []
        channels = in_channels
        for index, full in enumerate(WIDTHS):
            out = scaled(full, width)
            make = nn.Conv2d if index == 0 else scheme.conv2d
            layers.append(make(channels, out, 3, padding=1, bias=False))
            if index in POOLED:
                layers.append(nn.MaxPool2d(2))
            layers.append(nn.BatchNorm2d(out))
            layers.append(nn.ReLU() if index == len(WIDTHS) - 1 else nonlinearity(scheme))
            channels = out
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Linear(channels * (input_size // 8) ** 2, num_classes)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        return self.classifier(self.features(x_BCHW).flatten(1))


@MODELS.register("vgg-small")
def vgg_small(*, scheme: str | Scheme = "trained-binarization", **options: Any) -> VGGSmall:
    """VGG-Small, 4.6 million weights at width 1."""
    return VGGSmall(scheme=scheme, **options)
