"""Capture of layers: one small function per kind, and the table that maps classes to functions.

To support another layer, write a function here and add it to the table at the end.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from onebit.export.convolutions import binary_convolution, real_convolution, reshaped_pointwise
from onebit.export.draft import PackError, Step
from onebit.export.emitter import Emitter
from onebit.export.steps import affine, array, clamp, norm, pair, slopes
from onebit.export.trace import Call
from onebit.nn.activations import FPReLU, RPReLU
from onebit.nn.layers import BinaryConv2d, BinaryLinear
from onebit.nn.rpc import ReshapedPointwiseConv2d

DROPOUTS = (nn.Dropout, nn.Dropout2d, nn.AlphaDropout, nn.FeatureAlphaDropout)

Handler = Callable[[Emitter, Call, Any], str]  # (emitter, call, layer) -> where the result is


def nothing(emit: Emitter, call: Call, layer: Any = None) -> str:
    """Layers without effect in eval mode."""
    return emit.take(call, call.input)


def steps_of(make: Callable[[Call, Any, int], list[Step]]) -> Handler:
    """Handler of a layer that consists of steps, which ``make(call, layer, channels)`` returns."""

    def handle(emit: Emitter, call: Call, layer: Any) -> str:
        return emit.node(call, "elementwise", make(call, layer, call.shape[1]), source=type(layer).__name__)

    return handle


batch_norm: Handler = steps_of(lambda call, layer, channels: [norm(call.name, layer)])
relu: Handler = steps_of(lambda call, layer, channels: [slopes(1, 0, channels)])
leaky_relu: Handler = steps_of(lambda call, layer, channels: [slopes(1, layer.negative_slope, channels)])
prelu: Handler = steps_of(lambda call, layer, channels: [slopes(1, array(layer.weight), channels)])
fprelu: Handler = steps_of(
    lambda call, layer, channels: [slopes(array(layer.positive), array(layer.negative), channels)]
)
hardtanh: Handler = steps_of(lambda call, layer, channels: [clamp(layer.min_val, layer.max_val)])
rprelu: Handler = steps_of(
    lambda call, layer, channels: [
        affine(1, array(layer.before), channels),
        slopes(1, array(layer.negative), channels),
        affine(1, array(layer.after), channels),
    ]
)


def _window(call: Call, layer: Any, dilation: Any = 1) -> dict[str, Any]:
    """Kernel, stride and padding of a pool; ``ceil_mode`` is accepted only where it has no effect."""
    kernel = pair(layer.kernel_size)
    attrs = {
        "kernel": kernel,
        "stride": kernel if layer.stride is None else pair(layer.stride),
        "padding": pair(layer.padding),
    }
    sides = zip(call.input.shape[2:], kernel, attrs["stride"], attrs["padding"], strict=True)
    floor = tuple((side + 2 * p - k) // s + 1 for side, k, s, p in sides)
    if pair(dilation) != [1, 1] or call.shape[2:] != floor:
        raise PackError(
            f"{call}: a pool with ceil_mode or dilation has no packed form; pool with ceil_mode=False, dilation=1, or "
            "make the sides of its map such that ceil_mode changes nothing"
        )
    return attrs


def max_pool(emit: Emitter, call: Call, layer: Any) -> str:
    """Maximum over windows."""
    return emit.node(call, "max_pool2d", source="MaxPool2d", attrs=_window(call, layer, layer.dilation))


def avg_pool(emit: Emitter, call: Call, layer: Any) -> str:
    """Mean over windows."""
    if layer.divisor_override is not None:
        raise PackError(f"{call}: divisor_override has no packed form; scale with a norm")
    attrs = _window(call, layer) | {"count_include_pad": bool(layer.count_include_pad)}
    return emit.node(call, "avg_pool2d", source="AvgPool2d", attrs=attrs)


def global_pool(emit: Emitter, call: Call, source: str) -> str:
    """Mean over the whole map."""
    sides = list(call.input.shape[2:])
    attrs = {"kernel": sides, "stride": sides, "padding": [0, 0], "count_include_pad": True}
    return emit.node(call, "avg_pool2d", source=source, attrs=attrs)


def adaptive_pool(emit: Emitter, call: Call, layer: Any) -> str:
    """Pool to 1x1."""
    if call.shape[2:] != (1, 1):
        raise PackError(
            f"{call}: an adaptive pool to {layer.output_size} has no packed form; only to 1 (global average)"
        )
    return global_pool(emit, call, "AdaptiveAvgPool2d")


MODULES: dict[type[nn.Module], Handler] = {
    ReshapedPointwiseConv2d: reshaped_pointwise,
    BinaryConv2d: binary_convolution,
    BinaryLinear: binary_convolution,
    nn.Conv2d: real_convolution,
    nn.Linear: real_convolution,
    nn.BatchNorm1d: batch_norm,
    nn.BatchNorm2d: batch_norm,
    nn.SyncBatchNorm: batch_norm,
    nn.ReLU: relu,
    nn.LeakyReLU: leaky_relu,
    nn.PReLU: prelu,
    FPReLU: fprelu,
    RPReLU: rprelu,
    nn.Hardtanh: hardtanh,
    nn.MaxPool2d: max_pool,
    nn.AvgPool2d: avg_pool,
    nn.AdaptiveAvgPool2d: adaptive_pool,
    **dict.fromkeys(DROPOUTS, nothing),
}
