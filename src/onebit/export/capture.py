"""From a torch model to a draft: trace with torch.fx, then walk the graph and hand each layer to its handler.

Nothing is optimized here: every layer becomes its own node, every norm and activation an elementwise node; the passes
of ``fuse.py`` do the rest.  The handlers are in ``layers.py`` (modules) and ``functions.py``.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import fx, nn
from torch.fx.passes.shape_prop import ShapeProp

from onebit.export.checks import check_forward, in_place
from onebit.export.convolutions import threshold_of
from onebit.export.draft import Draft, DraftNode, PackError, Step
from onebit.export.functions import FUNCTIONS
from onebit.export.layers import MODULES
from onebit.nn.layers import BinaryConv2d, BinaryLinear
from onebit.nn.trace import LayerTracer


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
    return Capture(traced).run()


class Capture:
    """Walks the fx graph and collects nodes; ``self.value`` maps fx nodes to the names of draft values."""

    def __init__(self, traced: fx.GraphModule) -> None:
        self.modules = dict(traced.named_modules())
        self.graph = traced.graph
        self.nodes: list[DraftNode] = []
        self.value: dict[fx.Node, str] = {}
        self.names: set[str] = set()
        self.bits: dict[tuple[str, str, bytes], str] = {}  # (float value, rule, thresholds) -> value of its bits
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
                check_forward(name, layer, kind)
        elif node.op in ("call_function", "call_method"):
            layer, handler = None, FUNCTIONS.get(node.target)
            name, what = node.name, getattr(node.target, "__name__", str(node.target))
        else:
            raise PackError(f"{node.name}: the model uses the tensor {node.target!r} directly; make it part of a layer")
        if handler is None:
            supported = ", ".join(sorted({kind.__name__ for kind in MODULES}))
            raise PackError(f"{name}: {what} has no packed form; replace it by one of {supported}")
        if not node.args and "tensors" not in node.kwargs:
            raise PackError(f"{name}: {what} is called with keywords alone; pass the tensors by position")
        source = node.args[0] if node.args else None
        before = self.value.get(source) if isinstance(source, fx.Node) else None
        handler(self, name, node, layer)
        if in_place(node, layer):  # whoever else holds the tensor sees the new values from now on
            for other, value in self.value.items():
                if value == before:
                    self.value[other] = self.value[node]

    # What the handlers use ------------------------------------------------------------------------------------

    def taken(self, node: fx.Node) -> str:
        """The value that ``node`` works on."""
        return self.value[node.args[0]]  # type: ignore[index]

    def shape(self, node: Any) -> tuple[int, ...]:
        return tuple(node.meta["tensor_meta"].shape)

    def append(self, name: str, op: str, inputs: list[str], source: str, steps: list[Step], **fields: Any) -> str:
        """Append a node; returns the name of the value that its result is after ``steps``."""
        unique = self._unique(name)
        steps = [*steps, {"step": "store", "output": f"{unique}:out"}]
        self.nodes.append(DraftNode(unique, op, inputs, epilogue=steps, source=source, **fields))
        return f"{unique}:out"

    def emit(
        self,
        fx_node: fx.Node,
        name: str,
        op: str,
        source: str,
        steps: list[Step],
        inputs: list[str] | None = None,
        **fields: Any,
    ) -> None:
        """Append a node whose result, after ``steps``, is the value of ``fx_node``."""
        self.value[fx_node] = self.append(name, op, inputs or [self.taken(fx_node)], source, steps, **fields)

    def binarized(self, fx_node: fx.Node, name: str, inputs: Any) -> str:
        """The bits that the binarizer ``inputs`` makes of the value that ``fx_node`` works on, made once for all layers
        that share them.
        """
        taken, threshold = self.taken(fx_node), threshold_of(inputs)
        key = (taken, inputs.rule, b"" if threshold is None else threshold.tobytes())
        if key not in self.bits:
            unique = self._unique(f"{name}.input")
            step = {"step": "binarize", "rule": inputs.rule, "output": f"{unique}:bits"}
            if threshold is not None:
                step["threshold"] = threshold
            self.nodes.append(DraftNode(unique, "elementwise", [taken], epilogue=[step], source="binarizer"))
            self.bits[key] = f"{unique}:bits"
        return self.bits[key]

    def _unique(self, name: str) -> str:
        candidate, count = name, 1
        while candidate in self.names:
            count += 1
            candidate = f"{name}#{count}"
        self.names.add(candidate)
        return candidate

    def why_real(self, name: str, layer: nn.Module) -> str:
        """Why a convolution or linear layer runs in float."""
        binary = isinstance(layer, BinaryConv2d | BinaryLinear)
        if binary and layer.input_binarizer is not None:
            return "its weights are real"
        if binary and layer.weight_binarizer is not None and not layer.real_weights:
            return "its inputs are real"
        if self.weighted[0] == name:
            return "first layer"
        if self.weighted[-1] == name:
            return "last layer"
        if binary:
            return "its weights and inputs are real"
        return f"is a torch.nn.{type(layer).__name__}: make it binary with onebit.binarize_"
