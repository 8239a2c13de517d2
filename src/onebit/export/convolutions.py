"""Capture of the layers with weights: convolutions, linear layers, reshaped point-wise convolutions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, fx, nn

from onebit.export.checks import check_binarizers, check_forward
from onebit.export.draft import PackError, Step
from onebit.export.steps import affine, array, norm, pair
from onebit.format.bits import pack_bits
from onebit.nn.layers import operands
from onebit.nn.rpc import ReshapedPointwiseConv2d

if TYPE_CHECKING:
    from onebit.export.capture import Capture

# Shape letters: O out channels, K L kernel rows and columns, C in channels.


def real_convolution(self: Capture, name: str, node: fx.Node, layer: Any) -> None:
    """torch's convolution or linear layer."""
    _check_vector(self, name, node, layer)
    steps = [] if layer.bias is None else [affine(1.0, array(layer.bias), len(layer.bias))]
    weight = {"weight": _weight_OKLC(layer.weight)}
    source, note = type(layer).__name__, self.why_real(name, layer)
    self.emit(node, name, "conv2d", source, steps, attrs=_conv_attrs(layer), tensors=weight, note=note)


def binary_convolution(self: Capture, name: str, node: fx.Node, layer: Any) -> None:
    """BinaryConv2d, BinaryLinear: binary on both sides, on one, or on none."""
    sides = _Sides.of(name, layer)
    _check_vector(self, name, node, layer)
    weight, steps = _weight_and_steps(layer, sides, layer.weight.shape[1] * getattr(layer, "groups", 1))
    weight_OKLC, attrs, source = _weight_OKLC(weight), _conv_attrs(layer), type(layer).__name__
    pad_value = getattr(layer, "pad_value", 0.0)
    bits = {"weight_bits": pack_bits(weight_OKLC < 0)} if sides.weights is not None else {"weight": weight_OKLC}
    if not sides.binary:  # a float convolution, its weights kept as bits if they are
        taken = [self.taken(node)]
        if sides.inputs is not None:
            if pad_value != 0:
                raise PackError(
                    f"{name}: pad_value {pad_value:g} with real weights has no packed form; use pad_value=0"
                )
            taken = [_level_values(self, node, name, sides.inputs)]
        note = self.why_real(name, layer)
        self.emit(node, name, "conv2d", source, steps, inputs=taken, attrs=attrs, tensors=bits, note=note)
        return
    attrs["pad_value"] = int(pad_value)
    if sides.inputs.low == 0.0:
        attrs["pad_value"] = 1 if pad_value == 1 else -1
    taken = [self.binarized(node, name, sides.inputs)]
    tensors = {"weight": bits["weight_bits"]}
    depth = layer.weight.shape[1]
    self.emit(node, name, "binary_conv2d", source, steps, inputs=taken, attrs=attrs, tensors=tensors, depth=depth)


