"""From a torch model to a draft: trace with torch.fx, then one small function per kind of layer.

Nothing is optimised here: every layer becomes its own node, every norm and activation an elementwise node; the passes
of ``fuse.py`` do the rest.  To teach packing a layer, write a function here and put it into the table at the end.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, fx, nn
from torch.fx.passes.shape_prop import ShapeProp

from onebit.export.draft import Draft, DraftNode, PackError, Step
from onebit.nn.binarizers import SignInput, StepInput, WeightBinarizer
from onebit.nn.layers import BinaryConv2d, BinaryLinear
from onebit.nn.trace import LayerTracer
from onebit.runtime.bits import pack_bits


def capture(model: nn.Module, input_shape: tuple[int, int, int]) -> Draft:
    """Trace ``model`` (in eval mode) on an image of ``input_shape`` = (C, H, W) into a draft.

    Raises PackError where the model cannot be traced, cannot take the shape, or has a layer without a packed form.
    """
    try:
        traced = fx.GraphModule(model, LayerTracer().trace(model))
    except Exception as error:
        raise PackError(
            f"torch.fx cannot trace the model ({type(error).__name__}: {error}); "
            "forward must not branch on tensor values"
        ) from error
    first = next(model.parameters(), torch.zeros(()))
    image = torch.zeros(1, *input_shape, device=first.device, dtype=first.dtype)
    try:
        model(image.clone())
    except Exception as error:
        cause = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise PackError(f"the model cannot take an image of shape {input_shape} (C, H, W): {cause}") from error
    ShapeProp(traced).propagate(image)
    return _Capture(traced).run()


def _array(x: Tensor) -> NDArray[np.float32]:
    return np.ascontiguousarray(x.detach().to("cpu", torch.float32).numpy())


def _pair(x: Any) -> list[int]:
    return [int(x), int(x)] if not isinstance(x, tuple | list) else [int(v) for v in (x if len(x) == 2 else x * 2)]


Handler = Callable[["_Capture", str, fx.Node, Any], None]


class _Capture:
    """Walks the fx graph and collects nodes; ``self.value`` maps fx nodes to the names of draft values."""

    def __init__(self, traced: fx.GraphModule) -> None:
        self.modules = dict(traced.named_modules())
        self.graph = traced.graph
        self.nodes: list[DraftNode] = []
        self.value: dict[fx.Node, str] = {}
        self.names: set[str] = set()
        self.bits: dict[tuple[str, str], str] = {}  # (float value, rule) -> value of its bits
        self.weighted = [
            str(n.target)
            for n in self.graph.nodes
            if n.op == "call_module" and isinstance(self.modules[n.target], nn.Conv2d | nn.Linear)
        ]

    def run(self) -> Draft:
        output = ""
        for node in self.graph.nodes:
            if node.op == "placeholder":
                if self.value:
                    raise PackError(f"the model takes a second input {node.name!r}; a packed network takes one image")
                self.value[node] = "image"
            elif node.op == "output":
                result = node.args[0]
                if not isinstance(result, fx.Node) or result not in self.value:
                    raise PackError("the model must return one tensor")
                output = self.value[result]
            elif "tensor_meta" not in node.meta:
                continue  # sizes and other numbers that only feed a reshape
            else:
                self._layer(node)
        if output == "image" or not self.nodes:
            raise PackError("the model computes nothing from its input")
        return Draft(self.nodes, output)

    def _layer(self, node: fx.Node) -> None:
        if node.op == "call_module":
            layer = self.modules[str(node.target)]
            name, what = str(node.target), type(layer).__name__
            kind = next((kind for kind in type(layer).__mro__ if kind in MODULES), None)
            handler = None if kind is None else MODULES[kind]
            if kind is not None:
                _check_forward(name, layer, kind)
        elif node.op in ("call_function", "call_method"):
            layer, handler = None, FUNCTIONS.get(node.target)
            name, what = node.name, getattr(node.target, "__name__", str(node.target))
        else:
            raise PackError(f"{node.name}: the model uses the tensor {node.target!r} directly; make it part of a layer")
        if handler is None:
            supported = ", ".join(sorted({kind.__name__ for kind in MODULES}))
            raise PackError(f"{name}: {what} has no packed form; replace it by one of {supported}")
        source = node.args[0]
        before = self.value.get(source) if isinstance(source, fx.Node) else None
        handler(self, name, node, layer)
        if _in_place(node, layer):  # whoever else holds the tensor sees the new values from now on
            for other, value in self.value.items():
                if value == before:
                    self.value[other] = self.value[node]

    # What the handlers use ------------------------------------------------------------------------------------

    def taken(self, node: fx.Node) -> str:
        """The value that ``node`` works on."""
        return self.value[node.args[0]]  # type: ignore[index]

    def shape(self, node: Any) -> tuple[int, ...]:
        return tuple(node.meta["tensor_meta"].shape)

    def emit(self, fx_node: fx.Node, name: str, op: str, source: str, steps: list[Step], **fields: Any) -> None:
        """Append a node whose result, after ``steps``, is the value of ``fx_node``."""
        taken = fields.pop("input", None) or self.taken(fx_node)
        unique = self._unique(name)
        steps = [*steps, {"step": "store", "output": f"{unique}:out"}]
        self.nodes.append(DraftNode(unique, op, taken, epilogue=steps, source=source, **fields))
        self.value[fx_node] = f"{unique}:out"

    def binarized(self, fx_node: fx.Node, name: str, rule: str) -> str:
        """The bits of the value that ``fx_node`` works on, made once for all layers that share it."""
        taken = self.taken(fx_node)
        if (taken, rule) not in self.bits:
            unique = self._unique(f"{name}.input")
            output = f"{unique}:bits"
            step = {"step": "binarize", "rule": rule, "output": output}
            self.nodes.append(DraftNode(unique, "elementwise", taken, epilogue=[step], source="binarizer"))
            self.bits[taken, rule] = output
        return self.bits[taken, rule]

    def _unique(self, name: str) -> str:
        candidate, count = name, 1
        while candidate in self.names:
            count += 1
            candidate = f"{name}#{count}"
        self.names.add(candidate)
        return candidate

    def why_real(self, name: str, layer: nn.Module) -> str:
        """Why a convolution or linear layer runs in float."""
        if isinstance(layer, BinaryConv2d | BinaryLinear):
            return "its inputs are real" if layer.input_binarizer is None else "its weights are real"
        if self.weighted[0] == name:
            return "first layer"
        if self.weighted[-1] == name:
            return "last layer"
        return f"is a torch.nn.{type(layer).__name__}: make it binary with onebit.binarize_"


# ---------------------------------------------------------------------------------------------------------------
# Layers
# ---------------------------------------------------------------------------------------------------------------


def _in_place(node: fx.Node, layer: nn.Module | None) -> bool:
    """Whether the call changes the tensor that it is given."""
    if getattr(layer, "inplace", False) or node.kwargs.get("inplace") or node.target is operator.iadd:
        return True
    if node.target in (F.relu, F.hardtanh, F.leaky_relu) and node.args[-1] is True:
        return True
    return node.op == "call_method" and str(node.target).endswith("_")


def _check_forward(name: str, layer: nn.Module, kind: type[nn.Module]) -> None:
    """Refuse a layer that computes something else than the class that packing knows."""
    if type(layer).forward is not kind.forward:
        raise PackError(
            f"{name}: {type(layer).__name__} has a forward of its own, which packing cannot know; "
            f"write it as a {kind.__name__} and layers around it"
        )
    if layer._forward_hooks or layer._forward_pre_hooks:
        raise PackError(f"{name}: the layer has forward hooks, which a packed network cannot run; remove them first")


def _check_binarizers(name: str, weights: Any, inputs: Any) -> None:
    """Refuse binarizers that do more than the levels and the scale that packing reads off them."""
    for binarizer, known in ((weights, (WeightBinarizer,)), (inputs, (SignInput, StepInput))):
        if binarizer is not None and not any(type(binarizer).forward is kind.forward for kind in known):
            raise PackError(
                f"{name}: {type(binarizer).__name__} has a forward of its own, which packing cannot know; "
                "give it a scale() and leave forward as it is"
            )


def _weights_OKLC(layer: nn.Conv2d | nn.Linear) -> Tensor:
    weight = layer.weight.detach()
    if weight.ndim == 2:
        return weight[:, None, None, :]
    return weight.permute(0, 2, 3, 1).contiguous()


def _conv_attrs(layer: nn.Conv2d | nn.Linear) -> dict[str, Any]:
    if isinstance(layer, nn.Linear):
        return {"stride": [1, 1], "padding": [0, 0], "dilation": [1, 1], "groups": 1}
    if layer.padding_mode != "zeros" or isinstance(layer.padding, str):
        raise PackError(f"padding {layer.padding!r}, mode {layer.padding_mode!r}: give it as numbers, mode 'zeros'")
    return {
        "stride": _pair(layer.stride),
        "padding": _pair(layer.padding),
        "dilation": _pair(layer.dilation),
        "groups": layer.groups,
    }


def _affine(scale: NDArray | float, bias: NDArray | float, channels: int) -> Step:
    full = np.ones(channels, np.float32)
    return {"step": "affine", "scale": full * np.float32(scale), "bias": full * np.float32(bias)}


def _check_vector(self: _Capture, name: str, node: fx.Node, layer: nn.Module | None) -> None:
    """A linear layer works on the last axis: in a packed network that must be a vector per image."""
    if len(self.shape(node.args[0])) != 2:
        raise PackError(
            f"{name}: a linear layer on a tensor of shape {self.shape(node.args[0])}; flatten it to (B, F) first"
        )


def _real_conv(self: _Capture, name: str, node: fx.Node, layer: Any) -> None:
    if isinstance(layer, nn.Linear):
        _check_vector(self, name, node, layer)
    steps = [] if layer.bias is None else [_affine(1.0, _array(layer.bias), len(layer.bias))]
    weight = {"weight": np.ascontiguousarray(_array(_weights_OKLC(layer)))}
    source, note = type(layer).__name__, self.why_real(name, layer)
    self.emit(node, name, "conv2d", source, steps, attrs=_conv_attrs(layer), tensors=weight, note=note)


def _binary_conv(self: _Capture, name: str, node: fx.Node, layer: Any) -> None:
    weights, inputs = layer.weight_binarizer, layer.input_binarizer
    if weights is None and inputs is None:
        _real_conv(self, name, node, layer)
        return
    _check_binarizers(name, weights, inputs)
    if isinstance(layer, nn.Linear):
        _check_vector(self, name, node, layer)
    out = layer.weight.shape[0]
    weight_OKLC, scale = _weights_OKLC(layer), None
    if weights is not None:
        signs, scale = weights(layer.weight.detach())
        layer_signs = signs.permute(0, 2, 3, 1) if signs.ndim == 4 else signs[:, None, None, :]
        weight_OKLC = layer_signs
    input_scale = None if inputs is None else inputs.scale()
    factor: NDArray = np.ones((), np.float32) if scale is None else _array(scale)
    if input_scale is not None:
        factor = factor * _array(input_scale)
    bias = 0.0 if layer.bias is None else _array(layer.bias)
    outer = _affine(factor, bias, out)
    source, attrs = type(layer).__name__, _conv_attrs(layer)
    low = pack_bits(_array(weight_OKLC) < 0) if weights is not None else None
    if weights is None or inputs is None:  # one side is real: a float convolution, its weights kept as bits if they are
        fields: dict[str, Any] = {"note": self.why_real(name, layer), "attrs": attrs}
        if inputs is not None:
            fields["input"] = _level_values(self, node, name, inputs, getattr(layer, "pad_value", 0.0))
        fields["tensors"] = {"weight": _array(weight_OKLC)} if low is None else {"weight_bits": low}
        self.emit(node, name, "conv2d", source, [outer], **fields)
        return
    steps = [outer]
    attrs["pad_value"] = int(getattr(layer, "pad_value", 0.0))
    if inputs.low == 0.0:  # x = (level + 1)/2 with level in {-1, +1}: sum w x = (sum w level + sum w)/2, exactly
        total_O = _array(weight_OKLC).sum(axis=(1, 2, 3), dtype=np.float64)
        steps = [_affine(0.5, (total_O / 2).astype(np.float32), out), outer]
        attrs["pad_value"] = 1 if attrs["pad_value"] == 1 else -1
    taken = self.binarized(node, name, inputs.rule)
    assert low is not None
    self.emit(
        node,
        name,
        "binary_conv2d",
        source,
        steps,
        attrs=attrs,
        tensors={"weight": low},
        input=taken,
        depth=layer.weight.shape[1],
    )


def _level_values(self: _Capture, node: fx.Node, name: str, inputs: Any, pad_value: float) -> str:
    """A node that turns the inputs of an activation-only layer into its two levels, as floats; returns their name."""
    if pad_value != 0:
        raise PackError(f"{name}: pad_value {pad_value:g} with real weights has no packed form; use pad_value=0")
    unique = self._unique(f"{name}.levels")
    step = {"step": "levels", "rule": inputs.rule, "low": float(inputs.low), "high": float(inputs.high)}
    steps = [step, {"step": "store", "output": f"{unique}:out"}]
    self.nodes.append(DraftNode(unique, "elementwise", self.taken(node), epilogue=steps, source="binarizer"))
    return f"{unique}:out"


def _batch_norm(self: _Capture, name: str, node: fx.Node, layer: Any) -> None:
    if layer.running_mean is None:
        raise PackError(f"{name}: the norm keeps no running statistics; use track_running_stats=True")
    mean, var = _array(layer.running_mean), _array(layer.running_var)
    gamma = np.ones_like(mean) if layer.weight is None else _array(layer.weight)
    beta = np.zeros_like(mean) if layer.bias is None else _array(layer.bias)
    # As torch does it on a CPU: a float32 scale, then two fused steps, fma(x, scale, fma(-mean, scale, beta)).
    scale = gamma * (np.float32(1) / np.sqrt(var + np.float32(layer.eps)))
    bias = (beta.astype(np.float64) - mean.astype(np.float64) * scale).astype(np.float32)
    step = {"step": "affine", "scale": scale, "bias": bias, "fused": True}
    self.emit(node, name, "elementwise", type(layer).__name__, [step])


def _slopes(self: _Capture, name: str, node: fx.Node, negative: NDArray | float, source: str) -> None:
    channels = self.shape(node)[1]
    full = np.ones(channels, np.float32)
    step = {"step": "slopes", "positive": full, "negative": full * np.float32(negative)}
    self.emit(node, name, "elementwise", source, [step])


def _relu(self: _Capture, name: str, node: fx.Node, layer: Any) -> None:
    _slopes(self, name, node, 0.0, "ReLU")


def _leaky_relu(self: _Capture, name: str, node: fx.Node, layer: Any) -> None:
    _slopes(self, name, node, layer.negative_slope, "LeakyReLU")


def _prelu(self: _Capture, name: str, node: fx.Node, layer: Any) -> None:
    _slopes(self, name, node, _array(layer.weight), "PReLU")


def _hardtanh(self: _Capture, name: str, node: fx.Node, layer: Any) -> None:
    step = {"step": "clamp", "low": float(layer.min_val), "high": float(layer.max_val)}
    self.emit(node, name, "elementwise", type(layer).__name__, [step])


def _nothing(self: _Capture, name: str, node: fx.Node, layer: Any) -> None:
    self.value[node] = self.taken(node)


def _window(
    name: str, kernel: Any, stride: Any, padding: Any, ceil_mode: bool = False, dilation: Any = 1
) -> dict[str, Any]:
    if ceil_mode or _pair(dilation) != [1, 1]:
        raise PackError(f"{name}: a pool with ceil_mode or dilation has no packed form")
    return {"kernel": _pair(kernel), "stride": _pair(kernel if stride is None else stride), "padding": _pair(padding)}


def _max_pool(self: _Capture, name: str, node: fx.Node, layer: Any) -> None:
    attrs = _window(name, layer.kernel_size, layer.stride, layer.padding, layer.ceil_mode, layer.dilation)
    self.emit(node, name, "max_pool2d", "MaxPool2d", [], attrs=attrs)


def _avg_pool(self: _Capture, name: str, node: fx.Node, layer: Any) -> None:
    if layer.divisor_override is not None:
        raise PackError(f"{name}: divisor_override has no packed form")
    attrs = _window(name, layer.kernel_size, layer.stride, layer.padding, layer.ceil_mode)
    attrs["count_include_pad"] = bool(layer.count_include_pad)
    self.emit(node, name, "avg_pool2d", "AvgPool2d", [], attrs=attrs)


def _global_pool(self: _Capture, name: str, node: fx.Node, source: str) -> None:
    sides = list(self.shape(node.args[0])[2:])
    attrs = {"kernel": sides, "stride": sides, "padding": [0, 0], "count_include_pad": True}
    self.emit(node, name, "avg_pool2d", source, [], attrs=attrs)


def _adaptive_pool(self: _Capture, name: str, node: fx.Node, layer: Any) -> None:
    size = (
        node.args[1]
        if layer is None and len(node.args) > 1
        else node.kwargs.get("output_size", getattr(layer, "output_size", None))
    )
    if size not in (1, (1, 1), [1, 1]):
        raise PackError(f"{name}: an adaptive pool to {size} has no packed form; only to 1 (global average)")
    _global_pool(self, name, node, "AdaptiveAvgPool2d")


def _mean(self: _Capture, name: str, node: fx.Node, layer: Any) -> None:
    dims = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim")
    axes: list[Any] = list(dims) if isinstance(dims, list | tuple) else [dims]
    if len(self.shape(node.args[0])) != 4 or sorted(d % 4 for d in axes if isinstance(d, int)) != [2, 3]:
        raise PackError(f"{name}: a mean over {dims} has no packed form; only over (2, 3), height and width")
    _global_pool(self, name, node, "mean")


def _flatten(self: _Capture, name: str, node: fx.Node, layer: Any) -> None:
    shape = self.shape(node.args[0])
    if self.shape(node) == shape:
        _nothing(self, name, node, layer)
        return
    if self.shape(node) != (1, math.prod(shape[1:])):
        raise PackError(f"{name}: a reshape of {shape} to {self.shape(node)} has no packed form; only to (B, features)")
    if len(shape) == 4 and shape[2:] == (1, 1):
        _nothing(self, name, node, layer)
        return
    self.emit(node, name, "flatten", "flatten", [])


def _add(self: _Capture, name: str, node: fx.Node, layer: Any) -> None:
    left, right = node.args[:2]
    if node.kwargs.get("alpha", 1) != 1:
        raise PackError(f"{name}: an addition with alpha={node.kwargs['alpha']} has no packed form; scale with a norm")
    if not all(isinstance(x, fx.Node) and x in self.value for x in (left, right)):
        raise PackError(f"{name}: an addition of something that is no feature map has no packed form")
    if self.shape(left) != self.shape(right):
        raise PackError(f"{name}: an addition of {self.shape(left)} and {self.shape(right)}; shapes must be equal")
    self.emit(node, name, "elementwise", "add", [{"step": "add", "input": self.value[right]}])  # type: ignore[index]


def _pad(self: _Capture, name: str, node: fx.Node, layer: Any) -> None:
    amounts = list(node.args[1])  # type: ignore[arg-type]
    mode, value = node.kwargs.get("mode", "constant"), node.kwargs.get("value") or 0
    if len(amounts) != 6 or any(amounts[:4]) or min(amounts) < 0 or mode != "constant" or value != 0:
        raise PackError(
            f"{name}: padding by {amounts} has no packed form; only zero channels: (0, 0, 0, 0, before, after)"
        )
    attrs = {"before": int(amounts[4]), "after": int(amounts[5])}
    self.emit(node, name, "pad_channels", "pad_channels", [], attrs=attrs)


def _dropout(self: _Capture, name: str, node: fx.Node, layer: Any) -> None:
    if (len(node.args) > 2 and node.args[2]) or node.kwargs.get("training", len(node.args) <= 2):
        raise PackError(f"{name}: F.dropout drops in eval mode too; pass training=self.training, or use nn.Dropout")
    _nothing(self, name, node, layer)


def _as_module(kind: type[nn.Module], handler: Handler) -> Handler:
    """Handler of a functional form: its arguments behind the tensor are those of the layer."""

    def handle(self: _Capture, name: str, node: fx.Node, layer: Any) -> None:
        settings = {key: value for key, value in node.kwargs.items() if key not in ("input", "return_indices")}
        handler(self, name, node, kind(*node.args[1:], **settings))

    return handle


MODULES: dict[type[nn.Module], Handler] = {
    BinaryConv2d: _binary_conv,
    BinaryLinear: _binary_conv,
    nn.Conv2d: _real_conv,
    nn.Linear: _real_conv,
    nn.BatchNorm1d: _batch_norm,
    nn.BatchNorm2d: _batch_norm,
    nn.ReLU: _relu,
    nn.LeakyReLU: _leaky_relu,
    nn.PReLU: _prelu,
    nn.Hardtanh: _hardtanh,
    nn.MaxPool2d: _max_pool,
    nn.AvgPool2d: _avg_pool,
    nn.AdaptiveAvgPool2d: _adaptive_pool,
    nn.Flatten: _flatten,
    nn.Identity: _nothing,
    nn.Dropout: _nothing,
    nn.Dropout2d: _nothing,
}

FUNCTIONS: dict[Any, Handler] = {
    operator.add: _add,
    operator.iadd: _add,
    torch.add: _add,
    "add": _add,
    "add_": _add,
    torch.relu: _relu,
    F.relu: _relu,
    "relu": _relu,
    "relu_": _relu,
    torch.flatten: _flatten,
    "flatten": _flatten,
    "view": _flatten,
    "reshape": _flatten,
    torch.reshape: _flatten,
    "contiguous": _nothing,
    F.dropout: _dropout,
    F.max_pool2d: _as_module(nn.MaxPool2d, _max_pool),
    F.avg_pool2d: _as_module(nn.AvgPool2d, _avg_pool),
    F.leaky_relu: _as_module(nn.LeakyReLU, _leaky_relu),
    F.hardtanh: _as_module(nn.Hardtanh, _hardtanh),
    F.adaptive_avg_pool2d: _adaptive_pool,
    torch.mean: _mean,
    "mean": _mean,
    F.pad: _pad,
    torch.nn.functional.pad: _pad,
}
