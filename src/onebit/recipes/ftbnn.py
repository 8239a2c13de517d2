"""Recipes of FTBNN (arXiv:2010.09294)."""

from onebit.recipes.base import RECIPES, Recipe


@RECIPES.register("ftbnn-20-cifar10")
def ftbnn_20_cifar10() -> Recipe:
    """FTBNN's activation and shortcuts on ResNet-20 and CIFAR-10, in one stage from scratch.

    All numbers are our assumptions: Adam at 2.5e-3, cosine, 5 of 200 epochs of warm-up, no decay of binary weights and
    slopes.  Wider networks in groups: ``--model_options.stages 32-64-128 --model_options.groups 4``.
    """
    return Recipe(
        model="ftbnn-20",
        scheme="ftbnn",
        dataset="cifar10",
        augment="crop-flip",
        epochs=200,
        batch_size=128,
        optimizer="adam",
        lr=2.5e-3,
        schedule="cosine",
        warmup=0.025,
        weight_decay=1e-5,
    )
