"""VGG-Small recipes after Trained Binarization (arXiv:1909.11366).

The float counterpart of each is the same recipe with ``scheme="float"``: ``onebit train RECIPE --scheme float``.
"""

from dataclasses import replace

from onebit.recipes.base import RECIPES, Recipe


@RECIPES.register("vgg-small-digits")
def vgg_small_digits() -> Recipe:
    """VGG-Small at a quarter of its width on scikit-learn's digits: under a minute on two cores, no data to fetch."""
    return Recipe(
        model="vgg-small",
        model_options={"width": 0.25},
        dataset="digits",
        image_size=16,
        augment="shift-rotate",
        epochs=30,
        batch_size=64,
        optimizer="adam",
        lr=5e-3,
        warmup=0.07,
        scale_decay=1e-4,
        compile=False,  # compiling takes longer than the run
    )


@RECIPES.register("vgg-small-cifar10")
def vgg_small_cifar10() -> Recipe:
    """Trained Binarization's VGG-Small on CIFAR-10, for a GPU; the paper reports 92.3 % test accuracy.

    Published: VGG-Small by name, trained scales of weights and activations, the estimators' kind, L2 on the weight
    scales.  The network's layout comes from the authors' sibling work.  Our assumptions: every number below.
    """
    return Recipe(
        model="vgg-small",
        dataset="cifar10",
        augment="crop-flip",
        epochs=300,
        batch_size=128,
        optimizer="adam",
        lr=2e-3,
        schedule="cosine",
        warmup=0.02,
        weight_decay=1e-5,
        scale_decay=1e-4,
    )


@RECIPES.register("vgg-small-cifar10-cpu")
def vgg_small_cifar10_cpu() -> Recipe:
    """A quarter of the width and 15 epochs: an hour on one CPU core; reports/vgg-small-cifar10-cpu is a record."""
    return replace(
        vgg_small_cifar10(), model_options={"width": 0.25}, epochs=15, lr=4e-3, warmup=0.08, weight_decay=0.0
    )
