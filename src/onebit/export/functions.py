"""Capture of functions and tensor methods: additions, concatenations, functional forms of layers.

``FUNCTIONS`` has one row per name: ``torch.relu``, ``F.relu``, ``x.relu()`` and ``x.relu_()`` are one function.  Each
row is a function of the emitter, the call and the arguments under PyTorch's names, with a :class:`Value` for each
tensor that depends on the image.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from onebit.export import convolutions, layers
from onebit.export.draft import PackError, Step
from onebit.export.emitter import Emitter
from onebit.export.steps import affine, array, clamp, pair, slopes
from onebit.export.trace import Call, Value

# What "min" or "max" alone leave open; numbers of a file are finite.
_HUGE = float(np.finfo(np.float32).max)

# What to do about layers and functions without a packed form that many networks have.
_LEAVE_OUT = "leave it out at the end of a classifier: classify() of the packed network gives probabilities"
MENDS = {
    **dict.fromkeys(("softmax", "logsoftmax", "sigmoid"), _LEAVE_OUT),
    "sign": "it has three values; onebit.BinaryConv2d and BinaryLinear binarize their own inputs and weights to two",
}
NAMES = {"getitem": "indexing", "setitem": "an assignment to a part of a tensor"}  # in messages


def _steps(emit: Emitter, call: Call, *steps: Step) -> str:
    return emit.node(call, "elementwise", list(steps))


# ---------------------------------------------------------------------------------------------------------------
# Arithmetic
# ---------------------------------------------------------------------------------------------------------------


def _add(emit: Emitter, call: Call, input: Any, other: Any, *, alpha: Any = 1) -> str:
    if alpha != 1:
        raise PackError(f"{call}: an addition with alpha={alpha} has no packed form; scale with a norm")
    if not isinstance(input, Value):
        input, other = other, input
    if not isinstance(other, Value):
        return _steps(emit, call, affine(1, _per_channel(call, other), call.shape[1]))
    if input.shape != other.shape:
        raise PackError(f"{call}: an addition of {input.shape} and {other.shape}; shapes must be equal")
    taken = [emit.take(call, input)]
    return emit.node(call, "elementwise", [{"step": "add", "input": emit.take(call, other)}], inputs=taken)


def _sub(emit: Emitter, call: Call, input: Any, other: Any, *, alpha: Any = 1) -> str:
    if alpha != 1:
        raise PackError(f"{call}: a subtraction with alpha={alpha} has no packed form; scale with a norm")
    if isinstance(input, Value) and isinstance(other, Value):
        if input.shape != other.shape:
            raise PackError(f"{call}: a subtraction of {input.shape} and {other.shape}; shapes must be equal")
        minus = [affine(-1, 0, call.shape[1]), {"step": "add", "input": emit.take(call, input)}]
        return emit.node(call, "elementwise", minus, inputs=[emit.take(call, other)])
    if isinstance(input, Value):
        return _steps(emit, call, affine(1, -_per_channel(call, other), call.shape[1]))
    return _steps(emit, call, affine(-1, _per_channel(call, input), call.shape[1]))


def _rsub(emit: Emitter, call: Call, input: Any, other: Any, *, alpha: Any = 1) -> str:
    return _sub(emit, call, other, input, alpha=alpha)


def _neg(emit: Emitter, call: Call, input: Value) -> str:
    return _steps(emit, call, affine(-1, 0, call.shape[1]))


def _mul(emit: Emitter, call: Call, input: Any, other: Any) -> str:
    if not isinstance(input, Value):
        input, other = other, input
    if isinstance(other, Value):
        raise PackError(f"{call}: a product of two maps has no packed form; only of a map and numbers per channel")
    return _steps(emit, call, affine(_per_channel(call, other), 0, call.shape[1]))


def _div(emit: Emitter, call: Call, input: Any, other: Any, *, rounding_mode: Any = None) -> str:
    if isinstance(other, Value) or rounding_mode is not None:
        raise PackError(f"{call}: a division by a map, or to integers, has no packed form; only by a number")
    return _steps(emit, call, affine(1 / _per_channel(call, other), 0, call.shape[1]))


def _per_channel(call: Call, constant: Any) -> NDArray[np.float64]:
    """A number, or a tensor with one entry or one per channel, broadcast against the result of ``call``: (C,) or ()."""
    if isinstance(constant, Tensor):
        values = array(constant).astype(np.float64)
        if values.size == 1:
            return values.reshape(())
        if values.ndim <= len(call.shape):
            axes = (1,) * (len(call.shape) - values.ndim) + values.shape
            if axes == (1, call.shape[1], *[1] * (len(call.shape) - 2)):
                return values.reshape(-1)
        raise PackError(
            f"{call}: a constant of shape {tuple(values.shape)} on a map of {call.shape} has no packed form; only a "
            "number, or one per channel"
        )
    return np.asarray(float(constant))


# ---------------------------------------------------------------------------------------------------------------
# Concatenation
# ---------------------------------------------------------------------------------------------------------------


def _concat(emit: Emitter, call: Call, tensors: Sequence[Any], dim: int = 0, *, axis: int | None = None) -> str:
    dim = dim if axis is None else axis
    if dim % len(call.shape) != 1:
        raise PackError(f"{call}: a concatenation along dim={dim} has no packed form; only along the channels, dim=1")
    maps = [x for x in tensors if isinstance(x, Value)]
    if len(maps) == 1:  # with zeros, before or after it
        place = next(i for i, x in enumerate(tensors) if x is maps[0])
        others = (tensors[:place], tensors[place + 1 :])
        if any(part.any() for side in others for part in side):
            raise PackError(f"{call}: a concatenation with a constant has no packed form, unless that is all zeros")
        before, after = (sum(part.shape[1] for part in side) for side in others)
        return emit.node(call, "pad_channels", source="pad_channels", attrs={"before": before, "after": after})
    return emit.node(call, "concat", source="concat", inputs=[emit.take(call, x) for x in tensors])


def _dropout(
    emit: Emitter, call: Call, input: Value, p: float = 0.5, training: Any = True, inplace: Any = False
) -> str:
    if training and p:
        raise PackError(f"{call}: F.dropout drops in eval mode too; pass training=self.training, or use nn.Dropout")
    return layers.nothing(emit, call)


# ---------------------------------------------------------------------------------------------------------------
# Functional forms of layers
# ---------------------------------------------------------------------------------------------------------------


def _conv2d(
    emit: Emitter,
    call: Call,
    input: Value,
    weight: Any,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> str:
    _check_weights(call, weight, bias)
    out, depth, *kernel = weight.shape
    with torch.device("meta"):
        layer = nn.Conv2d(depth * groups, out, tuple(kernel), 1, 0, 1, groups, False)
    layer.stride, layer.dilation = tuple(pair(stride)), tuple(pair(dilation))
    layer.padding = padding if isinstance(padding, str) else tuple(pair(padding))
    return convolutions.real_convolution(emit, call, _with_weights(layer, weight, bias))


def _linear(emit: Emitter, call: Call, input: Value, weight: Any, bias: Any = None) -> str:
    _check_weights(call, weight, bias)
    with torch.device("meta"):
        layer = nn.Linear(weight.shape[1], weight.shape[0], False)
    return convolutions.real_convolution(emit, call, _with_weights(layer, weight, bias))


def _check_weights(call: Call, weight: Any, bias: Any) -> None:
    if isinstance(weight, Value) or isinstance(bias, Value):
        raise PackError(f"{call}: {call.what} with weights that depend on the image has no packed form")


def _with_weights(layer: nn.Conv2d | nn.Linear, weight: Tensor, bias: Tensor | None) -> nn.Module:
    layer.weight = nn.Parameter(weight, requires_grad=False)
    layer.register_parameter("bias", None if bias is None else nn.Parameter(bias, requires_grad=False))
    return layer


def _relu(emit: Emitter, call: Call, input: Value, inplace: Any = False) -> str:
    return layers.relu(emit, call, nn.ReLU())


def _relu6(emit: Emitter, call: Call, input: Value, inplace: Any = False) -> str:
    return layers.hardtanh(emit, call, nn.ReLU6())


def _leaky_relu(emit: Emitter, call: Call, input: Value, negative_slope: float = 0.01, inplace: Any = False) -> str:
    return layers.leaky_relu(emit, call, nn.LeakyReLU(negative_slope))


def _prelu(emit: Emitter, call: Call, input: Value, weight: Any) -> str:
    _check_weights(call, weight, None)
    return _steps(emit, call, slopes(1, array(weight), call.shape[1]))


def _hardtanh(
    emit: Emitter, call: Call, input: Value, min_val: float = -1.0, max_val: float = 1.0, inplace: Any = False
) -> str:
    return layers.hardtanh(emit, call, nn.Hardtanh(min_val, max_val))


def _clamp(emit: Emitter, call: Call, input: Value, min: Any = None, max: Any = None) -> str:
    if isinstance(min, Tensor | Value) or isinstance(max, Tensor | Value):
        raise PackError(f"{call}: a clamp by a tensor has no packed form; only by numbers")
    return _steps(emit, call, clamp(-_HUGE if min is None else min, _HUGE if max is None else max))


def _clamp_min(emit: Emitter, call: Call, input: Value, min: Any) -> str:
    return _clamp(emit, call, input, min)


def _clamp_max(emit: Emitter, call: Call, input: Value, max: Any) -> str:
    return _clamp(emit, call, input, None, max)


def _max_pool2d(
    emit: Emitter,
    call: Call,
    input: Value,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> str:
    return layers.max_pool(emit, call, nn.MaxPool2d(kernel_size, stride or None, padding, dilation))


def _avg_pool2d(
    emit: Emitter,
    call: Call,
    input: Value,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> str:
    layer = nn.AvgPool2d(kernel_size, stride or None, padding, ceil_mode, count_include_pad, divisor_override)
    return layers.avg_pool(emit, call, layer)


def _adaptive_avg_pool2d(emit: Emitter, call: Call, input: Value, output_size: Any) -> str:
    return layers.adaptive_pool(emit, call, nn.AdaptiveAvgPool2d(output_size))


def _mean(emit: Emitter, call: Call, input: Value, dim: Any = None, keepdim: bool = False, *, axis: Any = None) -> str:
    dim = dim if axis is None else axis
    axes = list(dim) if isinstance(dim, list | tuple) else [dim]
    if len(input.shape) != 4 or sorted(d % 4 for d in axes if isinstance(d, int)) != [2, 3]:
        raise PackError(f"{call}: a mean over {dim} has no packed form; only over (2, 3), height and width")
    return layers.global_pool(emit, call, "mean")


WEIGHTED = frozenset({"conv2d", "linear"})

FUNCTIONS: dict[str, Callable[..., str]] = {
    "add": _add,
    "sub": _sub,
    "subtract": _sub,
    "rsub": _rsub,
    "neg": _neg,
    "negative": _neg,
    "mul": _mul,
    "multiply": _mul,
    "div": _div,
    "divide": _div,
    "true_divide": _div,
    "cat": _concat,
    "concat": _concat,
    "concatenate": _concat,
    "dropout": _dropout,
    "dropout2d": _dropout,
    "conv2d": _conv2d,
    "linear": _linear,
    "relu": _relu,
    "relu6": _relu6,
    "leaky_relu": _leaky_relu,
    "prelu": _prelu,
    "hardtanh": _hardtanh,
    "clamp": _clamp,
    "clip": _clamp,
    "clamp_min": _clamp_min,
    "clamp_max": _clamp_max,
    "max_pool2d": _max_pool2d,
    "avg_pool2d": _avg_pool2d,
    "adaptive_avg_pool2d": _adaptive_avg_pool2d,
    "mean": _mean,
}
