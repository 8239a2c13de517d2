"""The reference interpreter: slow and plain, and the definition of what every kernel of the C++ core must compute.

It executes the nodes on whole batches.  What an op or a step computes is defined in its row.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from onebit.format.bits import pack_bits, unpack_bits, unpack_signs
from onebit.format.graph import BITS, HALF, Graph, Node, Value, validate
from onebit.format.ops import OPS
from onebit.format.steps import STEPS
from onebit.runtime.images import as_input


def run_node(
    graph: Graph, node: Node, values: dict[str, NDArray[Any]], margins: dict[str, NDArray[Any]] | None = None
) -> None:
    """Execute ``node`` on the values (batches) that it reads, and write its outputs into ``values``.

    ``margins``, if given, receives the distance of every float from its threshold, for each value of bits computed from
    floats.
    """
    op, use = OPS[node.op], graph.use(node)
    maps = (_opened(values[name], graph.values[name]) for name in node.inputs)
    specs = op.tensors(use)
    y = op.reference(*maps, **node.attrs, **{role: specs[role].unpacked(t) for role, t in use.tensors.items()})
    if op.exact and not STEPS[node.epilogue[0]["step"]].exact:
        y = y.astype(np.float32)
    channels, positions = y.shape[3], op.positions(node.attrs)

    def argument(name: str, entry: Any) -> Any:
        """A field of a step in the form that the ``reference`` of its row expects."""
        tables = STEPS[step["step"]].tables
        if name in tables:
            table = tables[name](channels, positions).unpacked(graph.tensors[entry])
            return op.spread(table.reshape(positions, channels), y.shape[1:3], node.attrs)
        return _opened(values[entry], graph.values[entry]) if name == "input" else entry

    for step in node.epilogue:
        row = STEPS[step["step"]]
        arguments = {name: argument(name, entry) for name, entry in step.items() if name not in ("step", "output")}
        result = row.reference(y, **arguments)
        if row.writes is None:
            y = result
            continue
        values[step["output"]] = pack_bits(result) if result.dtype == bool else result
        if margins is not None and row.margin is not None:
            margins[step["output"]] = row.margin(y, **arguments)


def _opened(value: NDArray[Any], form: Value) -> NDArray[Any]:
    """A value in the form that rows expect: bits as booleans, float16 as float32."""
    if form.type == BITS:
        return unpack_bits(value, form.shape[2])
    return value.astype(np.float32) if form.type == HALF else value


class ReferenceEngine:
    """Interpreter with the interface of the C++ engine; for tests and ``onebit verify``."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.shapes = validate(graph)
        self.output_shape = self.shapes[graph.output].shape
        self._values: dict[str, NDArray[Any]] = {}

    def run(self, images_NHWC: NDArray[Any]) -> NDArray[np.float32]:
        """Run normalized float32 images or raw uint8 pixels.  Shape: (N, H, W, C) -> (N, H', W', C')."""
        spec = self.graph.input
        values = {spec.name: as_input(images_NHWC, spec)}
        for node in self.graph.nodes:
            run_node(self.graph, node, values)
        self._values = values
        return values[self.graph.output]

    def values(self) -> dict[str, NDArray[Any]]:
        """All values of the last run except the input, by name: float32 or float16 (N, H, W, C), or uint32 words for
        bits.
        """
        return {name: value for name, value in self._values.items() if name != self.graph.input.name}

    def signs(self, name: str) -> NDArray[np.float32]:
        """A value of bits as -1/+1 floats (N, H, W, C)."""
        value = self.shapes[name]
        if value.type != BITS:
            raise ValueError(f"value {name!r} holds {value.type}, not bits")
        return unpack_signs(self._values[name], value.shape[2])
