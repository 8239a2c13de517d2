"""The FTBNN family (arXiv:2010.09294): ResNets with FPReLU, purified of full-precision operations, widened with groups.

Published: a baseline like ResNet-18 with a shortcut around every convolution, and the ideas of purification (fewer
full-precision operations) and of groups.  Our assumptions, since no configuration is available: all names and numbers
here, the shortcut with duplicated channels, the light stem, the FPReLU after the addition, the channel shuffle after
grouped convolutions, and a stem that keeps its width, with channels repeated (or padded with zeros) to match the first
stage.
"""

from typing import Any

from onebit.models.base import MODELS, check_sizes
from onebit.models.resnet import LARGE, ResNet, resnet_config

WIDTHS = (64, 128, 256, 512)


IMAGENET = {"input_size": 224, "num_classes": 1000}


def _family(widths: tuple[int, ...], blocks: tuple[int, ...], options: dict[str, Any], **settings: Any) -> ResNet:
    return ResNet(resnet_config(widths, blocks, {"scheme": "ftbnn", "activation": "fprelu", **settings, **options}))


def _purified(k: float, groups: int, options: dict[str, Any]) -> ResNet:
    """ResNet-18 with full precision only in stem and classifier; body ``k`` times as wide, in ``groups`` groups."""
    size = options.get("input_size", IMAGENET["input_size"])
    check_sizes(1, 1, size)
    settings = {"stem": "light" if size >= LARGE else "cifar", "stem_width": WIDTHS[0], "downsample": "duplicate"}
    return _family(
        tuple(int(k * full) for full in WIDTHS), (2, 2, 2, 2), options, groups=groups, **IMAGENET, **settings
    )


@MODELS.register("ftbnn-18-baseline")
def ftbnn_18_baseline(**options: Any) -> ResNet:
    """The baseline: Bi-Real Net's ResNet-18 with FPReLU; 164.0M OPs at 224x224."""
    return _family(WIDTHS, (2, 2, 2, 2), options, downsample="conv1x1", **IMAGENET)


@MODELS.register("ftbnn-18")
def ftbnn_18(**options: Any) -> ResNet:
    """Purified ResNet-18: 3x3 stem of stride 2, free shortcuts; 48.4M OPs at 224x224."""
    return _purified(1, 1, options)


@MODELS.register("ftbnn-18-k1.5-g2")
def ftbnn_18_k15_g2(**options: Any) -> ResNet:
    """Purified ResNet-18, 1.5 times as wide in 2 groups; 51.9M OPs at 224x224."""
    return _purified(1.5, 2, options)


@MODELS.register("ftbnn-18-k2-g2")
def ftbnn_18_k2_g2(**options: Any) -> ResNet:
    """Purified ResNet-18, twice as wide in 2 groups; 75.1M OPs at 224x224."""
    return _purified(2, 2, options)


@MODELS.register("ftbnn-18-k2-g4")
def ftbnn_18_k2_g4(**options: Any) -> ResNet:
    """Purified ResNet-18, twice as wide in 4 groups; 48.9M OPs at 224x224."""
    return _purified(2, 4, options)


@MODELS.register("ftbnn-18-k4-g8")
def ftbnn_18_k4_g8(**options: Any) -> ResNet:
    """Purified ResNet-18, four times as wide in 8 groups; 76.1M OPs at 224x224."""
    return _purified(4, 8, options)


@MODELS.register("ftbnn-20")
def ftbnn_20(**options: Any) -> ResNet:
    """ResNet-20 for 32x32 images with FPReLU and free shortcuts; widen it by stages and groups."""
    return _family((16, 32, 64), (3, 3, 3), options, stem_width=16, downsample="duplicate")
