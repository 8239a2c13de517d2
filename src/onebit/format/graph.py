"""The graph of a packed network: nodes, values and tensors, and its validation.

``docs/format.md`` is the specification.  The tables ``OPS`` and ``STEPS`` define the fields of each op and each
epilogue step; :func:`validate` visits the nodes and delegates to the rows.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onebit.format.checks import LARGEST, check_fields, number, one_of, plain, printable_name, text, whole
from onebit.format.errors import FormatError, refusal
from onebit.format.ops import OPS, Op, Use
from onebit.format.steps import STEPS
from onebit.format.tensors import TensorSpec
from onebit.format.values import BITS, FLOAT, FLOATS, HALF, PIXELS, Shape, Value, bounded

__all__ = [
    "BITS",
    "COLORS",
    "FLOAT",
    "FLOATS",
    "HALF",
    "PIXELS",
    "RESIZES",
    "Fit",
    "Graph",
    "InputSpec",
    "Node",
    "Shape",
    "Value",
    "activation_dtype_of",
    "validate",
]


COLORS = ("RGB", "L", "other")
RESIZES = ("crop", "stretch")


@dataclass(frozen=True)
class Fit:
    """How a picture of any size is resized to the size of the input.

    Attributes:
        resize: "crop" scales the largest centered box with the aspect ratio of the input; "stretch" scales the whole
            picture, which changes its aspect ratio.
        crop_pct: for "crop", the fraction of each side of that box that is kept, above 0 and at most 1.  0.875
            corresponds to torchvision's Resize(256) and CenterCrop(224).
    """

    resize: str
    crop_pct: float = 1.0


@dataclass(frozen=True)
class InputSpec:
    """The network's input image: ``x = (pixel/255 - mean)/std`` per channel or, for the type "uint8", the pixels.

    ``fit`` defines how pictures of other sizes are resized; None if the file does not specify it.
    """

    height: int
    width: int
    channels: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    color: str = "RGB"
    name: str = "image"
    type: str = FLOAT
    fit: Fit | None = None


@dataclass(frozen=True)
class Node:
    """One op with its epilogue; fields as in docs/format.md."""

    name: str
    op: str
    inputs: tuple[str, ...]
    attrs: Mapping[str, Any] = field(default_factory=dict)
    tensors: Mapping[str, str] = field(default_factory=dict)
    epilogue: tuple[Mapping[str, Any], ...] = ()
    source: str = ""
    note: str = ""

    def tensor_names(self) -> Iterator[str]:
        """The tensors of the op and of its steps, one entry per use."""
        yield from self.tensors.values()
        for step in self.epilogue:
            yield from (step[role] for role in STEPS[step["step"]].tables if role in step)


@dataclass(frozen=True)
class Graph:
    """A network: the nodes in execution order and the tensors that they reference.

    A graph and its tensors are immutable, so :attr:`values` is computed once.

    Attributes:
        output_is_map: whether a 1x1 output is a map (C, 1, 1), as the model returned it, rather than a vector of C
            features; larger outputs are always maps.
    """

    input: InputSpec
    nodes: tuple[Node, ...]
    output: str
    tensors: Mapping[str, NDArray[Any]]
    classes: tuple[str, ...] | None = None
    provenance: Mapping[str, Any] = field(default_factory=dict)
    output_is_map: bool = False

    @cached_property
    def values(self) -> Mapping[str, Value]:
        """Type and shape of every value by name, computed on first use; FormatError as in :func:`validate`."""
        return _Walk(self).run()

    def use(self, node: Node) -> Use:
        """The arguments of the row of the node's op."""
        tensors = {role: self.tensors[name] for role, name in node.tensors.items()}
        return Use(node.attrs, tensors, tuple(self.values[name].shape for name in node.inputs))


def activation_dtype_of(graph: Graph) -> str:
    """ "float16" if any value is stored as such, else "float32"."""
    return HALF if any(step.get("type") == HALF for node in graph.nodes for step in node.epilogue) else FLOAT


def validate(graph: Graph) -> Mapping[str, Value]:
    """Validate every field, tensor and connection of ``graph``; return the type and shape of every value by name.

    Raises FormatError with the field, the value found and the values allowed.
    """
    return graph.values


