"""Named settings: of published results, of benchmarks, and our best; importing this package registers all of them."""

from onebit.recipes import best as best
from onebit.recipes import cifar_standard as cifar_standard
from onebit.recipes import ftbnn as ftbnn
from onebit.recipes import rbcn as rbcn
from onebit.recipes import resnet20 as resnet20
from onebit.recipes import two_step as two_step
from onebit.recipes import vgg_small as vgg_small
from onebit.recipes.base import RECIPES, Recipe

__all__ = ["RECIPES", "Recipe"]
