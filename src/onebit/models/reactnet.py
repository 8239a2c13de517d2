"""ReActNet (arXiv:2003.03488): shifted signs and activations; based on ResNet-18 and on MobileNet (ReActNet-A).

Published (paper and authors' code): blocks, widths and strides, stems without an activation, full-precision 1x1
shortcuts in the ResNet and none with weights in ReActNet-A.  Our assumption: the variants for 32x32 images.
"""

from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from onebit.models.base import MODELS, check_sizes, halved, halving_pool, scaled, whole_numbers
from onebit.models.resnet import LARGE, ResNet, resnet_config
from onebit.nn import Scheme, as_scheme
from onebit.nn.activations import ACTIVATIONS

WIDTHS = (32, 64, 128, 128, 256, 256, 512, 512, 512, 512, 512, 512, 1024, 1024)  # the stem and 13 blocks


class ReActBlock(nn.Module):
    """A 3x3 convolution and a point-wise convolution, each with its norm, shortcut and activation.

    ``y = activation1(norm1(spatial(x)) + shortcut(x))``; ``out = activation2(norm2(pointwise(y)) + y)``.  If the number
    of channels doubles, two point-wise convolutions, each with its norm and the shortcut, compute one half of the
    channels each.

    Args:
        cin, cout: channels; ``cout`` is ``cin`` or twice as many.
        stride: of the 3x3 convolution.
        side: height and width of the input map; determines how the shortcut halves it.
        activation: a name in ``ACTIVATIONS``.
        scheme: how the convolutions are binarized.
    """

    def __init__(self, cin: int, cout: int, stride: int, side: int, activation: str, scheme: Scheme) -> None:
        super().__init__()
        self.spatial = nn.Sequential(scheme.conv2d(cin, cin, 3, stride, 1), nn.BatchNorm2d(cin))
        self.shortcut = halving_pool(side) if stride == 2 else nn.Identity()
        self.activation1 = ACTIVATIONS[activation](cin)
        self.pointwise = nn.ModuleList(
            nn.Sequential(scheme.conv2d(cin, cin, 1), nn.BatchNorm2d(cin)) for _ in range(cout // cin)
        )
        self.activation2 = ACTIVATIONS[activation](cout)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        y_BCHW = self.activation1(self.spatial(x_BCHW) + self.shortcut(x_BCHW))
        parts = [pointwise(y_BCHW) + y_BCHW for pointwise in self.pointwise]
        return self.activation2(parts[0] if len(parts) == 1 else torch.cat(parts, 1))


class ReActNetA(nn.Module):
    """(B, in_channels, H, W) -> logits (B, num_classes): 3x3 stem and norm, 13 blocks, global pool, linear layer.

    Stem and classifier have full precision.  After the second block, a block that doubles the channels also halves the
    map.

    Args:
        num_classes, in_channels: sizes of the output and the input.
        input_size: side of the square images; the stem has stride 2 from 64 on, else stride 1.
        width: factor for all channel counts.
        stages: channels of the stem and of the 13 blocks, each equal to the previous one or twice as many, as a list or
            a string such as "32-64-...".
        activation: a name in ``ACTIVATIONS``.
        scheme: how the convolutions after the stem are binarized.

    Raises:
        ValueError: bad sizes, names or stages.
    """

    def __init__(
        self,
        *,
        num_classes: int = 1000,
        in_channels: int = 3,
        input_size: int = 224,
        width: float = 1.0,
        stages: str | tuple[int, ...] = WIDTHS,
        activation: str = "rprelu",
        scheme: str | Scheme,
    ) -> None:
        super().__init__()
        check_sizes(num_classes, in_channels, input_size)
        ACTIVATIONS.check(activation)
        scheme = as_scheme(scheme)
        stages = whole_numbers("stages", stages, len(WIDTHS), multiple=8)
        for before, after in pairwise(stages):
            if after not in (before, 2 * before):
                raise ValueError(f"stages must stay or double from one to the next, got {before} and then {after}")
        channels = scaled(stages[0], width)
        large = input_size >= LARGE
        self.stem = nn.Sequential(
            nn.Conv2d(in_channels, channels, 3, 2 if large else 1, 1, bias=False), nn.BatchNorm2d(channels)
        )
        side = halved(input_size) if large else input_size
        blocks = []
        for index, (before, after) in enumerate(pairwise(stages)):
            out = channels * (after // before)
            stride = 2 if after > before and index else 1
            blocks.append(ReActBlock(channels, out, stride, side, activation, scheme))
            channels, side = out, halved(side) if stride == 2 else side
        self.blocks = nn.Sequential(*blocks)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(channels, num_classes)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        return self.classifier(self.pool(self.blocks(self.stem(x_BCHW))).flatten(1))


@MODELS.register("reactnet-a")
def reactnet_a(*, scheme: str | Scheme = "reactnet", **options: Any) -> ReActNetA:
    """ReActNet-A: MobileNet-like, 29 million weights, 0.87e8 OPs at 224x224."""
    return ReActNetA(scheme=scheme, **options)


@MODELS.register("reactnet18")
def reactnet18(**options: Any) -> ResNet:
    """ReActNet on ResNet-18: shifted signs, RPReLU, full-precision 1x1 shortcuts; 164M OPs at 224x224."""
    settings = {
        "scheme": "reactnet",
        "num_classes": 1000,
        "input_size": 224,
        "activation": "rprelu",
        "downsample": "conv1x1",
        "stem_activation": False,
    }
    return ResNet(resnet_config((64, 128, 256, 512), (2, 2, 2, 2), {**settings, **options}))
