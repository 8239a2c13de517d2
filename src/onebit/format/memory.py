"""Memory of a loaded network, computed from its graph."""

from __future__ import annotations

import json
from collections.abc import Mapping

from onebit.format.bits import words_for
from onebit.format.graph import BITS, HALF, PIXELS, Graph, Value
from onebit.format.ops import OPS
from onebit.format.ops.op import BLOCK, round_up
from onebit.format.steps import STEPS

_NODE, _STEP = 2048, 64  # bytes of a node and of a step themselves
_FRAGMENTATION = 1.25  # of the memory that values share


def bytes_to_load(graph: Graph, threads: int = 1) -> int:
    """Upper bound in bytes of what the C++ core allocates for ``graph`` on any CPU, in addition to the tensors.

    It is the sum of

    - weights and tables in the layout of the kernels, which nodes with equal tensors and geometry share;
    - the values of one image whose lifetimes overlap, at their maximum;
    - the scratch buffer of the node that needs most.

    Takes time linear in the number of nodes and steps.

    Raises FormatError if the graph is not valid.
    """
    values = graph.values
    weights: dict[object, int] = {"pixels": 4 * 256 * graph.input.channels}  # the float of every pixel value
    scratch = worker_scratch = steps = 0
    for node in graph.nodes:
        op, use = OPS[node.op], graph.use(node)
        memory = op.memory(use)
        key = (node.op, json.dumps(dict(node.attrs), sort_keys=True), tuple(sorted(node.tensors.items())), use.shapes)
        weights[key] = memory.weights
        scratch, worker_scratch = max(scratch, memory.scratch), max(worker_scratch, memory.worker_scratch)
        channels, positions = op.shape(use)[2], op.positions(node.attrs)
        steps += len(node.epilogue)
        for step in node.epilogue:
            for role in (role for role in STEPS[step["step"]].tables if role in step):
                weights[step[role], channels, positions] = 4 * round_up(positions * round_up(channels, BLOCK), BLOCK)
    # Kernels read a block of channels from any channel on, so tables are padded by one.
    constant = sum(weights.values()) + 4 * BLOCK * len(weights) + _NODE * len(graph.nodes) + _STEP * steps
    return int(constant + scratch + threads * worker_scratch + _FRAGMENTATION * _peak(graph, values))


def _size(value: Value) -> int:
    """Bytes of a value, rounded up to cache lines."""
    height, width, channels = value.shape
    pixel = {BITS: 4 * words_for(channels), HALF: 2 * channels, PIXELS: channels}.get(value.type, 4 * channels)
    return round_up(height * width * pixel, 64)


def _peak(graph: Graph, values: Mapping[str, Value]) -> int:
    """The peak memory of values: the largest sum of bytes that are live at the same node."""
    last: dict[str, int] = {graph.input.name: 0, graph.output: len(graph.nodes)}
    for place, node in enumerate(graph.nodes):
        reads = [*node.inputs, *(step["input"] for step in node.epilogue if "input" in step)]
        writes = [step["output"] for step in node.epilogue if "output" in step]
        for name in (*reads, *writes):
            last[name] = max(place, last.get(name, 0))
    ends: dict[int, int] = {}
    for name, place in last.items():
        ends[place] = ends.get(place, 0) + _size(values[name])
    live = peak = _size(values[graph.input.name])
    for place, node in enumerate(graph.nodes):
        live += sum(_size(values[step["output"]]) for step in node.epilogue if "output" in step)
        peak = max(peak, live)
        live -= ends.get(place, 0)
    return peak
