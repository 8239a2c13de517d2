"""ResNets of binary convolutions: the 16-32-64 family for 32x32 images and ResNet-18/34 (arXiv:1512.03385).

Stem and classifier stay in full precision.  A block holds either one binary convolution with its own shortcut (Bi-Real
Net, arXiv:1808.00278) or the two of the plain basic block.  Other families use this architecture with their own
convolutions.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from onebit.models.base import (
    MODELS,
    check_choice,
    check_sizes,
    copies_of,
    halved,
    halving_pool,
    scaled,
    whole_numbers,
    zeros_around,
)
from onebit.nn import SCHEMES, Scheme, as_scheme
from onebit.nn.activations import ACTIVATIONS, ChannelShuffle
from onebit.registry import check_types

DOWNSAMPLES = ("pad", "duplicate", "conv1x1", "binary1x1")
STEMS = ("cifar", "imagenet", "light", "rpc")
LARGE = 64  # from this side of the image on, "auto" chooses a stem that shrinks the map

# (in-channels, out-channels, stride) -> the layers from a map to the normed result of its convolution
Convolution = Callable[[int, int, int], list[nn.Module]]


@dataclass(frozen=True, kw_only=True)
class ResNetConfig:
    """Configuration of a ResNet.

    Args:
        widths: output channels of each stage, before ``width``.
        depths: 3x3 convolutions in each stage, an even number.
        num_classes, in_channels: sizes of the output and the input.
        input_size: side of the square images; determines the stem "auto", and how odd maps are halved.
        width: factor for all channel counts.
        scheme: how the 3x3 convolutions after the stem are binarized.
        stem: "cifar" (3x3), "imagenet" (7x7 with stride 2 and 3x3 max pool with stride 2), "light" (the same with 3x3
            and stride 2), "rpc" (full-precision reshaped point-wise convolution with stride 4), or "auto": "imagenet"
            for sizes from 64 on, else "cifar".
        stem_width: channels of the stem, before ``width``; its output is repeated to match the first stage.  0: the
            channels of the first stage.
        stem_activation: whether the stem ends with ``activation``.
        convs_per_shortcut: 1 (one shortcut around every convolution) or 2 (the plain basic block).
        downsample: shortcut where the shape changes, after a 2x2 average pool if the map shrinks: "pad" (zero
            channels), "duplicate" (repeated channels), both without weights; "conv1x1" (full-precision 1x1 convolution
            and norm) or "binary1x1" (binary 1x1 convolution and norm).
        activation: a name in ``onebit.nn.activations.ACTIVATIONS``.
        activation_place: "after" or "before" the addition.
        groups: groups of the binary 3x3 convolutions; with several, a channel shuffle follows.
    """

    widths: tuple[int, ...]
    depths: tuple[int, ...]
    num_classes: int = 10
    in_channels: int = 3
    input_size: int = 32
    width: float = 1.0
    scheme: str | Scheme = "trained-binarization"
    stem: str = "auto"
    stem_width: int = 0
    stem_activation: bool = True
    convs_per_shortcut: int = 1
    downsample: str = "pad"
    activation: str = "prelu"
    activation_place: str = "after"
    groups: int = 1

    def __post_init__(self) -> None:
        check_types(self)
        check_sizes(self.num_classes, self.in_channels, self.input_size)
        if len(self.widths) != len(self.depths):
            raise ValueError(f"widths and depths must name the same stages: {self.widths} and {self.depths}")
        if any(depth < 2 or depth % 2 for depth in self.depths):
            raise ValueError(f"depths must be even numbers from 2, got {self.depths}")
        check_choice("convs_per_shortcut", self.convs_per_shortcut, (1, 2))
        check_choice("stem", self.stem, ("auto", *STEMS))
        check_choice("downsample", self.downsample, DOWNSAMPLES)
        check_choice("activation_place", self.activation_place, ("after", "before"))
        ACTIVATIONS.check(self.activation)
        channels = [scaled(full, self.width) for full in self.widths]
        if self.groups < 1 or any(count % self.groups for count in channels):
            raise ValueError(
                f"groups must divide the channels of every stage, {channels} at width {self.width}, got {self.groups}"
            )

    @property
    def chosen_stem(self) -> str:
        """The stem, with "auto" resolved."""
        if self.stem != "auto":
            return self.stem
        return "imagenet" if self.input_size >= LARGE else "cifar"


def residual_stem(config: ResNetConfig, channels: int) -> nn.Sequential:
    """(B, in_channels, H, W) -> (B, channels, H', W'): full-precision convolution, norm, activation, pool, repeated
    channels.
    """
    kind = config.chosen_stem
    out = scaled(config.stem_width, config.width) if config.stem_width else channels
    if kind == "rpc":
        first: nn.Module = SCHEMES["float"].rpc(config.in_channels, out, 4)
    else:
        kernel, stride = {"cifar": (3, 1), "imagenet": (7, 2), "light": (3, 2)}[kind]
        first = nn.Conv2d(config.in_channels, out, kernel, stride, kernel // 2, bias=False)
    activation = ACTIVATIONS[config.activation](out) if config.stem_activation else nn.Identity()
    pool = [nn.MaxPool2d(3, 2, 1)] if kind in ("imagenet", "light") else []
    return nn.Sequential(first, nn.BatchNorm2d(out), activation, *pool, *copies_of(out, channels))


def residual_shortcut(cin: int, cout: int, stride: int, side: int, kind: str, scheme: Scheme) -> nn.Module:
    """The shortcut around a convolution of a map of that size: the identity, or one of ``DOWNSAMPLES``."""
    if cin == cout and stride == 1:
        return nn.Identity()
    pool: list[nn.Module] = [halving_pool(side)] if stride > 1 else []
    if kind == "conv1x1":
        return nn.Sequential(*pool, nn.Conv2d(cin, cout, 1, bias=False), nn.BatchNorm2d(cout))
    if kind == "binary1x1":
        return nn.Sequential(*pool, scheme.conv2d(cin, cout, 1), nn.BatchNorm2d(cout))
    return nn.Sequential(*pool, *(copies_of if kind == "duplicate" else zeros_around)(cin, cout))


class ResidualBlock(nn.Module):
    """``activation(body(x) + shortcut(x))``, or ``activation(body(x)) + shortcut(x)`` with the activation "before".

    The body is one or two convolutions, each with its norm, and an activation between them.
    """

    def __init__(
        self, cin: int, cout: int, stride: int, side: int, config: ResNetConfig, convolution: Convolution
    ) -> None:
        super().__init__()
        activation = ACTIVATIONS[config.activation]
        body = convolution(cin, cout, stride)
        if config.convs_per_shortcut == 2:
            body += [activation(cout), *convolution(cout, cout, 1)]
        self.body = nn.Sequential(*body)
        self.shortcut = residual_shortcut(cin, cout, stride, side, config.downsample, as_scheme(config.scheme))
        self.activation = activation(cout)
        self.activation_first = config.activation_place == "before"

    def forward(self, x_BCHW: Tensor) -> Tensor:
        if self.activation_first:
            return self.activation(self.body(x_BCHW)) + self.shortcut(x_BCHW)
        return self.activation(self.body(x_BCHW) + self.shortcut(x_BCHW))


def convolution3x3(scheme: Scheme, groups: int = 1) -> Convolution:
    """3x3 convolutions of that scheme, a channel shuffle for groups, a norm."""

    def make(cin: int, cout: int, stride: int) -> list[nn.Module]:
        shuffle = [ChannelShuffle(groups)] if groups > 1 else []
        return [scheme.conv2d(cin, cout, 3, stride, 1, groups=groups), *shuffle, nn.BatchNorm2d(cout)]

    return make


class ResNet(nn.Module):
    """(B, in_channels, H, W) -> logits (B, num_classes): stem, stages, global average pool, linear layer.

    Args:
        config: configuration of the network.
        convolution: factory of the convolutions in the blocks; by default 3x3 convolutions of the scheme.
    """

    def __init__(self, config: ResNetConfig, convolution: Convolution | None = None) -> None:
        super().__init__()
        convolution = convolution or convolution3x3(as_scheme(config.scheme), config.groups)
        widths = [scaled(full, config.width) for full in config.widths]
        self.stem = residual_stem(config, widths[0])
        side = config.input_size
        for _ in range({"cifar": 0}.get(config.chosen_stem, 2)):
            side = halved(side)
        blocks = []
        channels = widths[0]
        for stage, (out, depth) in enumerate(zip(widths, config.depths, strict=True)):
            for index in range(depth // config.convs_per_shortcut):
                stride = 2 if stage and index == 0 else 1
                blocks.append(ResidualBlock(channels, out, stride, side, config, convolution))
                channels, side = out, halved(side) if stride == 2 else side
        self.blocks = nn.Sequential(*blocks)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(channels, config.num_classes)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        return self.classifier(self.pool(self.blocks(self.stem(x_BCHW))).flatten(1))


def resnet_config(
    widths: Sequence[int],
    blocks: Sequence[int],
    options: dict[str, Any],
) -> ResNetConfig:
    """The config of a factory with stages of ``widths`` channels and ``blocks`` basic blocks, unless ``options``
    override it.

    Args:
        widths: channels of each stage.
        blocks: basic blocks per stage, with two convolutions each.
        options: fields of :class:`ResNetConfig`, and ``stages`` and ``blocks``, which replace the two above: lists, or
            strings such as "32-32-64-128".

    Raises:
        ValueError: ``stages`` that are not as many multiples of 8, ``blocks`` that are not as many positive integers.
    """
    options = dict(options)
    widths = whole_numbers("stages", options.pop("stages", widths), len(widths), multiple=8)
    blocks = whole_numbers("blocks", options.pop("blocks", blocks), len(blocks))
    return ResNetConfig(widths=tuple(widths), depths=tuple(2 * count for count in blocks), **options)


@MODELS.register("resnet20")
def resnet20(**options: Any) -> ResNet:
    """ResNet-20 for 32x32 images, widths 16-32-64, 0.27 million weights (arXiv:1512.03385, section 4.2)."""
    return ResNet(resnet_config((16, 32, 64), (3, 3, 3), options))


@MODELS.register("resnet32")
def resnet32(**options: Any) -> ResNet:
    """ResNet-32 for 32x32 images, widths 16-32-64, 0.46 million weights (arXiv:1512.03385, section 4.2)."""
    return ResNet(resnet_config((16, 32, 64), (5, 5, 5), options))


@MODELS.register("resnet44")
def resnet44(**options: Any) -> ResNet:
    """ResNet-44 for 32x32 images, widths 16-32-64, 0.66 million weights (arXiv:1512.03385, section 4.2)."""
    return ResNet(resnet_config((16, 32, 64), (7, 7, 7), options))


@MODELS.register("resnet18")
def resnet18(**options: Any) -> ResNet:
    """ResNet-18, widths 64-128-256-512, 11 million weights; stem by the size of the images (arXiv:1512.03385).

    Bi-Real Net's layout is ``downsample="conv1x1"`` at 224x224.  ``stages`` is what RBCN (arXiv:1908.07748) calls the
    kernel stage.
    """
    return ResNet(resnet_config((64, 128, 256, 512), (2, 2, 2, 2), options))


@MODELS.register("resnet34")
def resnet34(**options: Any) -> ResNet:
    """ResNet-34, widths 64-128-256-512, 21 million weights; stem by the size of the images (arXiv:1512.03385)."""
    return ResNet(resnet_config((64, 128, 256, 512), (3, 4, 6, 3), options))
