"""onebit: train, pack and run 1-bit convolutional networks.

Running a packed network needs only NumPy and safetensors.  The training side is imported on first use of one of its
names.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from onebit.format.errors import FormatError
from onebit.format.graph import Fit
from onebit.runtime.model import Model, Prediction, load

if TYPE_CHECKING:
    from onebit.export import Packed, PackError
    from onebit.export.pack import pack
    from onebit.nn import (
        BinaryConv2d,
        BinaryLinear,
        ChannelShuffle,
        FPReLU,
        ReshapedPointwiseConv2d,
        RPReLU,
        binarize_,
        count_cost,
        probe_linearity,
    )

    __version__: str

_FROM_TORCH_SIDE = {
    "BinaryConv2d": "onebit.nn",
    "BinaryLinear": "onebit.nn",
    "PackError": "onebit.export",
    "Packed": "onebit.export",
    "binarize_": "onebit.nn",
    "pack": "onebit.export",
    "ChannelShuffle": "onebit.nn",
    "FPReLU": "onebit.nn",
    "RPReLU": "onebit.nn",
    "ReshapedPointwiseConv2d": "onebit.nn",
    "count_cost": "onebit.nn",
    "probe_linearity": "onebit.nn",
}
__all__ = [
    "BinaryConv2d",
    "BinaryLinear",
    "ChannelShuffle",
    "FPReLU",
    "Fit",
    "FormatError",
    "Model",
    "PackError",
    "Packed",
    "Prediction",
    "RPReLU",
    "ReshapedPointwiseConv2d",
    "__version__",
    "binarize_",
    "count_cost",
    "load",
    "pack",
    "probe_linearity",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":  # lazy: importing importlib.metadata takes longer than loading a network
        return _version()
    if name in _FROM_TORCH_SIDE:
        return getattr(_imported(_FROM_TORCH_SIDE[name], name), name)
    if name.isidentifier() and not name.startswith("_"):
        from importlib.util import find_spec

        if find_spec(f"onebit.{name}") is not None:
            return _imported(f"onebit.{name}", name)  # a subpackage that has not been imported yet
    raise AttributeError(f"module 'onebit' has no attribute {name!r}")


def __dir__() -> list[str]:
    from pkgutil import iter_modules

    parts = [part.name for part in iter_modules(__path__) if not part.name.startswith("_")]
    return sorted({*globals(), *__all__, *parts})


def _imported(module: str, wanted: str) -> Any:
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] == "onebit":
            raise
        raise ModuleNotFoundError(
            f'onebit.{wanted} needs {error.name}: pip install "onebit[train]"', name=error.name
        ) from None


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("onebit")
    except PackageNotFoundError:  # a source tree that was never installed
        return "0+unknown"
