"""The four systems on ResNet-20 and CIFAR-10 with all that is known to help: recipes of ours, not of the papers.

Each is the system's recipe without ``-best``, which stays as published as can be, and what the field trains its best
networks with:

- an average of the weights (``ema``), which is the trained network;
- 300 epochs or more, cosine, 10 epochs of warm-up;
- the outputs of the float counterpart on mixed images as the target: with a patient teacher that sees the same mixed
  images, mixing helps small networks too (arXiv:2106.05237); RBCN, which has a guide instead of such a teacher, mixes
  less and smooths the labels;
- for FTBNN and RB-Net real weights first (``two_step``), then binary ones; for FTBNN standardized weights.

What each addition brings has not been measured yet.  All numbers are our assumptions.

Each wants ``--teacher``, the folder of a run of its float counterpart: the same recipe with ``--scheme float
--scheme_options {} --method plain --method_options {} --two_step 0 --lr_factors {}``.
"""

from dataclasses import replace
from typing import Any

from onebit.recipes.base import RECIPES, Recipe
from onebit.recipes.ftbnn import ftbnn_20_cifar10
from onebit.recipes.rbcn import rbcn_resnet20_cifar10
from onebit.recipes.resnet20 import resnet20_cifar10
from onebit.recipes.two_step import rb_net_20_cifar10

DISTILLED: dict[str, Any] = {"method": "distillation", "mixup": 0.2}


def _best(base: Recipe, epochs: int, **changes: Any) -> Recipe:
    recipe = replace(base, epochs=epochs, schedule="cosine", ema=0.999, **changes)
    return replace(recipe, warmup=10 / (epochs - round(recipe.two_step * epochs)))  # a share of the last stage


@RECIPES.register("resnet20-cifar10-best")
def resnet20_cifar10_best() -> Recipe:
    """Ours, not the paper's: Trained Binarization with distillation on mixed images and averaged weights.

    resnet20-cifar10 with what this module describes; what each addition brings has not been measured yet.
    """
    return _best(resnet20_cifar10(), 300, **DISTILLED)


@RECIPES.register("rbcn-resnet20-cifar10-best")
def rbcn_resnet20_cifar10_best() -> Recipe:
    """Ours, not the paper's: RBCN with its guide, mixed images, smoothed labels and averaged weights.

    rbcn-resnet20-cifar10 with what this module describes; what each addition brings has not been measured yet.
    """
    return _best(rbcn_resnet20_cifar10(), 300, mixup=0.1, task_options={"label_smoothing": 0.1})


@RECIPES.register("rb-net-20-cifar10-best")
def rb_net_20_cifar10_best() -> Recipe:
    """Ours, not the paper's: RB-Net in two stages with distillation on mixed images and averaged weights.

    rb-net-20-cifar10 with what this module describes; what each addition brings has not been measured yet.
    """
    return _best(rb_net_20_cifar10(), 400, **DISTILLED)


@RECIPES.register("ftbnn-20-cifar10-best")
def ftbnn_20_cifar10_best() -> Recipe:
    """Ours, not the paper's: FTBNN in two stages with standardized weights, distillation on mixed images, an average.

    ftbnn-20-cifar10 with what this module describes, and CutMix in every second batch; what each addition brings has
    not been measured yet.
    """
    return _best(
        ftbnn_20_cifar10(),
        400,
        two_step=0.5,
        latent_decay=1e-5,
        scheme_options={"weight_standardized": True},
        cutmix=1.0,
        **DISTILLED,
    )
