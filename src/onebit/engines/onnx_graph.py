"""From a torch network to an ONNX model, by a small table of layers: what OpenVINO and ONNX Runtime are given.

A binary convolution becomes what OpenVINO recognizes: ``FakeQuantize`` with two levels, its own convolution of weights
that are exactly -1 and +1, and the scale behind it.
"""

import operator
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx
import torch
import torch.nn.functional as F
from numpy.typing import ArrayLike
from onnx import TensorProto, helper, numpy_helper
from torch import fx, nn
from torch.fx.passes.shape_prop import ShapeProp

from onebit.engines.base import Refused
from onebit.nn.activations import ChannelShuffle, FPReLU, RPReLU
from onebit.nn.binarizers import SignInput
from onebit.nn.layers import BinaryConv2d, operands
from onebit.nn.rpc import ReshapedPointwiseConv2d
from onebit.nn.trace import LayerTracer

FAKE_QUANTIZE = "org.openvinotoolkit"  # the domain in which OpenVINO reads FakeQuantize


class Writer:
    """Collects nodes and constants; every method returns the name of a value.  ``shapes``: of the values so far."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self.shapes: dict[str, tuple[int, ...]] = {}

    def constant(self, value: ArrayLike, dtype: Any = np.float32) -> str:
        name = f"constant{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(value, dtype), name))
        return name

    def tensor(self, value: torch.Tensor) -> str:
        return self.constant(value.detach().numpy())

    def integers(self, *values: int) -> str:
        return self.constant(values, np.int64)

    def emit(self, op: str, *inputs: str, domain: str = "", **attributes: Any) -> str:
        name = f"{op}{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, list(inputs), [name], name, domain=domain, **attributes))
        return name


def _window(layer: Any) -> dict[str, Any]:
    kernel, stride, (rows, columns) = (
        [value, value] if isinstance(value, int) else list(value)
        for value in (layer.kernel_size, layer.stride, layer.padding)
    )
    return {"kernel_shape": kernel, "strides": stride, "pads": [rows, columns, rows, columns]}


def _convolution(w: Writer, x: str, layer: nn.Conv2d) -> str:
    constants = [w.tensor(layer.weight)] + ([] if layer.bias is None else [w.tensor(layer.bias)])
    return w.emit("Conv", x, *constants, group=layer.groups, **_window(layer))


def _binary_convolution(w: Writer, x: str, layer: BinaryConv2d) -> str:
    if not isinstance(layer.input_binarizer, SignInput) or layer.pad_value or layer.groups != 1:
        raise Refused(f"only a sign, padding by 0 and one group have a binary form in OpenVINO: {layer}")
    _, signs, scale, _ = operands(layer, torch.zeros(1, layer.in_channels, 1, 1))
    limits = [w.constant(limit) for limit in (-1, 1, -1, 1)]
    levels = w.emit("FakeQuantize", x, *limits, domain=FAKE_QUANTIZE, levels=2)
    sums = w.emit("Conv", levels, w.tensor(signs), **_window(layer))
    return sums if scale is None else w.emit("Mul", sums, w.tensor(scale.reshape(-1, 1, 1)))


def _rolled(w: Writer, x: str, shift: int) -> str:
    """The map shifted cyclically by ``shift`` pixels, 1 or -1, along both axes."""
    for axis in (2, 3):
        shape = w.shapes[x]
        seam = -shift % shape[axis]
        ranges = ((seam, shape[axis]), (0, seam))
        parts = [w.emit("Slice", x, w.integers(a), w.integers(b), w.integers(axis)) for a, b in ranges]
        x = w.emit("Concat", *parts, axis=axis)
        w.shapes[x] = shape
    return x


def _reshaped_pointwise(w: Writer, x: str, layer: ReshapedPointwiseConv2d) -> str:
    """A convolution of blocks with their stride, then depth to space; see the layer."""
    if layer.input_binarizer is not None or layer.weight_binarizer is not None:
        raise Refused(f"a binary reshaped point-wise convolution has no form in ONNX here: {layer}")
    (batch, channels, height, width), block = w.shapes[x], layer.block
    below, right = -height % block, -width % block
    x = _rolled(w, x, -1) if layer.roll else x
    weight = layer.weight.reshape(-1, channels, block, block)
    constants = [w.tensor(weight)] + ([] if layer.bias is None else [w.tensor(layer.bias)])
    sides = [block, block]
    x = w.emit("Conv", x, *constants, kernel_shape=sides, strides=sides, pads=[0, 0, below, right])
    x = _norm(w, x, layer.norm) if layer.norm is not None else x
    if layer.upscale > 1:
        x = w.emit("DepthToSpace", x, blocksize=layer.upscale, mode="CRD")
    rows, columns = (-(-side * layer.upscale // block) for side in (height, width))
    if below or right:
        x = w.emit("Slice", x, w.integers(0, 0), w.integers(rows, columns), w.integers(2, 3))
    w.shapes[x] = (batch, layer.map_channels[1], rows, columns)
    return _rolled(w, x, 1) if layer.roll else x


def _norm(w: Writer, x: str, layer: nn.BatchNorm1d | nn.BatchNorm2d) -> str:
    tables: Any = (layer.weight, layer.bias, layer.running_mean, layer.running_var)
    return w.emit("BatchNormalization", x, *map(w.tensor, tables), epsilon=layer.eps)


def _per_channel(w: Writer, x: str, values_C: torch.Tensor) -> str:
    return w.tensor(values_C.reshape(-1, *[1] * (len(w.shapes[x]) - 2)))


def _fprelu(w: Writer, x: str, layer: FPReLU) -> str:
    """``a PRelu(x; b/a)``, two operators, where no a is 0."""
    a, b = layer.positive, layer.negative
    if bool((a.abs() > 1e-6).all()):
        return w.emit("Mul", w.emit("PRelu", x, _per_channel(w, x, b / a)), _per_channel(w, x, a))
    above = w.emit("Mul", w.emit("Relu", x), _per_channel(w, x, a))
    return w.emit("Add", above, w.emit("Mul", w.emit("Min", x, w.constant(0)), _per_channel(w, x, b)))


def _rprelu(w: Writer, x: str, layer: RPReLU) -> str:
    before, slope, after = (_per_channel(w, x, table) for table in (layer.before, layer.negative, layer.after))
    return w.emit("Add", w.emit("PRelu", w.emit("Add", x, before), slope), after)


def _channel_shuffle(w: Writer, x: str, layer: ChannelShuffle) -> str:
    _, channels, height, width = w.shapes[x]
    groups = layer.groups  # a 0 in the shape: as the input has it
    split = w.emit("Reshape", x, w.integers(0, groups, channels // groups, height, width))
    return w.emit("Reshape", w.emit("Transpose", split, perm=[0, 2, 1, 3, 4]), w.integers(0, channels, height, width))


def _max_pool(w: Writer, x: str, layer: nn.MaxPool2d) -> str:
    return w.emit("MaxPool", x, ceil_mode=int(layer.ceil_mode), **_window(layer))


def _average_pool(w: Writer, x: str, layer: nn.AvgPool2d) -> str:
    return w.emit("AveragePool", x, count_include_pad=int(layer.count_include_pad), **_window(layer))


def _linear(w: Writer, x: str, layer: nn.Linear) -> str:
    constants = [w.tensor(layer.weight)] + ([] if layer.bias is None else [w.tensor(layer.bias)])
    return w.emit("Gemm", x, *constants, transB=1)


LAYERS: dict[type[nn.Module], Callable[[Writer, str, Any], str]] = {
    nn.Conv2d: _convolution,
    BinaryConv2d: _binary_convolution,
    ReshapedPointwiseConv2d: _reshaped_pointwise,
    nn.BatchNorm1d: _norm,
    nn.BatchNorm2d: _norm,
    nn.PReLU: lambda w, x, layer: w.emit("PRelu", x, _per_channel(w, x, layer.weight)),
    FPReLU: _fprelu,
    RPReLU: _rprelu,
    nn.ReLU: lambda w, x, layer: w.emit("Relu", x),
    nn.ReLU6: lambda w, x, layer: w.emit("Clip", x, w.constant(0), w.constant(6)),
    nn.Hardtanh: lambda w, x, layer: w.emit("Clip", x, w.constant(layer.min_val), w.constant(layer.max_val)),
    nn.Hardswish: lambda w, x, layer: w.emit("HardSwish", x),
    nn.Hardsigmoid: lambda w, x, layer: w.emit("HardSigmoid", x, alpha=1 / 6, beta=0.5),
    nn.Identity: lambda w, x, layer: x,
    nn.MaxPool2d: _max_pool,
    nn.AvgPool2d: _average_pool,
    nn.Flatten: lambda w, x, layer: w.emit("Flatten", x, axis=1),
    nn.AdaptiveAvgPool2d: lambda w, x, layer: w.emit("GlobalAveragePool", x),
    nn.Linear: _linear,
    ChannelShuffle: _channel_shuffle,
}


def _padded(w: Writer, x: str, pads: Sequence[int], mode: str = "constant", value: float | None = None) -> str:
    """``F.pad``, which counts from the last axis on, by zeros."""
    if mode != "constant" or value:
        raise Refused(f"a padding other than by zeros has no form in ONNX here: {mode}, {value}")
    sides = [(0, 0)] * (len(w.shapes[x]) - len(pads) // 2) + list(zip(pads[::2], pads[1::2], strict=True))[::-1]
    return w.emit("Pad", x, w.integers(*(before for before, _ in sides), *(after for _, after in sides)))


# A function of torch, or the name of a tensor's method -> what it becomes, from the names and values that it is given
FUNCTIONS: dict[Any, Callable[..., str]] = {
    operator.add: lambda w, one, other: w.emit("Add", one, other),
    operator.mul: lambda w, one, other: w.emit("Mul", one, other),
    F.pad: _padded,
    torch.cat: lambda w, parts, axis=0: w.emit("Concat", *parts, axis=axis),
    "flatten": lambda w, x, axis: w.emit("Flatten", x, axis=axis),
}


@torch.no_grad()
def to_onnx(network: nn.Module, input_shape: tuple[int, int, int, int]) -> onnx.ModelProto:
    """The network, in eval mode, for a batch of exactly that shape (B, C, H, W).

    Takes the layers of ``LAYERS`` and the calls of ``FUNCTIONS``; Refused names another.
    """
    graph = LayerTracer().trace(network)
    ShapeProp(fx.GraphModule(network, graph)).propagate(torch.zeros(input_shape))
    writer = Writer()
    value: dict[fx.Node, str] = {}
    layers = dict(network.named_modules())
    output = ""
    for node in graph.nodes:
        given = fx.node.map_arg((node.args, node.kwargs), lambda source: value[source])
        if node.op == "output":
            output = given[0][0]
            continue
        if node.op == "placeholder":
            value[node] = "image"
        elif node.op == "call_module" and type(layers[node.target]) in LAYERS:
            layer = layers[node.target]
            value[node] = LAYERS[type(layer)](writer, given[0][0], layer)
        elif node.target in FUNCTIONS:
            value[node] = FUNCTIONS[node.target](writer, *given[0], **given[1])
        else:
            what = type(layers[node.target]).__name__ if node.op == "call_module" else node.target
            raise Refused(f"{what} has no form in ONNX here; add it to engines/onnx_graph.py")
        writer.shapes[value[node]] = tuple(node.meta["tensor_meta"].shape)
    model_input = helper.make_tensor_value_info("image", TensorProto.FLOAT, input_shape)
    model_output = helper.make_tensor_value_info(output, TensorProto.FLOAT, writer.shapes[output])
    name = type(network).__name__
    onnx_graph = helper.make_graph(writer.nodes, name, [model_input], [model_output], writer.constants)
    operators = [helper.make_opsetid("", 17), helper.make_opsetid(FAKE_QUANTIZE, 1)]
    return helper.make_model(onnx_graph, opset_imports=operators, ir_version=8)
