"""Baselines on CIFAR-10 with the field's usual schedule, that of ReCU's published code (arXiv:2103.12369).

Published there: 600 epochs, SGD at 0.1 with momentum 0.9 and decay 5e-4, batches of 256, cosine, 4 epochs of warm-up,
crop and flip, shortcuts of average pool and zero channels, Hardtanh after the addition.  Left out: the norm before the
classifier.  Our assumptions: that decay reaches every parameter but learned scales and slopes, and that XNOR-Net and
IR-Net are trained by the same schedule, which is not their papers'.
"""

from typing import Any

from onebit.recipes.base import RECIPES, Recipe


def _standard(scheme: str, **changes: Any) -> Recipe:
    return Recipe(
        model="resnet20",
        model_options={"activation": "hardtanh", "downsample": "pad"},
        scheme=scheme,
        dataset="cifar10",
        augment="crop-flip",
        epochs=600,
        batch_size=256,
        optimizer="sgd",
        lr=0.1,
        momentum=0.9,
        schedule="cosine",
        warmup=4 / 600,
        weight_decay=5e-4,
        latent_decay=5e-4,
        **changes,
    )


@RECIPES.register("recu-resnet20-cifar10")
def recu_resnet20_cifar10() -> Recipe:
    """ReCU's layers (arXiv:2103.12369) on ResNet-20, by the schedule of its code."""
    return _standard("recu")


@RECIPES.register("ir-net-resnet20-cifar10")
def ir_net_resnet20_cifar10() -> Recipe:
    """IR-Net's layers (arXiv:1909.10788) on ResNet-20, by the schedule of ReCU's code."""
    return _standard("ir-net")


@RECIPES.register("xnor-net-resnet20-cifar10")
def xnor_net_resnet20_cifar10() -> Recipe:
    """XNOR-Net's layers (arXiv:1603.05279), without its real map of input scales, by the schedule of ReCU's code."""
    return _standard("xnor-net")
