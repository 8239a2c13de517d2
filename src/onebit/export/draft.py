"""The intermediate representation between capture and file: mutable nodes that hold their tensors."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onebit.format.graph import Graph, InputSpec, Node
from onebit.format.ops import OPS
from onebit.format.steps import STEPS

Step = dict[str, Any]  # a step of docs/format.md whose tensors are arrays instead of names


class PackError(ValueError):
    """A model that has no packed form; the message names the layer, why, and what to do."""


@dataclass
class DraftNode:
    """A node of a draft."""

    name: str
    op: str
    inputs: list[str]
    attrs: dict[str, Any] = field(default_factory=dict)
    tensors: dict[str, NDArray[Any]] = field(default_factory=dict)
    epilogue: list[Step] = field(default_factory=list)
    source: str = ""
    note: str = ""
    depth: int = 0  # of a convolution: input channels per group

    @property
    def input(self) -> str:
        """The first input value; most ops have only one."""
        return self.inputs[0]

    @property
    def positions(self) -> int:
        """Entries of the node's tables per channel."""
        return OPS[self.op].positions(self.attrs)

    def reads(self) -> Iterator[str]:
        """Names of all input values, including those of the epilogue."""
        yield from self.inputs
        for step in self.epilogue:
            if STEPS[step["step"]].reads:
                yield step["input"]

    def writes(self) -> Iterator[str]:
        """Names of the values that the node writes."""
        for step in self.epilogue:
            if STEPS[step["step"]].writes is not None:
                yield step["output"]


@dataclass
class Draft:
    """A mutable network; ``finish`` returns the graph that is written to a file."""

    nodes: list[DraftNode]
    output: str
    input_name: str = "image"
    output_is_map: bool = False

    def readers(self, value: str) -> list[DraftNode]:
        """The nodes that read ``value``, one entry per use."""
        return [node for node in self.nodes for name in node.reads() if name == value]

    def writer(self, value: str) -> DraftNode | None:
        """The node that writes ``value``; None for the input."""
        return next((node for node in self.nodes if value in node.writes()), None)

    def sort(self) -> None:
        """Sort the nodes topologically, with as few changes of order as possible."""
        done, ordered, waiting = {self.input_name}, [], list(self.nodes)
        while waiting:
            node = next(n for n in waiting if all(value in done for value in n.reads()))
            waiting.remove(node)
            ordered.append(node)
            done.update(node.writes())
        self.nodes = ordered

    def depends(self, value: str, on: DraftNode) -> bool:
        """Whether computing ``value`` requires ``on`` to have run."""
        pending, seen = [value], set()
        while pending:
            writer = self.writer(pending.pop())
            if writer is on:
                return True
            if writer is not None and writer.name not in seen:
                seen.add(writer.name)
                pending.extend(writer.reads())
        return False

    def finish(self, spec: InputSpec, classes: tuple[str, ...] | None, provenance: dict[str, Any]) -> Graph:
        """The graph of this draft: values are numbered, tensors are named by the position of their node, equal tensors
        are stored once.
        """
        pool = _TensorPool()
        values = {self.input_name: spec.name}
        nodes = []
        for place, node in enumerate(self.nodes):
            for name in node.writes():
                values[name] = f"v{len(values)}"
            named = {role: pool.add(f"{place}.{role}", array) for role, array in node.tensors.items()}
            steps = []
            for index, step in enumerate(node.epilogue):
                plain = {}
                for key, entry in step.items():
                    if key == "fused":  # how PyTorch rounds this step: only the passes use it
                        continue
                    if key in ("input", "output"):
                        plain[key] = values[entry]
                    else:
                        plain[key] = pool.add(f"{place}.{index}.{key}", entry) if hasattr(entry, "dtype") else entry
                steps.append(plain)
            inputs = tuple(values[name] for name in node.inputs)
            nodes.append(Node(node.name, node.op, inputs, node.attrs, named, tuple(steps), node.source, node.note))
        return Graph(spec, tuple(nodes), values[self.output], pool.tensors, classes, provenance, self.output_is_map)


class _TensorPool:
    """Tensors by name; a tensor with the content of an earlier one gets its name."""

    def __init__(self) -> None:
        self.tensors: dict[str, NDArray[Any]] = {}
        self._names: dict[tuple[str, tuple[int, ...], bytes], str] = {}

    def add(self, name: str, array: NDArray[Any]) -> str:
        kept = self._names.setdefault((array.dtype.str, array.shape, array.tobytes()), name)
        if kept == name:
            self.tensors[name] = np.ascontiguousarray(array)
        return kept
