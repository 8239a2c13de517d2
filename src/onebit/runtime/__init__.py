"""Run packed networks with NumPy and the C++ core; never imports torch."""

from onebit.runtime.images import read_picture
from onebit.runtime.model import Model, Prediction, load

__all__ = ["Model", "Prediction", "load", "read_picture"]
