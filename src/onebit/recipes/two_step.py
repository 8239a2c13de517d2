"""Recipes of two stages, real weights first, under a teacher: ReActNet, and RB-Net in its manner.

Published (ReActNet's code, arXiv:2003.03488, for ImageNet): two stages of 128 epochs each; Adam at 2.5e-3, linear to 0;
decay 1e-5 in the first stage, none in the second; the teacher's probabilities as the only target, T = 1; shifted signs,
RPReLU, real 1x1 shortcuts after an average pool.  Our assumptions: CIFAR-10, batches of 128 instead of 512, decay
of latent weights alone, and any network trained on CIFAR-10 as the teacher (``--teacher``), where the paper has a
real ResNet-34.
"""

from dataclasses import replace

from onebit.recipes.base import RECIPES, Recipe


@RECIPES.register("reactnet-resnet20-cifar10")
def reactnet_resnet20_cifar10() -> Recipe:
    """ReActNet's layers and schedule on ResNet-20 and CIFAR-10, which the paper does not have."""
    return Recipe(
        model="resnet20",
        model_options={"activation": "rprelu", "downsample": "conv1x1", "stem_activation": False},
        scheme="reactnet",
        dataset="cifar10",
        augment="crop-flip",
        method="distillation",
        epochs=256,
        two_step=0.5,
        batch_size=128,
        optimizer="adam",
        lr=2.5e-3,
        schedule="linear",
        latent_decay=1e-5,
    )


@RECIPES.register("rb-net-20-cifar10")
def rb_net_20_cifar10() -> Recipe:
    """RB-Net's reshaped point-wise convolutions and balanced activations on ResNet-20 and CIFAR-10.

    All numbers are our assumptions, with the schedule, which is ReActNet's, and the roll of every second convolution:
    ``--model_options.roll none`` trains without it.
    """
    return replace(reactnet_resnet20_cifar10(), model="rb-net-20", model_options={"roll": "alternate"}, scheme="rb-net")
