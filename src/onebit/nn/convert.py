"""``binarize_``: turn the layers of any torch model into binary ones by rule, and say what was done."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import fx, nn

from onebit.nn.layers import BinaryConv2d, BinaryLinear
from onebit.nn.names import match_names
from onebit.nn.schemes import Scheme, as_scheme
from onebit.nn.trace import LayerTracer, source_module
from onebit.text import text_table

_RELU_CALLS = (torch.relu, torch.nn.functional.relu, "relu", "relu_")


@dataclass(frozen=True)
class Conversion:
    """What became of one layer: its name, its class before, whether it is binary now, and why (not)."""

    name: str
    layer: str
    binary: bool
    reason: str


@dataclass(frozen=True)
class BinarizeReport:
    """One row per convolution and linear layer, and warnings about what surrounds them; prints as a table."""

    rows: tuple[Conversion, ...]
    warnings: tuple[str, ...] = ()

    @property
    def binary(self) -> tuple[str, ...]:
        """Names of the layers that are binary now."""
        return tuple(row.name for row in self.rows if row.binary)

    def __str__(self) -> str:
        rows = [(row.name, row.layer, "binary" if row.binary else "real", row.reason) for row in self.rows]
        lines = [text_table(rows), f"{len(self.binary)} of {len(self.rows)} layers are binary"]
        return "\n".join(lines + [f"warning: {text}" for text in self.warnings])


def binarize_(model: nn.Module, scheme: str | Scheme, keep_real: Sequence[str] | None = None) -> BinarizeReport:
    """Replace convolutions and linear layers of ``model`` by binary ones, in place, weights kept.

    Args:
        model: any torch module.
        scheme: a name in ``SCHEMES`` or a :class:`Scheme`.
        keep_real: names of layers that stay real, or patterns as in :func:`onebit.nn.names.match_names`.  None stands
            for the field's rule: the first convolution and the last linear layer, in the order of registration.

    Returns:
        A report that names every convolution and linear layer, what it is now and why.

    Raises:
        ValueError: unknown scheme, a float scheme, ``keep_real`` that matches no layer, nothing to replace.
        TypeError: ``keep_real`` is one text instead of a list of them.
    """
    scheme = as_scheme(scheme)
    if scheme.is_float:
        raise ValueError("scheme 'float' binarizes nothing; choose another")
    layers = {
        name: m for name, m in model.named_modules(remove_duplicate=False) if isinstance(m, nn.Conv2d | nn.Linear)
    }
    if not layers:
        raise ValueError("the model has no Conv2d and no Linear layer, so there is nothing to binarize")
    if "" in layers:
        raise ValueError("the model is itself one layer; put it into a module, e.g. nn.Sequential, to replace it there")
    if keep_real is None:
        kept = _by_rule(layers)
    else:
        matched = match_names(keep_real, layers, "keep_real")
        kept = {name: f"kept real by {pattern!r}" for name, pattern in matched.items()}
    rows = []
    made: dict[int, nn.Module] = {}  # a layer that is used under two names stays one layer
    for name, layer in layers.items():
        reason = kept.get(name) or _obstacle(layer)
        if not reason:
            made[id(layer)] = made.get(id(layer)) or _binary(layer, scheme)
            parent, _, child = name.rpartition(".")
            setattr(model.get_submodule(parent), child, made[id(layer)])
        rows.append(Conversion(name, type(layer).__name__, not reason or _is_binary(layer), reason or "by rule"))
    return BinarizeReport(tuple(rows), _relu_warnings(model, scheme))


def _by_rule(layers: dict[str, nn.Conv2d | nn.Linear]) -> dict[str, str]:
    convolutions = [name for name, m in layers.items() if isinstance(m, nn.Conv2d)]
    linears = [name for name, m in layers.items() if isinstance(m, nn.Linear)]
    return dict.fromkeys(convolutions[:1], "first convolution") | dict.fromkeys(linears[-1:], "last linear layer")


def _is_binary(layer: nn.Module) -> bool:
    return (
        isinstance(layer, BinaryConv2d | BinaryLinear)
        and layer.weight_binarizer is not None
        and layer.input_binarizer is not None
    )


def _obstacle(layer: nn.Module) -> str:
    """Why ``layer`` cannot become binary, or nothing."""
    if isinstance(layer, BinaryConv2d | BinaryLinear):
        return "has its own binarizers already"
    if type(layer) not in (nn.Conv2d, nn.Linear):
        return f"{type(layer).__name__} is a class of its own with a forward that a binary layer would drop"
    if isinstance(layer, nn.Conv2d) and layer.padding_mode != "zeros":
        return f"padding_mode {layer.padding_mode!r}; only 'zeros' has a binary form"
    return ""


def _binary(layer: nn.Conv2d | nn.Linear, scheme: Scheme) -> nn.Module:
    """A binary layer with the same shape and weights; learned scales start from these weights."""
    bias = layer.bias is not None
    if isinstance(layer, nn.Conv2d):
        new: nn.Module = scheme.conv2d(
            layer.in_channels,
            layer.out_channels,
            layer.kernel_size,  # type: ignore[arg-type]
            layer.stride,  # type: ignore[arg-type]
            layer.padding,  # type: ignore[arg-type]
            layer.dilation,  # type: ignore[arg-type]
            layer.groups,
            bias,
        )
    else:
        new = scheme.linear(layer.in_features, layer.out_features, bias)
    new = new.to(layer.weight.device, layer.weight.dtype).train(layer.training)
    with torch.no_grad():
        new.weight.copy_(layer.weight)  # type: ignore[operator]
        if layer.bias is not None:
            new.bias.copy_(layer.bias)  # type: ignore[operator]
        if new.weight_binarizer is not None:
            new.weight_binarizer.restart(new.weight)  # type: ignore[operator, union-attr]
    return new


def _relu_warnings(model: nn.Module, scheme: Scheme) -> tuple[str, ...]:
    """Binary layers that would see only +1: sign(relu(x)) is +1 everywhere."""
    if scheme.inputs != "sign":
        return ()
    try:
        graph = LayerTracer().trace(model)
    except Exception:  # a model that fx cannot trace gets no warnings; packing says why it cannot be traced
        return ()
    modules = dict(model.named_modules())
    found = []
    for node in graph.nodes:
        if isinstance(source_module(node, modules), BinaryConv2d | BinaryLinear):
            relu = _relu_before(node.args[0], modules)
            if relu:
                found.append(
                    f"{node.target} binarizes the output of {relu}, a ReLU: its sign is +1 everywhere; "
                    "remove the ReLU, use PReLU, or choose a scheme with {0, 1} inputs"
                )
    return tuple(found)


def _relu_before(node: fx.Node, modules: dict[str, nn.Module]) -> str:
    """Name of the ReLU whose output reaches ``node`` without a change of sign on the way, or nothing."""
    while True:
        layer = source_module(node, modules)
        if isinstance(layer, nn.ReLU | nn.ReLU6) or node.target in _RELU_CALLS:
            return str(node.target if layer is not None else node.name)
        if not isinstance(layer, nn.MaxPool2d | nn.AvgPool2d | nn.Dropout | nn.Identity | nn.Flatten):
            return ""
        node = node.args[0]  # type: ignore[assignment]