def reshaped_pointwise(self: Capture, name: str, node: fx.Node, layer: ReshapedPointwiseConv2d) -> None:
    """ReshapedPointwiseConv2d as one r x r convolution of stride r, its output channels ordered by position.

    torch's channel ``c r r + i r + j`` of the rearranged map is tap (i, j) of channel c; its output channel
    ``c u u + p`` is entry ``p C + c`` of the packed tables.
    """
    sides = _Sides.of(name, layer)
    channels, block, upscale = layer.map_channels[0], layer.block, layer.upscale
    weight, steps = _weight_and_steps(layer, sides, channels)
    if layer.norm is not None:
        check_forward(f"{name}.norm", layer.norm, nn.BatchNorm2d)
        steps.append(norm(f"{name}.norm", layer.norm))
    order_O = np.arange(layer.out_channels).reshape(-1, upscale**2).T.reshape(-1)
    for step in steps:
        step.update(scale=step["scale"][order_O], bias=step["bias"][order_O])
    weight_OCKL = array(weight)[order_O].reshape(-1, channels, block, block)
    weight_OKLC = np.ascontiguousarray(weight_OCKL.transpose(0, 2, 3, 1))
    attrs: dict[str, Any] = {"block": block, "upscale": upscale, "roll": layer.roll}
    source, inputs = type(layer).__name__, sides.inputs
    if sides.binary:
        attrs["pad_value"] = 1 if inputs.zero_level == inputs.high else -1
        taken, tensors = [self.binarized(node, name, inputs)], {"weight": pack_bits(weight_OKLC < 0)}
        self.emit(node, name, "binary_rpc2d", source, steps, inputs=taken, attrs=attrs, tensors=tensors, depth=channels)
        return
    taken = [self.taken(node)]
    if inputs is not None:
        size = self.shape(node.args[0])[2:]
        if inputs.zero_level != 0 and any(side % block for side in size):
            raise PackError(
                f"{name}: a map of {size} is padded to multiples of {block} with the level {inputs.zero_level:g}, "
                "which has no packed form with real weights; make the weights binary, or the sides multiples"
            )
        taken = [_level_values(self, node, name, inputs)]
    note = self.why_real(name, layer)
    self.emit(node, name, "rpc2d", source, steps, inputs=taken, attrs=attrs, tensors={"weight": weight_OKLC}, note=note)


class _Sides(NamedTuple):
    """The binarizers that a layer uses now; None where that side is real."""

    weights: Any
    inputs: Any

    @classmethod
    def of(cls, name: str, layer: Any) -> _Sides:
        weights = None if layer.real_weights else layer.weight_binarizer
        check_binarizers(name, weights, layer.input_binarizer)
        return cls(weights, layer.input_binarizer)

    @property
    def binary(self) -> bool:
        """Whether both are binary."""
        return self.weights is not None and self.inputs is not None


def _weight_and_steps(layer: Any, sides: _Sides, channels: int) -> tuple[Tensor, list[Step]]:
    """The weights, as -1 and +1 where they are binary, and the steps from sums of levels to the layer's result.

    The layer's own arithmetic gives scale and bias, the share of an offset of its inputs included.
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


def _level_values(self: Capture, node: fx.Node, name: str, inputs: Any) -> str:
    """A node that turns the inputs of an activation-only layer into its two levels, as floats; returns their name."""
    steps: list[Step] = [{"step": "levels", "rule": inputs.rule, "low": float(inputs.low), "high": float(inputs.high)}]
    threshold = threshold_of(inputs)
    if threshold is not None:
        steps.insert(0, affine(1.0, -threshold, len(threshold)))
    return self.append(f"{name}.levels", "elementwise", [self.taken(node)], "binarizer", steps)


def threshold_of(inputs: Any) -> NDArray[np.float32] | None:
    """The thresholds of an input binarizer; None where all are 0."""
    threshold = inputs.threshold()
    return None if threshold is None or not threshold.any() else array(threshold)


def _weight_OKLC(weight: Tensor) -> NDArray[np.float32]:
    return array(weight[:, None, None, :] if weight.ndim == 2 else weight.permute(0, 2, 3, 1))


def _conv_attrs(layer: nn.Conv2d | nn.Linear) -> dict[str, Any]:
    if isinstance(layer, nn.Linear):
        return {"stride": [1, 1], "padding": [0, 0], "dilation": [1, 1], "groups": 1}
    if layer.padding_mode != "zeros" or isinstance(layer.padding, str):
        raise PackError(f"padding {layer.padding!r}, mode {layer.padding_mode!r}: give it as numbers, mode 'zeros'")
    return {
        "stride": pair(layer.stride),
        "padding": pair(layer.padding),
        "dilation": pair(layer.dilation),
        "groups": layer.groups,
    }


def _check_vector(self: Capture, name: str, node: fx.Node, layer: nn.Module) -> None:
    """A linear layer works on the last axis: in a packed network that must be a vector per image."""
    if isinstance(layer, nn.Linear) and len(self.shape(node.args[0])) != 2:
        raise PackError(
            f"{name}: a linear layer on a tensor of shape {self.shape(node.args[0])}; flatten it to (B, F) first"
        )
