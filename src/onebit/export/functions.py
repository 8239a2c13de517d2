"""Capture of functions and methods of tensors: additions, concatenations, functional forms of layers."""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import fx, nn

from onebit.export.draft import PackError
from onebit.export.layers import (
    Handler,
    adaptive_pool,
    avg_pool,
    channel_shuffle,
    flatten,
    global_pool,
    hardtanh,
    leaky_relu,
    max_pool,
    nothing,
    relu,
)

if TYPE_CHECKING:
    from onebit.export.capture import Capture


def _mean(self: Capture, name: str, node: fx.Node, layer: Any) -> None:
    dims = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim")
    axes: list[Any] = list(dims) if isinstance(dims, list | tuple) else [dims]
    if len(self.shape(node.args[0])) != 4 or sorted(d % 4 for d in axes if isinstance(d, int)) != [2, 3]:
        raise PackError(f"{name}: a mean over {dims} has no packed form; only over (2, 3), height and width")
    global_pool(self, name, node, "mean")


def _add(self: Capture, name: str, node: fx.Node, layer: Any) -> None:
    left, right = node.args[:2]
    if node.kwargs.get("alpha", 1) != 1:
        raise PackError(f"{name}: an addition with alpha={node.kwargs['alpha']} has no packed form; scale with a norm")
    if not all(isinstance(x, fx.Node) and x in self.value for x in (left, right)):
        raise PackError(f"{name}: an addition of something that is no feature map has no packed form")
    if self.shape(left) != self.shape(right):
        raise PackError(f"{name}: an addition of {self.shape(left)} and {self.shape(right)}; shapes must be equal")
    self.emit(node, name, "elementwise", "add", [{"step": "add", "input": self.value[right]}])  # type: ignore[index]


def _concat(self: Capture, name: str, node: fx.Node, layer: Any) -> None:
    parts = node.args[0] if node.args else node.kwargs.get("tensors")
    dim = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim", node.kwargs.get("axis", 0))
    if not isinstance(parts, list | tuple) or not all(isinstance(x, fx.Node) and x in self.value for x in parts):
        raise PackError(f"{name}: a concatenation of something that is no feature map has no packed form")
    if not isinstance(dim, int) or dim % len(self.shape(node)) != 1:
        raise PackError(f"{name}: a concatenation along dim={dim} has no packed form; only along the channels, dim=1")
    self.emit(node, name, "concat", "concat", [], inputs=[self.value[x] for x in parts])


def _pad(self: Capture, name: str, node: fx.Node, layer: Any) -> None:
    amounts = list(node.args[1])  # type: ignore[arg-type]
    mode, value = node.kwargs.get("mode", "constant"), node.kwargs.get("value") or 0
    if len(amounts) != 6 or any(amounts[:4]) or min(amounts) < 0 or mode != "constant" or value != 0:
        raise PackError(
            f"{name}: padding by {amounts} has no packed form; only zero channels: (0, 0, 0, 0, before, after)"
        )
    attrs = {"before": int(amounts[4]), "after": int(amounts[5])}
    self.emit(node, name, "pad_channels", "pad_channels", [], attrs=attrs)


def _dropout(self: Capture, name: str, node: fx.Node, layer: Any) -> None:
    if (len(node.args) > 2 and node.args[2]) or node.kwargs.get("training", len(node.args) <= 2):
        raise PackError(f"{name}: F.dropout drops in eval mode too; pass training=self.training, or use nn.Dropout")
    nothing(self, name, node, layer)


def _as_module(kind: type[nn.Module], handler: Handler) -> Handler:
    """Handler of a functional form: its arguments behind the tensor are those of the layer."""

    def handle(self: Capture, name: str, node: fx.Node, layer: Any) -> None:
        settings = {key: value for key, value in node.kwargs.items() if key not in ("input", "return_indices")}
        handler(self, name, node, kind(*node.args[1:], **settings))

    return handle


_relu = _as_module(nn.ReLU, relu)

FUNCTIONS: dict[Any, Handler] = {
    operator.add: _add,
    operator.iadd: _add,
    torch.add: _add,
    "add": _add,
    "add_": _add,
    torch.cat: _concat,
    torch.concat: _concat,
    torch.concatenate: _concat,
    torch.relu: _relu,
    F.relu: _relu,
    "relu": _relu,
    "relu_": _relu,
    F.relu6: _as_module(nn.ReLU6, hardtanh),
    torch.flatten: flatten,
    "flatten": flatten,
    "view": flatten,
    "reshape": flatten,
    torch.reshape: flatten,
    "contiguous": nothing,
    F.dropout: _dropout,
    F.max_pool2d: _as_module(nn.MaxPool2d, max_pool),
    F.avg_pool2d: _as_module(nn.AvgPool2d, avg_pool),
    F.leaky_relu: _as_module(nn.LeakyReLU, leaky_relu),
    F.hardtanh: _as_module(nn.Hardtanh, hardtanh),
    F.channel_shuffle: _as_module(nn.ChannelShuffle, channel_shuffle),
    F.adaptive_avg_pool2d: adaptive_pool,
    torch.mean: _mean,
    "mean": _mean,
    F.pad: _pad,
}
