"""Training methods: what is minimized; importing this package registers all of them."""

from onebit.methods import distillation as distillation
from onebit.methods import plain as plain
from onebit.methods import rbcn as rbcn
from onebit.methods.base import METHODS, Batch, Criterion, Method
from onebit.methods.features import Features, find_layers

__all__ = ["METHODS", "Batch", "Criterion", "Features", "Method", "find_layers"]
