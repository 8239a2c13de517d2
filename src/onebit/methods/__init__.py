"""Training methods: what is minimised; importing this package registers all of them."""

from onebit.methods import plain as plain
from onebit.methods.base import METHODS, Method

__all__ = ["METHODS", "Method"]
