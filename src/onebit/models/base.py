"""The registry of models and what their factories share."""

from collections.abc import Callable

from torch import nn

from onebit.nn import Scheme
from onebit.registry import Registry

MODELS: Registry[Callable[..., nn.Module]] = Registry("model")


def scaled(channels: int, width: float) -> int:
    """``channels * width`` rounded to a multiple of 8, at least 8; ValueError unless width > 0."""
    if not width > 0:
        raise ValueError(f"width must be above 0, got {width}")
    return max(8, round(channels * width / 8) * 8)


def check_sizes(num_classes: int, in_channels: int) -> None:
    """ValueError unless both are whole numbers of at least 1."""
    for name, value in (("num_classes", num_classes), ("in_channels", in_channels)):
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise ValueError(f"{name} must be a whole number of at least 1, got {value!r}")


def nonlinearity(scheme: Scheme) -> nn.Module:
    """What stands between a norm and the next convolution: a ReLU in a real network; a binary layer brings its own
    step.
    """
    return nn.Identity() if scheme.inputs != "none" else nn.ReLU()
