"""The RB-Net family (IEEE TCSVT 2022): ResNets of reshaped point-wise convolutions with balanced activations.

Published: the operator and the activation by name, ResNet-18 as base architecture, 66.8 % on ImageNet at 52M OPs.  From
the authors' other code: 3x3 convolutions at stride 2 and the norm after the restore (the defaults of ``rb-net-20``).
Our assumptions: the formula of the balanced activation, the variant "pointwise", the roll, and both networks near 52M
OPs, since the architecture of the paper is not known.
"""

from typing import Any

from torch import nn

from onebit.models.base import MODELS, check_choice, check_sizes
from onebit.models.resnet import DOWNSAMPLES as SHORTCUTS
from onebit.models.resnet import LARGE, Convolution, ResNet, resnet_config
from onebit.nn import Scheme, as_scheme

DOWNSAMPLES = ("conv3x3", "pointwise", "rpc")
ROLLS = ("none", "alternate")
NORMS = ("after", "before")


def reshaped_convolution(scheme: Scheme, downsample: str, roll: str, norm: str) -> Convolution:
    """Factory of reshaped point-wise convolutions for a ResNet.

    Args:
        scheme: how they are binarized.
        downsample: at stride 2: "conv3x3" (a 3x3 convolution), "pointwise" (space to depth and a 1x1 convolution, not
            restored) or "rpc" (the operator itself with blocks of 4).
        roll: "none", or "alternate": every second one of stride 1 shifts the map by a pixel, cyclically, so that its
            tiles overlap those of its neighbors.
        norm: "after" the restore (one per channel) or "before" it (one per channel and position in the tile).

    Raises:
        ValueError: another value for one of the last three.
    """
    check_choice("downsample", downsample, DOWNSAMPLES)
    check_choice("roll", roll, ROLLS)
    check_choice("norm", norm, NORMS)
    count = 0

    def make(cin: int, cout: int, stride: int) -> list[nn.Module]:
        nonlocal count
        if stride > 1 and downsample == "conv3x3":
            return [scheme.conv2d(cin, cout, 3, stride, 1), nn.BatchNorm2d(cout)]
        if stride > 1:
            convolution = scheme.rpc(cin, cout, stride, restore=downsample == "rpc", norm=norm == "before")
        else:
            rolled = int(roll == "alternate" and count % 2 == 1)
            count += 1
            convolution = scheme.rpc(cin, cout, roll=rolled, norm=norm == "before")
        return [convolution] if norm == "before" else [convolution, nn.BatchNorm2d(cout)]

    return make


def _family(widths: tuple[int, ...], blocks: tuple[int, ...], options: dict[str, Any], **settings: Any) -> ResNet:
    """A ResNet of reshaped point-wise convolutions; ``shortcut`` is ResNet's ``downsample``."""
    options = {"scheme": "rb-net", "activation": "balanced", "roll": "none", "norm": "after", **settings, **options}
    downsample, roll, norm = (options.pop(name) for name in ("downsample", "roll", "norm"))
    shortcut = options.pop("shortcut")
    check_choice("shortcut", shortcut, SHORTCUTS)
    config = resnet_config(widths, blocks, {"downsample": shortcut, **options})
    if config.groups != 1:
        raise ValueError(f"groups must be 1 here, got {config.groups}: reshaped point-wise convolutions have no groups")
    return ResNet(config, reshaped_convolution(as_scheme(config.scheme), downsample, roll, norm))


def _stem(options: dict[str, Any], large: str) -> dict[str, Any]:
    """Sizes of input and output, and the matching stem."""
    size = options.get("input_size", 224)
    check_sizes(1, 1, size)
    return {"num_classes": 1000, "input_size": size, "stem": large if size >= LARGE else "cifar"}


@MODELS.register("rb-net-20")
def rb_net_20(**options: Any) -> ResNet:
    """ResNet-20 of reshaped point-wise convolutions for 32x32 images; options downsample, roll, norm, shortcut."""
    return _family((16, 32, 64), (3, 3, 3), options, input_size=32, downsample="conv3x3", shortcut="pad")


@MODELS.register("rb-net-18-rpc-stem")
def rb_net_18_rpc_stem(**options: Any) -> ResNet:
    """ResNet-18 of RPCs, a full-precision RPC as stem, binary 1x1 shortcuts; 51.7M OPs at 224."""
    settings = {"downsample": "pointwise", "shortcut": "binary1x1", **_stem(options, "rpc")}
    return _family((64, 128, 256, 512), (2, 2, 2, 2), options, **settings)


@MODELS.register("rb-net-18-wide")
def rb_net_18_wide(**options: Any) -> ResNet:
    """RPC ResNet, blocks 2-2-4-2, 1.25 times as wide, 3x3 stem with stride 2, free shortcuts; 52.1M OPs at 224."""
    settings = {"downsample": "pointwise", "shortcut": "duplicate", **_stem(options, "light")}
    return _family((80, 160, 320, 640), (2, 2, 4, 2), options, **settings)
