"""From a torch network to an ONNX model, by a small table of layers: what OpenVINO and ONNX Runtime are given.

A binary convolution becomes what OpenVINO recognizes: ``FakeQuantize`` with two levels, its own convolution of weights
that are exactly -1 and +1, and the scale behind it.
"""

import operator
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import ArrayLike
from onnx import TensorProto, helper, numpy_helper
from torch import fx, nn

from onebit.nn.binarizers import SignInput
from onebit.nn.layers import BinaryConv2d, operands
from onebit.nn.trace import LayerTracer

FAKE_QUANTIZE = "org.openvinotoolkit"  # the domain in which OpenVINO reads FakeQuantize


class Writer:
    """Collects nodes and constants; every method returns the name of a value."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def constant(self, value: ArrayLike, dtype: Any = np.float32) -> str:
        name = f"constant{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(value, dtype), name))
        return name

    def tensor(self, value: torch.Tensor) -> str:
        return self.constant(value.detach().numpy())

    def emit(self, op: str, *inputs: str, domain: str = "", **attributes: Any) -> str:
        name = f"{op}{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, list(inputs), [name], name, domain=domain, **attributes))
        return name


def _window(layer: Any) -> dict[str, list[int]]:
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
        raise ValueError(f"only a sign, padding by 0 and one group have a binary form in OpenVINO: {layer}")
    _, signs, scale, _ = operands(layer, torch.zeros(1, layer.in_channels, 1, 1))
    limits = [w.constant(limit) for limit in (-1, 1, -1, 1)]
    levels = w.emit("FakeQuantize", x, *limits, domain=FAKE_QUANTIZE, levels=2)
    sums = w.emit("Conv", levels, w.tensor(signs), **_window(layer))
    return sums if scale is None else w.emit("Mul", sums, w.tensor(scale.reshape(-1, 1, 1)))


def _norm(w: Writer, x: str, layer: nn.BatchNorm2d) -> str:
    tables = (layer.weight, layer.bias, layer.running_mean, layer.running_var)
    return w.emit("BatchNormalization", x, *map(w.tensor, tables), epsilon=layer.eps)


def _average_pool(w: Writer, x: str, layer: nn.AvgPool2d) -> str:
    return w.emit("AveragePool", x, count_include_pad=int(layer.count_include_pad), **_window(layer))


LAYERS: dict[type[nn.Module], Callable[[Writer, str, Any], str]] = {
    nn.Conv2d: _convolution,
    BinaryConv2d: _binary_convolution,
    nn.BatchNorm2d: _norm,
    nn.PReLU: lambda w, x, layer: w.emit("PRelu", x, w.tensor(layer.weight.reshape(-1, 1, 1))),
    nn.ReLU: lambda w, x, layer: w.emit("Relu", x),
    nn.ReLU6: lambda w, x, layer: w.emit("Clip", x, w.constant(0), w.constant(6)),
    nn.Hardswish: lambda w, x, layer: w.emit("HardSwish", x),
    nn.Hardsigmoid: lambda w, x, layer: w.emit("HardSigmoid", x, alpha=1 / 6, beta=0.5),
    nn.Identity: lambda w, x, layer: x,
    nn.MaxPool2d: lambda w, x, layer: w.emit("MaxPool", x, **_window(layer)),
    nn.AvgPool2d: _average_pool,
    nn.Flatten: lambda w, x, layer: w.emit("Flatten", x, axis=1),
    nn.AdaptiveAvgPool2d: lambda w, x, layer: w.emit("GlobalAveragePool", x),
    nn.Linear: lambda w, x, layer: w.emit("Gemm", x, w.tensor(layer.weight), w.tensor(layer.bias), transB=1),
}

OPERATORS = {operator.add: "Add", operator.mul: "Mul"}


@torch.no_grad()
def to_onnx(network: nn.Module, input_shape: tuple[int, int, int, int]) -> onnx.ModelProto:
    """The network, in eval mode, for a batch of exactly that shape (B, C, H, W); ValueError for a layer not known here.

    Takes the layers of ``LAYERS``, ``+``, ``*`` and ``flatten(1)``.
    """
    writer, value = Writer(), {}
    layers = dict(network.named_modules())
    for node in LayerTracer().trace(network).nodes:
        inputs = [value[i] for i in node.args if isinstance(i, fx.Node) and i in value]
        if node.op == "placeholder":
            value[node] = "image"
        elif node.op == "call_module" and type(layers[node.target]) in LAYERS:
            layer = layers[node.target]
            value[node] = LAYERS[type(layer)](writer, inputs[0], layer)
        elif node.target in OPERATORS:
            value[node] = writer.emit(OPERATORS[node.target], *inputs)
        elif node.target == "flatten":
            value[node] = writer.emit("Flatten", inputs[0], axis=1)
        elif node.op == "output":
            output = inputs[0]
        else:
            raise ValueError(f"{node.target!r} has no form in ONNX here; add it to LAYERS in {__file__}")
    output_shape = network(torch.zeros(input_shape)).shape
    graph = helper.make_graph(
        writer.nodes,
        type(network).__name__,
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, input_shape)],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, output_shape)],
        writer.constants,
    )
    operators = [helper.make_opsetid("", 17), helper.make_opsetid(FAKE_QUANTIZE, 1)]
    return helper.make_model(graph, opset_imports=operators, ir_version=8)
