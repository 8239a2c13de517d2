"""WideResNets of binary convolutions, WRN-22 and WRN-40, with RBCN's kernel stages (arXiv:1908.07748).

Published: the names, that the rectified convolution replaces the 3x3 ones, and that a network is told by its kernel
stage.  From sibling work of the authors: a shortcut around every convolution.  Our assumptions: that the four numbers
of a kernel stage are the stem and the three stages, the default 64-64-128-256, shortcuts without weights.
"""

from typing import Any

from onebit.models.base import MODELS, whole_numbers
from onebit.models.resnet import ResNet, resnet_config


def _wide(blocks: int, options: dict[str, Any]) -> ResNet:
    """Stem and three stages of ``blocks`` basic blocks; option ``stages``: channels of stem and stages."""
    options = dict(options)
    stem, *stages = whole_numbers("stages", options.pop("stages", (64, 64, 128, 256)), 4, multiple=8)
    return ResNet(resnet_config(stages, (blocks,) * 3, {"stem_width": stem, **options}))


@MODELS.register("wrn22")
def wrn22(**options: Any) -> ResNet:
    """WRN-22 for 32x32 images; stages 64-64-128-256: stem and three stages of three basic blocks."""
    return _wide(3, options)


@MODELS.register("wrn40")
def wrn40(**options: Any) -> ResNet:
    """WRN-40 for 32x32 images; stages 64-64-128-256: stem and three stages of six basic blocks."""
    return _wide(6, options)
