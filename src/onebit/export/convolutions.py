"""Capture of the layers with weights: convolutions, linear layers, reshaped point-wise convolutions."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from onebit.export.checks import check_binarizers, check_forward
from onebit.export.draft import PackError, Step
from onebit.export.emitter import Emitter
from onebit.export.steps import affine, array, norm, pair, threshold_of
from onebit.export.trace import Call
from onebit.format.bits import pack_bits
from onebit.nn.layers import BinaryConv2d, BinaryLinear, operands
from onebit.nn.rpc import ReshapedPointwiseConv2d

# Shape letters: O out channels, K L kernel rows and columns, C in channels.


def real_convolution(emit: Emitter, call: Call, layer: Any) -> str:
    """A convolution or linear layer of torch.nn."""
    _check_vector(call, layer)
    steps = [] if layer.bias is None else [affine(1.0, array(layer.bias), len(layer.bias))]
    weight, note = {"weight": _weight_OKLC(layer.weight)}, _why_real(emit, call, layer)
    inputs, attrs = _real_input(emit, call, layer)
    return emit.node(call, "conv2d", steps, inputs=inputs, attrs=attrs, tensors=weight, note=note)


def binary_convolution(emit: Emitter, call: Call, layer: Any) -> str:
    """BinaryConv2d or BinaryLinear: with binary weights and inputs, one of them, or neither."""
    sides = _Sides.of(call, layer)
    _check_vector(call, layer)
    depth = layer.weight.shape[1]
    weight, steps = _weight_and_steps(layer, sides, depth * getattr(layer, "groups", 1))
    weight_OKLC = _weight_OKLC(weight)
    pad_value = getattr(layer, "pad_value", 0.0)
    if sides.binary:
        attrs = _binary_attrs(call, layer)
        attrs["pad_value"] = int(pad_value)
        if sides.inputs.low == 0.0:
            attrs["pad_value"] = 1 if pad_value == 1 else -1
        inputs, bits = [emit.bits(call, sides.inputs)], {"weight": pack_bits(weight_OKLC < 0)}
        return emit.node(call, "binary_conv2d", steps, inputs=inputs, attrs=attrs, tensors=bits, depth=depth)
    # A float convolution, its weights kept as bits if they are.
    tensors: dict[str, NDArray[Any]] = {"weight": weight_OKLC}
    if sides.weights is not None:
        tensors = {"weight_bits": pack_bits(weight_OKLC < 0)}
    if sides.inputs is None:
        inputs, attrs = _real_input(emit, call, layer)
    elif pad_value != 0:
        raise PackError(f"{call}: pad_value {pad_value:g} with real weights has no packed form; use pad_value=0")
    else:
        inputs, attrs = [_level_values(emit, call, sides.inputs)], _binary_attrs(call, layer)
    note = _why_real(emit, call, layer)
    return emit.node(call, "conv2d", steps, inputs=inputs, attrs=attrs, tensors=tensors, note=note)


def reshaped_pointwise(emit: Emitter, call: Call, layer: ReshapedPointwiseConv2d) -> str:
    """ReshapedPointwiseConv2d as one r x r convolution of stride r, with output channels ordered by position.

    PyTorch's channel ``c r r + i r + j`` of the rearranged map is tap (i, j) of channel c. Its output channel ``c u u +
    p`` is entry ``p C + c`` of the packed tables.
    """
    sides = _Sides.of(call, layer)
    channels, block, upscale = layer.map_channels[0], layer.block, layer.upscale
    weight, steps = _weight_and_steps(layer, sides, channels)
    if layer.norm is not None:
        check_forward(f"{call}.norm", layer.norm, nn.BatchNorm2d)
        steps.append(norm(f"{call}.norm", layer.norm))
    order_O = np.arange(layer.out_channels).reshape(-1, upscale**2).T.reshape(-1)
    for step in steps:
        step.update(scale=step["scale"][order_O], bias=step["bias"][order_O])
    weight_OCKL = array(weight)[order_O].reshape(-1, channels, block, block)
    weight_OKLC = np.ascontiguousarray(weight_OCKL.transpose(0, 2, 3, 1))
    attrs: dict[str, Any] = {"block": block, "upscale": upscale, "roll": layer.roll}
    if sides.binary:
        attrs["pad_value"] = 1 if sides.inputs.zero_level == sides.inputs.high else -1
        inputs, tensors = [emit.bits(call, sides.inputs)], {"weight": pack_bits(weight_OKLC < 0)}
        return emit.node(call, "binary_rpc2d", steps, inputs=inputs, attrs=attrs, tensors=tensors, depth=channels)
    inputs = [emit.take(call, call.input)]
    if sides.inputs is not None:
        size, level = call.input.shape[2:], sides.inputs.zero_level
        if level != 0 and any(side % block for side in size):
            raise PackError(
                f"{call}: a map of {size} is padded to multiples of {block} with the level {level:g}, which has no "
                "packed form with real weights; make the weights binary, or the sides multiples"
            )
        inputs = [_level_values(emit, call, sides.inputs)]
    note = _why_real(emit, call, layer)
    return emit.node(call, "rpc2d", steps, inputs=inputs, attrs=attrs, tensors={"weight": weight_OKLC}, note=note)


def _why_real(emit: Emitter, call: Call, layer: nn.Module) -> str:
    """The reason why a convolution or linear layer runs in float."""
    binary = isinstance(layer, BinaryConv2d | BinaryLinear)
    if binary and layer.input_binarizer is not None:
        return "its weights are real"
    if binary and layer.weight_binarizer is not None and not layer.real_weights:
        return "its inputs are real"
    if emit.first == call.name:
        return "first layer"
    if emit.last == call.name:
        return "last layer"
    if binary:
        return "its weights and inputs are real"
    if call.layer is None:
        return f"is the function {call.what}: make it a layer, and that binary with onebit.binarize_"
    return f"is a torch.nn.{type(layer).__name__}: make it binary with onebit.binarize_"


class _Sides(NamedTuple):
    """The active binarizers of a layer; None for full precision."""

    weights: Any
    inputs: Any

    @classmethod
    def of(cls, call: Call, layer: Any) -> _Sides:
        weights = None if layer.real_weights else layer.weight_binarizer
        check_binarizers(call.name, weights, layer.input_binarizer)
        return cls(weights, layer.input_binarizer)

    @property
    def binary(self) -> bool:
        """Whether weights and inputs are both binary."""
        return self.weights is not None and self.inputs is not None


def _weight_and_steps(layer: Any, sides: _Sides, channels: int) -> tuple[Tensor, list[Step]]:
    """The weights, as -1 and +1 if binary, and the steps from sums of levels to the layer's output.

    Scale and bias are computed by the layer's own arithmetic and include the contribution of an input offset.
    """
    shape = (1, channels) if isinstance(layer, nn.Linear) else (1, channels, 1, 1)
    _, weight, scale, bias = operands(layer, torch.zeros(shape, device=layer.weight.device, dtype=layer.weight.dtype))
    out = len(weight)
    steps = [affine(1.0 if scale is None else array(scale), 0.0 if bias is None else array(bias), out)]
    if sides.binary and sides.inputs.low == 0.0:
        # x = (level + 1)/2 with level in {-1, +1}: sum w x = (sum w level + sum w)/2, exactly
        total_O = array(weight).reshape(out, -1).sum(axis=1, dtype=np.float64)
        steps.insert(0, affine(0.5, (total_O / 2).astype(np.float32), out))
    return weight, steps


def _level_values(emit: Emitter, call: Call, inputs: Any) -> str:
    """Add a node that maps the inputs of a layer with full-precision weights to two float levels; returns the name of
    its value.
    """
    steps: list[Step] = [{"step": "levels", "rule": inputs.rule, "low": float(inputs.low), "high": float(inputs.high)}]
    threshold = threshold_of(inputs)
    if threshold is not None:
        steps.insert(0, affine(1.0, -threshold, len(threshold)))
    return emit.node(call, "elementwise", steps, name=f"{call.name}.levels", source="binarizer")


def _weight_OKLC(weight: Tensor) -> NDArray[np.float32]:
    return array(weight[:, None, None, :] if weight.ndim == 2 else weight.permute(0, 2, 3, 1))


def _conv_attrs(layer: Any) -> dict[str, Any]:
    """All attributes, of a convolution without padding."""
    if isinstance(layer, nn.Linear):
        return {"stride": [1, 1], "padding": [0, 0], "dilation": [1, 1], "groups": 1}
    return {
        "stride": pair(layer.stride),
        "padding": [0, 0],
        "dilation": pair(layer.dilation),
        "groups": layer.groups,
    }


def _border(layer: Any) -> list[int]:
    """The padding: top, bottom, left, right."""
    if isinstance(layer, nn.Linear) or layer.padding == "valid":
        return [0, 0, 0, 0]
    if layer.padding != "same":
        vertical, horizontal = pair(layer.padding)
        return [vertical, vertical, horizontal, horizontal]
    reach = [gap * (side - 1) for gap, side in zip(pair(layer.dilation), layer.kernel_size, strict=True)]
    return [amount for both in reach for amount in (both // 2, both - both // 2)]


def _pads_before(layer: Any) -> bool:
    """Whether the padding is no part of the op: other pixels than zeros, or more at one end than at the other."""
    top, bottom, left, right = _border(layer)
    other = not isinstance(layer, nn.Linear) and layer.padding_mode != "zeros"
    return (other and any((top, bottom, left, right))) or (top, left) != (bottom, right)


def _real_input(emit: Emitter, call: Call, layer: Any) -> tuple[list[str], dict[str, Any]]:
    """The input of a real convolution, padded by a node of its own where the op cannot do so, and the attributes."""
    inputs, attrs = [emit.take(call, call.input)], _conv_attrs(layer)
    if not _pads_before(layer):
        return inputs, {**attrs, "padding": _border(layer)[::2]}
    mode = "constant" if layer.padding_mode == "zeros" else layer.padding_mode
    border = {"padding": _border(layer), "mode": mode, "value": 0.0}
    padded = emit.node(call, "pad2d", name=f"{call.name}.padding", inputs=inputs, attrs=border, source="padding")
    return [padded], attrs


def _binary_attrs(call: Call, layer: Any) -> dict[str, Any]:
    if _pads_before(layer):
        raise PackError(
            f"{call}: padding {layer.padding!r} of a kernel of {tuple(layer.kernel_size)}, {layer.padding_mode!r}, "
            "has no packed form for binary inputs; use an odd kernel and the mode 'zeros'"
        )
    return {**_conv_attrs(layer), "padding": _border(layer)[::2]}


def _check_vector(call: Call, layer: nn.Module) -> None:
    """Raise PackError for a linear layer whose input is not one vector per image."""
    if isinstance(layer, nn.Linear) and len(call.input.shape) != 2:
        raise PackError(f"{call}: a linear layer on a tensor of shape {call.input.shape}; flatten it to (B, F) first")
