"""Network families; importing this package registers all of them."""

from onebit.models import resnet as resnet
from onebit.models import vgg as vgg
from onebit.models.base import MODELS

__all__ = ["MODELS"]
