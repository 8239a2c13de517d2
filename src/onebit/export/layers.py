"""Capture of modules: one small function per kind of layer, and the table that says which is whose.

To teach packing a layer, write a function here and put it into the table at the end.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from torch import fx, nn

from onebit.export.convolutions import binary_convolution, real_convolution, reshaped_pointwise
from onebit.export.draft import PackError, Step
from onebit.export.steps import affine, array, clamp, norm, pair, slopes
from onebit.nn.activations import ChannelShuffle, FPReLU, RPReLU
from onebit.nn.layers import BinaryConv2d, BinaryLinear
from onebit.nn.rpc import ReshapedPointwiseConv2d

if TYPE_CHECKING:
    from onebit.export.capture import Capture

Handler = Callable[["Capture", str, fx.Node, Any], None]


def nothing(self: Capture, name: str, node: fx.Node, layer: Any) -> None:
    """Layers that do nothing in eval mode."""
    self.value[node] = self.taken(node)


def steps_of(make: Callable[[str, Any, int], list[Step]]) -> Handler:
    """Handler of a layer that is a chain of steps: ``make(name, layer, channels)`` gives them."""

    def handle(self: Capture, name: str, node: fx.Node, layer: Any) -> None:
        self.emit(node, name, "elementwise", type(layer).__name__, make(name, layer, self.shape(node)[1]))

    return handle


batch_norm = steps_of(lambda name, layer, channels: [norm(name, layer)])
relu = steps_of(lambda name, layer, channels: [slopes(1, 0, channels)])
leaky_relu = steps_of(lambda name, layer, channels: [slopes(1, layer.negative_slope, channels)])
prelu = steps_of(lambda name, layer, channels: [slopes(1, array(layer.weight), channels)])
fprelu = steps_of(lambda name, layer, channels: [slopes(array(layer.positive), array(layer.negative), channels)])
hardtanh = steps_of(lambda name, layer, channels: [clamp(layer.min_val, layer.max_val)])
rprelu = steps_of(
    lambda name, layer, channels: [
        affine(1, array(layer.before), channels),
        slopes(1, array(layer.negative), channels),
        affine(1, array(layer.after), channels),
    ]
)


def channel_shuffle(self: Capture, name: str, node: fx.Node, layer: Any) -> None:
    """Channel g*n + i to i*G + g."""
    self.emit(node, name, "shuffle_channels", type(layer).__name__, [], attrs={"groups": int(layer.groups)})


def _window(self: Capture, name: str, node: fx.Node, layer: Any, dilation: Any = 1) -> dict[str, Any]:
    """Kernel, stride and padding of a pool; ``ceil_mode`` only where it changes nothing."""
    kernel = pair(layer.kernel_size)
    attrs = {
        "kernel": kernel,
        "stride": kernel if layer.stride is None else pair(layer.stride),
        "padding": pair(layer.padding),
    }
    sides = zip(self.shape(node.args[0])[2:], kernel, attrs["stride"], attrs["padding"], strict=True)
    floor = tuple((side + 2 * p - k) // s + 1 for side, k, s, p in sides)
    if pair(dilation) != [1, 1] or self.shape(node)[2:] != floor:
        raise PackError(
            f"{name}: a pool with ceil_mode or dilation has no packed form; pool with ceil_mode=False, dilation=1, or "
            "make the sides of its map such that ceil_mode changes nothing"
        )
    return attrs


def max_pool(self: Capture, name: str, node: fx.Node, layer: Any) -> None:
    """Maximum over windows."""
    attrs = _window(self, name, node, layer, layer.dilation)
    self.emit(node, name, "max_pool2d", "MaxPool2d", [], attrs=attrs)


def avg_pool(self: Capture, name: str, node: fx.Node, layer: Any) -> None:
    """Mean over windows."""
    if layer.divisor_override is not None:
        raise PackError(f"{name}: divisor_override has no packed form; scale with a norm")
    attrs = _window(self, name, node, layer) | {"count_include_pad": bool(layer.count_include_pad)}
    self.emit(node, name, "avg_pool2d", "AvgPool2d", [], attrs=attrs)


def global_pool(self: Capture, name: str, node: fx.Node, source: str) -> None:
    """Mean over the whole map."""
    sides = list(self.shape(node.args[0])[2:])
    attrs = {"kernel": sides, "stride": sides, "padding": [0, 0], "count_include_pad": True}
    self.emit(node, name, "avg_pool2d", source, [], attrs=attrs)


def adaptive_pool(self: Capture, name: str, node: fx.Node, layer: Any) -> None:
    """Pool to 1x1, as a module or a function."""
    size = (
        node.args[1]
        if layer is None and len(node.args) > 1
        else node.kwargs.get("output_size", getattr(layer, "output_size", None))
    )
    if size not in (1, (1, 1), [1, 1]):
        raise PackError(f"{name}: an adaptive pool to {size} has no packed form; only to 1 (global average)")
    global_pool(self, name, node, "AdaptiveAvgPool2d")


def flatten(self: Capture, name: str, node: fx.Node, layer: Any) -> None:
    """Anything that makes a vector of a map."""
    shape, result = self.shape(node.args[0]), self.shape(node)
    if result not in (shape, (1, math.prod(shape[1:]))):
        raise PackError(f"{name}: a reshape of {shape} to {result} has no packed form; only to (B, features)")
    if result == shape or (len(shape) == 4 and shape[2:] == (1, 1)):
        nothing(self, name, node, layer)
    else:
        self.emit(node, name, "flatten", "flatten", [])


MODULES: dict[type[nn.Module], Handler] = {
    ReshapedPointwiseConv2d: reshaped_pointwise,
    BinaryConv2d: binary_convolution,
    BinaryLinear: binary_convolution,
    nn.Conv2d: real_convolution,
    nn.Linear: real_convolution,
    nn.BatchNorm1d: batch_norm,
    nn.BatchNorm2d: batch_norm,
    nn.ReLU: relu,
    nn.LeakyReLU: leaky_relu,
    nn.PReLU: prelu,
    FPReLU: fprelu,
    RPReLU: rprelu,
    nn.Hardtanh: hardtanh,
    nn.MaxPool2d: max_pool,
    nn.AvgPool2d: avg_pool,
    nn.AdaptiveAvgPool2d: adaptive_pool,
    nn.Flatten: flatten,
    ChannelShuffle: channel_shuffle,
    nn.ChannelShuffle: channel_shuffle,
    nn.Identity: nothing,
    nn.Dropout: nothing,
    nn.Dropout2d: nothing,
}
