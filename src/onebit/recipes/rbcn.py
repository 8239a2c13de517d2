"""Recipes of RBCN (arXiv:1908.07748): rectified convolutions under the guidance of a real network.

Each wants ``--teacher``, the folder of a run of its float counterpart: the same recipe with ``--scheme float
--method plain --method_options {} --lr_factors {}``.  The columns of the paper's ablation are settings of one recipe::

    Bi-Real       --scheme bireal --method plain --method_options {}
    + RBConv      --method_options.gan false --method_options.bn_update 0
    + GAN         --method_options.bn_update 0 --teacher FOLDER
    + BN update   --teacher FOLDER

From the authors' sibling work: lambda = 1e-4, a rate for the rectifiers of 0.1 of the weights', 200 epochs of batches
of 128 on CIFAR.  Our assumptions: that the last tenth of each epoch is the update of the other layers, no decay of
rectifiers, which blocks are supervised (all), and what the recipes mark so.
"""

from dataclasses import replace

from onebit.recipes.base import RECIPES, Recipe
from onebit.recipes.resnet20 import resnet20_cifar10, resnet20_cifar10_short

METHOD = {"kernel_weight": 1e-4, "gan": True, "bn_update": 0.1}
RATES = {"weight-scale": 0.1}


@RECIPES.register("rbcn-resnet20-cifar10")
def rbcn_resnet20_cifar10() -> Recipe:
    """RBCN's layers and method on ResNet-20 and CIFAR-10, which the paper does not have.

    Schedule, optimiser and decay are those of resnet20-cifar10: our assumptions.
    """
    return replace(
        resnet20_cifar10(), scheme="rbcn", scale_decay=0.0, method="rbcn", method_options=METHOD, lr_factors=RATES
    )


@RECIPES.register("rbcn-resnet20-cifar10-short")
def rbcn_resnet20_cifar10_short() -> Recipe:
    """The 8 epochs of resnet20-cifar10-short with RBCN's layers and method; its teacher: that recipe in float."""
    return replace(resnet20_cifar10_short(), scheme="rbcn", method="rbcn", method_options=METHOD, lr_factors=RATES)
