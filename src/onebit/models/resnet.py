"""ResNets for 32x32 images: the 16-32-64 family (arXiv:1512.03385, section 4.2) and ResNet-18 with a 3x3 stem.

Stem and classifier stay real.  A block holds either one binary convolution with its own shortcut (Bi-Real Net,
arXiv:1808.00278) or the two of the plain basic block.
"""

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from onebit.models.base import MODELS, check_sizes, scaled
from onebit.nn import Scheme, as_scheme

ACTIVATIONS = {"none": nn.Identity, "relu": nn.ReLU, "prelu": nn.PReLU}
DOWNSAMPLES = ("pad", "conv1x1")


@dataclass(frozen=True, kw_only=True)
class ResNetConfig:
    """Shape of a ResNet.

    Args:
        widths: output channels of each stage, before ``width``.
        depths: 3x3 convolutions in each stage, an even number.
        num_classes, in_channels: sizes of the output and the input.
        width: factor on all channel counts.
        scheme: how the 3x3 convolutions behind the stem become binary.
        convs_per_shortcut: 1 (one shortcut around every convolution) or 2 (the plain basic block).
        downsample: shortcut where the shape changes: "pad" (2x2 average pool and zero channels, no weights) or
            "conv1x1" (2x2 average pool, real 1x1 convolution and norm).
        activation: behind each addition: "none", "relu" or "prelu" (one slope per channel).
    """

    widths: tuple[int, ...]
    depths: tuple[int, ...]
    num_classes: int = 10
    in_channels: int = 3
    width: float = 1.0
    scheme: str | Scheme = "trained-binarization"
    convs_per_shortcut: int = 1
    downsample: str = "pad"
    activation: str = "prelu"

    def __post_init__(self) -> None:
        check_sizes(self.num_classes, self.in_channels)
        if len(self.widths) != len(self.depths):
            raise ValueError(f"widths and depths must name the same stages: {self.widths} and {self.depths}")
        if self.convs_per_shortcut not in (1, 2):
            raise ValueError(f"convs_per_shortcut must be 1 or 2, got {self.convs_per_shortcut}")
        if any(depth < 2 or depth % 2 for depth in self.depths):
            raise ValueError(f"depths must be even numbers from 2, got {self.depths}")
        if self.activation not in ACTIVATIONS:
            raise ValueError(f"activation must be one of {sorted(ACTIVATIONS)}, got {self.activation!r}")
        if self.downsample not in DOWNSAMPLES:
            raise ValueError(f"downsample must be one of {DOWNSAMPLES}, got {self.downsample!r}")


class PadChannels(nn.Module):
    """Zero channels before and behind the real ones: the shortcut without weights."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.before, self.after = before, after

    def forward(self, x_BCHW: Tensor) -> Tensor:
        return F.pad(x_BCHW, (0, 0, 0, 0, self.before, self.after))

    def extra_repr(self) -> str:
        return f"before={self.before}, after={self.after}"


def _activation(name: str, channels: int) -> nn.Module:
    return nn.PReLU(channels) if name == "prelu" else ACTIVATIONS[name]()


def _shortcut(cin: int, cout: int, stride: int, kind: str) -> nn.Module:
    if cin == cout and stride == 1:
        return nn.Identity()
    pool = nn.AvgPool2d(stride) if stride > 1 else nn.Identity()
    if kind == "conv1x1":
        return nn.Sequential(pool, nn.Conv2d(cin, cout, 1, bias=False), nn.BatchNorm2d(cout))
    before = (cout - cin) // 2
    return nn.Sequential(pool, PadChannels(before, cout - cin - before))


class ResidualBlock(nn.Module):
    """``out = activation(norm(conv(...)) + shortcut(x))`` with one or two convolutions inside."""

    def __init__(self, cin: int, cout: int, stride: int, config: ResNetConfig, scheme: Scheme) -> None:
        super().__init__()
        body: list[nn.Module] = []
        for index in range(config.convs_per_shortcut):
            if index:
                body.append(_activation(config.activation, cout))
            body.append(scheme.conv2d(cin if index == 0 else cout, cout, 3, stride if index == 0 else 1, 1))
            body.append(nn.BatchNorm2d(cout))
        self.body = nn.Sequential(*body)
        self.shortcut = _shortcut(cin, cout, stride, config.downsample)
        self.activation = _activation(config.activation, cout)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        return self.activation(self.body(x_BCHW) + self.shortcut(x_BCHW))


class ResNet(nn.Module):
    """(B, in_channels, H, W) -> logits (B, num_classes); 3x3 stem, stages, global average pool, linear layer."""

    def __init__(self, config: ResNetConfig) -> None:
        super().__init__()
        scheme = as_scheme(config.scheme)
        widths = [scaled(full, config.width) for full in config.widths]
        self.stem = nn.Sequential(
            nn.Conv2d(config.in_channels, widths[0], 3, padding=1, bias=False),
            nn.BatchNorm2d(widths[0]),
            _activation(config.activation, widths[0]),
        )
        blocks = []
        channels = widths[0]
        for stage, (out, depth) in enumerate(zip(widths, config.depths, strict=True)):
            for index in range(depth // config.convs_per_shortcut):
                stride = 2 if stage and index == 0 else 1
                blocks.append(ResidualBlock(channels, out, stride, config, scheme))
                channels = out
        self.blocks = nn.Sequential(*blocks)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(channels, config.num_classes)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        return self.classifier(self.pool(self.blocks(self.stem(x_BCHW))).flatten(1))


def _resnet(widths: tuple[int, ...], depths: tuple[int, ...], options: dict[str, Any]) -> ResNet:
    options.pop("input_size", None)  # any size fits: the pool is global
    return ResNet(ResNetConfig(widths=widths, depths=depths, **options))


@MODELS.register("resnet20")
def resnet20(**options: Any) -> ResNet:
    """ResNet-20 for 32x32 images, widths 16-32-64, 0.27 million weights."""
    return _resnet((16, 32, 64), (6, 6, 6), options)


@MODELS.register("resnet32")
def resnet32(**options: Any) -> ResNet:
    """ResNet-32 for 32x32 images, widths 16-32-64, 0.46 million weights."""
    return _resnet((16, 32, 64), (10, 10, 10), options)


@MODELS.register("resnet18")
def resnet18(**options: Any) -> ResNet:
    """ResNet-18 with a 3x3 stem for 32x32 images, widths 64-128-256-512, 11 million weights."""
    return _resnet((64, 128, 256, 512), (4, 4, 4, 4), options)
