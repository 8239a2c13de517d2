"""Recipes of RBCN (arXiv:1908.07748): rectified convolutions under the guidance of a real network.

Each wants ``--teacher``, the folder of a run of its float counterpart: the same recipe with ``--scheme float
--method plain --method_options {} --lr_factors {}``.  The columns of the paper's ablation are settings of one recipe::

    Bi-Real       --scheme bireal --method plain --method_options {}
    + RBConv      --method_options.gan false --method_options.bn_update 0
    + GAN         --method_options.bn_update 0 --teacher FOLDER
    + BN update   --teacher FOLDER

From the authors' sibling work: a rate for the rectifiers of 0.1 of the weights', 200 epochs of batches of 128 on CIFAR,
lambda = 1e-4.  Our assumptions: that the last tenth of each epoch is the update of the other layers, no decay of
rectifiers, that the last block of each stage is supervised, and what the recipes mark so.  The weight of the
adversarial term is published as 1.  Recipes with Adam take 0.01, and lambda = 1e-6: both gradients are the same in
every batch, and Adam makes much of what is steady (reports/methods-notes.md).
"""

from dataclasses import replace

from onebit.recipes.base import RECIPES, Recipe
from onebit.recipes.resnet20 import resnet20_cifar10, resnet20_cifar10_short

METHOD = {"gan": True, "bn_update": 0.1}
RESNET20 = {  # with Adam
    **METHOD,
    "kernel_weight": 1e-6,
    "adversarial_weight": 0.01,
    "layers": ["blocks.5", "blocks.11", "blocks.17"],
}
RESNET18 = {**METHOD, "kernel_weight": 1e-4, "layers": ["blocks.3", "blocks.7", "blocks.11", "blocks.15"]}
RATES = {"weight-scale": 0.1}


@RECIPES.register("rbcn-resnet20-cifar10")
def rbcn_resnet20_cifar10() -> Recipe:
    """RBCN's layers and method on ResNet-20 and CIFAR-10, which the paper does not have.

    Schedule, optimizer and decay are those of resnet20-cifar10: our assumptions.
    """
    return replace(
        resnet20_cifar10(), scheme="rbcn", scale_decay=0.0, method="rbcn", method_options=RESNET20, lr_factors=RATES
    )


@RECIPES.register("rbcn-resnet20-cifar10-short")
def rbcn_resnet20_cifar10_short() -> Recipe:
    """The 12 epochs of resnet20-cifar10-short with RBCN's layers and method; its teacher: that recipe in float."""
    return replace(resnet20_cifar10_short(), scheme="rbcn", method="rbcn", method_options=RESNET20, lr_factors=RATES)


@RECIPES.register("rbcn-resnet18-cifar100")
def rbcn_resnet18_cifar100() -> Recipe:
    """RBCN's ablation on CIFAR-100, for a GPU: ResNet-18 of the kernel stages 32-32-64-128.

    Published test accuracies of the four columns: 54.92, 56.54, 59.13, 61.64 %.  Other stages with
    ``--model_options.stages``: 32-64-128-256 has 63.11, 63.49, 64.93, 65.38 %, 64-64-128-256 has 63.81, 64.13,
    65.02, 66.27 %.  From the sibling work: real 1x1 shortcuts after an average pool, SGD at 0.1, momentum 0.9, decay
    1e-4.  Our assumptions: that decay reaches latent weights, a tenth of the rate after 60, 120 and 160 epochs.
    """
    return Recipe(
        model="resnet18",
        model_options={"stages": "32-32-64-128", "downsample": "conv1x1"},
        scheme="rbcn",
        dataset="cifar100",
        augment="crop-flip",
        method="rbcn",
        method_options=RESNET18,
        epochs=200,
        batch_size=128,
        optimizer="sgd",
        lr=0.1,
        momentum=0.9,
        schedule="step",
        milestones=(0.3, 0.6, 0.8),
        weight_decay=1e-4,
        latent_decay=1e-4,
        lr_factors=RATES,
    )
