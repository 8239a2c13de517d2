"""Network families; importing this package registers all of them."""

from onebit.models import alexnet as alexnet
from onebit.models import ftbnn as ftbnn
from onebit.models import import_reactnet as import_reactnet
from onebit.models import rbnet as rbnet
from onebit.models import reactnet as reactnet
from onebit.models import resnet as resnet
from onebit.models import vgg as vgg
from onebit.models import wresnet as wresnet
from onebit.models.base import MODELS, build

__all__ = ["MODELS", "build"]
