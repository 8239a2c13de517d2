"""Named settings, one per published result or benchmark; importing this package registers all of them."""

from onebit.recipes import rbcn as rbcn
from onebit.recipes import resnet20 as resnet20
from onebit.recipes import vgg_small as vgg_small
from onebit.recipes.base import RECIPES, Recipe

__all__ = ["RECIPES", "Recipe"]