class _Walk:
    """Visits the nodes in order; tracks the values written so far and the tensors checked so far."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.values: dict[str, Value] = {}
        self.checked: set[tuple[str, TensorSpec]] = set()

    def run(self) -> dict[str, Value]:
        spec = self.graph.input
        _check_input(spec)
        self.values[spec.name] = Value(spec.type, bounded("input", (spec.height, spec.width, spec.channels)))
        for tensor in self.graph.tensors:
            printable_name("tensors, a name of one", tensor)
        if not self.graph.nodes:
            raise refusal("nodes", [], "at least one node")
        names: set[str] = set()
        for index, node in enumerate(self.graph.nodes):
            printable_name(f"nodes[{index}].name", node.name)
            if node.name in names:
                raise refusal(f"nodes[{index}].name", node.name, "a string, unique among the nodes")
            names.add(node.name)
            try:
                self._check_node(node)
            except FormatError as error:
                raise FormatError(f"nodes[{index}] ({node.name}).{error}") from None
        output = self.graph.output
        if output not in self.values or self.values[output].type != FLOAT:
            raise refusal("output", output, "the name of a float32 value that some node writes")
        one_of(True, False)("output_is_map", self.graph.output_is_map)
        self._check_classes()
        if unused := sorted(set(self.graph.tensors) - {tensor for tensor, _ in self.checked}):
            raise refusal("tensors", unused, "only tensors that a node names")
        plain("provenance", self.graph.provenance)
        return self.values

    def _check_classes(self) -> None:
        classes = self.graph.classes
        if classes is None:
            return
        if not isinstance(classes, list | tuple):
            raise refusal("classes", classes, "a list of strings, or null")
        for index, label in enumerate(classes):
            text(f"classes[{index}]", label)
        features = math.prod(self.values[self.graph.output].shape)
        if len(classes) != features and (len(classes), features) != (2, 1):
            allowed = "2, negative and positive, or 1" if features == 1 else f"{features}, one per output feature"
            raise refusal("classes", f"{len(classes)} labels", allowed)

    def _check_node(self, node: Node) -> None:
        op = OPS.get(node.op) if isinstance(node.op, str) else None
        if op is None:
            raise refusal("op", node.op, ", ".join(OPS))
        if not isinstance(node.inputs, list | tuple) or not 1 <= len(node.inputs) <= op.most_inputs:
            names = "one value name" if op.most_inputs == 1 else f"1 to {op.most_inputs} value names"
            raise refusal("inputs", node.inputs, f"a list of {names}")
        taken = [self._wire(f"inputs[{i}]", name, op.takes) for i, name in enumerate(node.inputs)]
        check_fields("attrs", node.attrs, op.attrs, op.optional)
        text("source", node.source)
        text("note", node.note)
        use = Use(node.attrs, self._tensors(node, op), tuple(value.shape for value in taken))
        for role, spec in op.tensors(use).items():
            self._check_tensor(f"tensors.{role}", node.tensors[role], spec)
        self._check_epilogue(node, op, Value(op.gives, bounded("result", op.shape(use))))

    def _wire(self, field: str, wire: object, wanted: str) -> Value:
        value = self.values.get(wire) if isinstance(wire, str) else None
        if value is None:
            last = [*islice(reversed(self.values), 9)][::-1]
            before = ", ".join(last if len(last) < 9 else ["...", *last])
            raise refusal(field, wire, f"a value written before: {before}")
        allowed = FLOATS if wanted == FLOAT else (wanted,)
        if value.type not in allowed:
            raise refusal(field, f"{wire} of type {value.type}", f"a value of type {' or '.join(allowed)}")
        return value

    def _tensors(self, node: Node, op: Op) -> dict[str, NDArray[Any]]:
        """The tensors of the op by role, each of which must be in the file."""
        named = node.tensors
        form = next((roles for roles in op.roles if isinstance(named, Mapping) and roles & set(named)), op.roles[0])
        check_fields("tensors", named, dict.fromkeys(sorted(form), self._check_name))
        return {role: self.graph.tensors[name] for role, name in named.items()}

    def _check_name(self, field: str, tensor: object) -> None:
        if not isinstance(tensor, str) or tensor not in self.graph.tensors:
            raise refusal(field, tensor, "the name of a tensor in the file")

    def _check_tensor(self, field: str, tensor: str, spec: TensorSpec) -> None:
        if (tensor, spec) not in self.checked:  # many nodes may share a tensor
            spec.check(field, tensor, self.graph.tensors[tensor])
            self.checked.add((tensor, spec))

    def _check_epilogue(self, node: Node, op: Op, result: Value) -> None:
        if not isinstance(node.epilogue, list | tuple):
            raise refusal("epilogue", node.epilogue, "a list of steps")
        written = 0
        for index, step in enumerate(node.epilogue):
            here = f"epilogue[{index}]"
            kind = step.get("step") if isinstance(step, Mapping) else None
            row = STEPS.get(kind) if isinstance(kind, str) else None
            if row is None:
                raise refusal(f"{here}.step", kind, ", ".join(STEPS))
            if row.exact and not op.exact:
                behind = " or ".join(sorted(other for other, row in OPS.items() if row.exact))
                raise refusal(f"{here}.step", kind, f"{kind!r} only after {behind}")
            if result.type == BITS and not row.bits:
                behind = " or ".join(repr(other) for other, row in STEPS.items() if row.bits)
                raise refusal(f"{here}.step", kind, f"{behind} behind {node.op}")
            if (row.exact or result.type == BITS) and len(node.epilogue) != 1:
                raise refusal("epilogue", f"{len(node.epilogue)} steps", f"{kind!r} alone")
            written += self._check_step(here, step, result, op.positions(node.attrs))
        if not written:
            raise refusal("epilogue", "no step that writes", "at least one store, binarize or threshold")

    def _check_step(self, here: str, step: Mapping[str, Any], result: Value, positions: int) -> bool:
        """Whether the step, if nothing is wrong with it, writes a value."""
        row = STEPS[step["step"]]
        names = dict.fromkeys(row.tensors, self._check_name)
        wires = {"input": printable_name} if row.reads else {}
        wires |= {"output": printable_name} if row.writes else {}
        optional = {**row.options, **dict.fromkeys(row.optional_tensors, self._check_name)}
        check_fields(here, step, {"step": text, **row.settings, **names, **wires}, optional)
        row.check(here, step)
        for role, spec in row.tables.items():
            if role in step:
                self._check_tensor(f"{here}.{role}", step[role], spec(result.shape[2], positions))
        if row.reads:
            value = self._wire(f"{here}.input", step["input"], FLOAT)
            if value.shape != result.shape:
                raise refusal(f"{here}.input", list(value.shape), f"a value of shape {list(result.shape)}")
        if row.writes is None:
            return False
        if "type" in step and result.type == BITS:
            raise refusal(f"{here}.type", step["type"], "no type where bits are stored")
        output = step["output"]
        if output in self.values:
            raise refusal(f"{here}.output", output, "a string, unique among the values")
        written = BITS if BITS in (result.type, row.writes) else step.get("type", row.writes)
        self.values[output] = Value(written, result.shape)
        return True


def _check_input(spec: InputSpec) -> None:
    printable_name("input.name", spec.name)
    for side in ("height", "width", "channels"):
        whole(1)(f"input.{side}", getattr(spec, side))
    one_of(*COLORS)("input.color", spec.color)
    one_of(FLOAT, PIXELS)("input.type", spec.type)
    for table in ("mean", "std"):
        numbers = getattr(spec, table)
        if not isinstance(numbers, list | tuple) or len(numbers) != spec.channels:
            raise refusal(f"input.{table}", numbers, f"{spec.channels} numbers, one per channel")
        for entry in numbers:
            number(f"input.{table}", entry)
    for mean, std in zip(spec.mean, spec.std, strict=True):
        if not std > 0 or max(abs(0 - mean), abs(1 - mean)) > std * LARGEST or not np.float32(std) > 0:
            raise refusal("input.std", std, "numbers above 0, by which (pixel/255 - mean)/std stays a finite float32")
    if spec.fit is not None:
        one_of(*RESIZES)("input.fit.resize", spec.fit.resize)
        number("input.fit.crop_pct", share := spec.fit.crop_pct)
        if not 0 < share <= 1 or (share != 1 and spec.fit.resize != "crop"):
            raise refusal("input.fit.crop_pct", share, "a number above 0 up to 1, and 1 where nothing is cropped")
