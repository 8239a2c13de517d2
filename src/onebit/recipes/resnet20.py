"""ResNet-20 recipes: the small network that ablations are run on."""

from onebit.recipes.base import RECIPES, Recipe


@RECIPES.register("resnet20-cifar10")
def resnet20_cifar10() -> Recipe:
    """ResNet-20 with one shortcut per convolution on CIFAR-10, trained scales; all values are our assumptions."""
    return Recipe(
        model="resnet20",
        dataset="cifar10",
        augment="crop-flip",
        epochs=200,
        batch_size=128,
        optimizer="adam",
        lr=4e-3,
        schedule="cosine",
        warmup=0.025,
        weight_decay=1e-5,
        scale_decay=1e-4,
    )


@RECIPES.register("resnet20-cifar10-short")
def resnet20_cifar10_short() -> Recipe:
    """ResNet-20 on CIFAR-10 for 12 epochs: the base that schemes and methods are compared on; all values are ours.

    A quarter of an hour on two cores.  Not converged; differences between variants count, not the accuracies.  No decay
    of any kind.
    """
    return Recipe(
        model="resnet20",
        dataset="cifar10",
        augment="crop-flip",
        epochs=12,
        batch_size=128,
        optimizer="adam",
        lr=4e-3,
        schedule="cosine",
        warmup=0.05,
        weight_decay=0.0,
        compile=True,
        channels_last=True,
    )
