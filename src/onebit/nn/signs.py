"""Possible signs of the values in a network: the output of a ReLU is never negative, whatever the weights are.

A value is described by the set of its possible signs, a subset of -1, 0 and +1.  Layers and functions outside the table
may return any.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from itertools import product
from typing import Any

from torch import fx, nn

Signs = frozenset[int]
ANY: Signs = frozenset({-1, 0, 1})
NEVER_NEGATIVE: Signs = frozenset({0, 1})
POSITIVE: Signs = frozenset({1})

IN_WORDS = {
    POSITIVE: "always positive",
    NEVER_NEGATIVE: "never negative",
    frozenset({0}): "always 0",
    frozenset({-1, 0}): "never positive",
    frozenset({-1}): "always negative",
}


def possible_signs(graph: fx.Graph, modules: Mapping[str, nn.Module]) -> dict[fx.Node, Signs]:
    """The possible signs of each value of ``graph``, if the image holds pixels, which are never negative.

    Args:
        modules: the modules by their names in the graph.
    """
    found: dict[fx.Node, Signs] = {}
    for node in graph.nodes:
        if node.op == "placeholder":
            found[node] = NEVER_NEGATIVE if not found else ANY
            continue
        rule = _RULES.get(kind_of(node, modules))
        operands = [_signs(entry, found) for entry in _operands(node)]
        found[node] = ANY if rule is None or not operands else rule(operands, _settings(node, modules))
    return found


def source_of(node: fx.Node, modules: Mapping[str, nn.Module]) -> fx.Node:
    """The node that ``node`` passes on, at most pooled, rearranged or scaled by positive numbers."""
    while _RULES.get(kind_of(node, modules)) is _keep and isinstance(node.args[0], fx.Node):
        node = node.args[0]
    return node


def kind_of(node: fx.Node, modules: Mapping[str, nn.Module]) -> str:
    """One name for all forms of a layer or function: "maxpool" for MaxPool2d, ``F.max_pool2d`` and similar."""
    if node.op == "call_module":
        name = type(modules[str(node.target)]).__name__
    elif node.op in ("call_function", "call_method"):
        name = getattr(node.target, "__name__", str(node.target))
    else:
        return node.op
    return re.sub(r"[123]d$", "", name.lower().replace("_", ""))


def _operands(node: fx.Node) -> list[Any]:
    """The operands of the node: its first argument, or all entries of a list, and a second one for arithmetic."""
    first = node.args[0] if node.args else next(iter(node.kwargs.values()), None)
    if isinstance(first, list | tuple):
        return list(first)
    second = [*node.args[1:2], *(node.kwargs[key] for key in ("other",) if key in node.kwargs)]
    return [first, *second]


def _signs(entry: Any, found: Mapping[fx.Node, Signs]) -> Signs:
    if isinstance(entry, int | float):
        return frozenset({(entry > 0) - (entry < 0)})
    return found.get(entry, ANY) if isinstance(entry, fx.Node) else ANY


def _settings(node: fx.Node, modules: Mapping[str, nn.Module]) -> dict[str, Any]:
    """Lower and upper bound of a clamp, the exponent of a power; None if unknown."""
    layer = modules.get(str(node.target)) if node.op == "call_module" else None
    named = {
        "low": getattr(layer, "min_val", node.kwargs.get("min", node.kwargs.get("min_val"))),
        "high": getattr(layer, "max_val", node.kwargs.get("max", node.kwargs.get("max_val"))),
    }
    places: dict[str, Any] = dict(zip(("low", "high"), node.args[1:3], strict=False))
    return {**named, **places, "exponent": node.args[1] if len(node.args) > 1 else node.kwargs.get("exponent")}


Rule = Callable[[list[Signs], dict[str, Any]], Signs]


def _keep(operands: list[Signs], settings: dict[str, Any]) -> Signs:
    return operands[0]


def _always(signs: Signs) -> Rule:
    return lambda operands, settings: signs


def _each(change: Callable[[int], int]) -> Rule:
    return lambda operands, settings: frozenset(map(change, operands[0]))


def _union(operands: list[Signs], settings: dict[str, Any]) -> Signs:
    return frozenset().union(*operands)


def _sum(operands: list[Signs], settings: dict[str, Any]) -> Signs:
    pairs = product(*operands)
    return frozenset().union(*(ANY if {*pair} >= {-1, 1} else {max(pair, key=abs)} for pair in pairs))


def _product(operands: list[Signs], settings: dict[str, Any]) -> Signs:
    return frozenset(a * b for a, b in product(*operands[:2])) if len(operands) > 1 else ANY


def _difference(operands: list[Signs], settings: dict[str, Any]) -> Signs:
    return _sum([operands[0], frozenset(-sign for sign in operands[1])], settings) if len(operands) > 1 else ANY


def _clamp(operands: list[Signs], settings: dict[str, Any]) -> Signs:
    low, high = (end if isinstance(end, int | float) else None for end in (settings["low"], settings["high"]))
    signs = operands[0]
    if low is not None and low >= 0:
        signs = frozenset(max(sign, 1 if low > 0 else 0) for sign in signs)
    if high is not None and high <= 0:
        signs = frozenset(min(sign, -1 if high < 0 else 0) for sign in signs)
    return signs


def _power(operands: list[Signs], settings: dict[str, Any]) -> Signs:
    even = isinstance(settings["exponent"], int) and settings["exponent"] % 2 == 0
    return frozenset(map(abs, operands[0])) if even else operands[0]


_KEPT = (
    "maxpool avgpool adaptiveavgpool adaptivemaxpool lppool dropout alphadropout featuredropout identity flatten view "
    "reshape permute transpose contiguous clone detach to float half double squeeze unsqueeze getitem expand repeat "
    "upsample interpolate pixelshuffle pixelunshuffle channelshuffle mean sum amax leakyrelu tanh softsign sqrt"
)
_RULES: dict[str, Rule] = {
    **dict.fromkeys(_KEPT.split(), _keep),
    **dict.fromkeys(("relu", "relu6", "threshold"), _each(lambda sign: max(sign, 0))),
    **dict.fromkeys(("abs", "square", "norm"), _each(abs)),
    **dict.fromkeys(("sigmoid", "softmax", "softplus", "exp"), _always(POSITIVE)),
    **dict.fromkeys(("logsoftmax", "logsigmoid"), _always(frozenset({-1, 0}))),
    "hardsigmoid": _always(NEVER_NEGATIVE),
    "pow": _power,
    "neg": _each(lambda sign: -sign),
    **dict.fromkeys(("hardtanh", "clamp", "clip"), _clamp),
    **dict.fromkeys(("cat", "concat", "concatenate", "stack"), _union),
    **dict.fromkeys(("add", "iadd"), _sum),
    **dict.fromkeys(("sub", "isub"), _difference),
    **dict.fromkeys(("mul", "imul", "div", "truediv"), _product),
}
