"""AlexNet with batch norms, the ImageNet network of Trained Binarization (arXiv:1909.11366) and XNOR-Net.

Published: AlexNet by name.  Our assumptions: norms instead of local response norms, one column without groups
(96-256-384-384-256 and 4096-4096), full precision in the first convolution and the last linear layer, binary fc6 and
fc7, the pool directly after the convolution (so that it pools exact integers) and the ReLU before the last layer.
"""

from typing import Any

from torch import Tensor, nn

from onebit.models.base import MODELS, check_sizes, nonlinearity, scaled
from onebit.nn import Scheme, as_scheme

CONVOLUTIONS = (  # channels, kernel, stride, padding, pooled
    (96, 11, 4, 2, True),
    (256, 5, 1, 2, True),
    (384, 3, 1, 1, False),
    (384, 3, 1, 1, False),
    (256, 3, 1, 1, True),
)
HIDDEN = 4096
SMALLEST = 63  # side of an image that the last pool still leaves a pixel of


class AlexNet(nn.Module):
    """(B, in_channels, input_size, input_size) -> logits (B, num_classes).

    Args:
        num_classes, in_channels: sizes of the output and the input.
        input_size: side of the square images, from 63.
        width: factor on all channel counts.
        scheme: how the four inner convolutions and the first two linear layers become binary.

    Raises:
        ValueError: an ``input_size`` below 63, ``width`` not above 0.
    """

    def __init__(
        self,
        *,
        num_classes: int = 1000,
        in_channels: int = 3,
        input_size: int = 224,
        width: float = 1.0,
        scheme: str | Scheme,
    ) -> None:
        super().__init__()
        check_sizes(num_classes, in_channels, input_size)
        if input_size < SMALLEST:
            raise ValueError(f"input_size must be at least {SMALLEST}, got {input_size}; scale the images up")
        scheme = as_scheme(scheme)
        layers: list[nn.Module] = []
        channels, side = in_channels, input_size
        for index, (full, kernel, stride, padding, pooled) in enumerate(CONVOLUTIONS):
            out = scaled(full, width)
            make = nn.Conv2d if index == 0 else scheme.conv2d
            layers.append(make(channels, out, kernel, stride, padding, bias=False))
            side = (side + 2 * padding - kernel) // stride + 1
            if pooled:
                layers.append(nn.MaxPool2d(3, 2))
                side = (side - 3) // 2 + 1
            layers += [nn.BatchNorm2d(out), nonlinearity(scheme)]
            channels = out
        self.features = nn.Sequential(*layers)
        hidden = scaled(HIDDEN, width)
        self.hidden = nn.Sequential(
            scheme.linear(channels * side**2, hidden),
            nn.BatchNorm1d(hidden),
            nonlinearity(scheme),
            scheme.linear(hidden, hidden),
            nn.BatchNorm1d(hidden),
            nn.ReLU(),
        )
        self.classifier = nn.Linear(hidden, num_classes)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        return self.classifier(self.hidden(self.features(x_BCHW).flatten(1)))


@MODELS.register("alexnet")
def alexnet(*, scheme: str | Scheme = "trained-binarization", **options: Any) -> AlexNet:
    """AlexNet with norms for 224x224 images, 62 million weights at width 1."""
    return AlexNet(scheme=scheme, **options)
