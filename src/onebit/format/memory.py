"""What a network will take once it is loaded, counted before anything is taken."""

from __future__ import annotations

import json
from collections.abc import Mapping

from onebit.format.bits import words_for
from onebit.format.graph import BITS, HALF, PIXELS, Graph, Value
from onebit.format.ops import OPS
from onebit.format.ops.op import BLOCK, round_up
from onebit.format.steps import STEPS

_NODE, _STEP = 2048, 64  # what a node and a step take by themselves
_SLACK = 1.25  # values that need memory at the same time do not fill it without gaps


def bytes_to_load(graph: Graph, threads: int = 1) -> int:
    """Bytes that the C++ core takes for ``graph`` on any CPU, the tensors as the file holds them not counted.

    An upper estimate: weights and tables in the form that kernels read, which nodes of equal tensors and geometry
    share; the values of one image, those that are needed at the same time; and what the largest node needs while it
    runs.  It takes as long as there are nodes.

    Raises FormatError where the graph is not valid.
    """
    values = graph.values
    kept: dict[object, int] = {"pixels": 4 * 256 * graph.input.channels}  # what each becomes
    scratch = own = steps = 0
    for node in graph.nodes:
        op, use = OPS[node.op], graph.use(node)
        taken = op.taken(use)
        key = (node.op, json.dumps(dict(node.attrs), sort_keys=True), tuple(sorted(node.tensors.items())), use.shapes)
        kept[key] = taken.kept
        scratch, own = max(scratch, taken.scratch), max(own, taken.own)
        channels, positions = op.shape(use)[2], op.positions(node.attrs)
        for step in node.epilogue:
            steps += 1
            for role in (role for role in STEPS[step["step"]].tables if role in step):
                kept[step[role], channels, positions] = 4 * round_up(positions * round_up(channels, BLOCK), BLOCK)
    # A kept table of rows that are computed 64 at a time is read to the end of the last.
    spent = sum(kept.values()) + BLOCK * 4 * len(kept) + _NODE * len(graph.nodes) + _STEP * steps
    return int(spent + scratch + threads * own + _SLACK * _peak(graph, values))


def _size(value: Value) -> int:
    """Of a value, in whole cache lines."""
    height, width, channels = value.shape
    pixel = {BITS: 4 * words_for(channels), HALF: 2 * channels, PIXELS: channels}.get(value.type, 4 * channels)
    return round_up(height * width * pixel, 64)


def _peak(graph: Graph, values: Mapping[str, Value]) -> int:
    """The most that the values take which some node reads, writes or must leave for others."""
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
