"""Parity of the C++ core with the reference interpreter, node by node, on the user's own images.

Each node of the reference is fed the values that the C++ core computed, so one flipped bit is counted where it
happens and not again in everything behind it.  Integer results must be equal, and so must all that an int8 convolution
writes: its sums are integers and its steps round alike everywhere.  Another float may differ by rounding, and a
float16 that it is rounded to may then be the one beside it; a bit made from it may differ only where it lies within
rounding of its threshold.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from onebit.format.bits import unpack_bits
from onebit.format.graph import BITS, HALF, PIXELS, Graph, validate
from onebit.runtime.engine import Engine, usable_isas
from onebit.runtime.images import as_input
from onebit.runtime.reference import run_node

TOLERANCE = 1e-4  # of a float, relative to the largest of its node


def check_kernels(graph: Graph, images_NHWC: NDArray) -> list[dict[str, Any]]:
    """Check every instruction set that this CPU can run; one row each.

    A row: isa, images, bits compared, flips (bits that differ), unexplained (flips, and floats of an int8 convolution,
    that rounding does not explain), where, float_error (largest relative difference), passed.
    """
    return [_check_isa(graph, images_NHWC, isa) for isa in usable_isas()]


def _check_isa(graph: Graph, images_NHWC: NDArray, isa: str) -> dict[str, Any]:
    engine = Engine(graph, threads=1, isa=isa, keep_values=True)
    shapes = validate(graph)
    row: dict[str, Any] = {"isa": isa, "images": len(images_NHWC), "bits": 0, "flips": 0, "unexplained": 0, "where": ""}
    row["float_error"] = 0.0
    for image_HWC in images_NHWC:
        engine.run(image_HWC[None])
        got = dict(engine.values())
        got[graph.input.name] = as_input(image_HWC[None], graph.input)
        for node in graph.nodes:
            want = dict(got)
            margins: dict[str, NDArray] = {}
            run_node(node, shapes, graph.tensors, want, margins)
            exact = shapes[node.inputs[0]].type == PIXELS
            for step in node.epilogue:
                if "output" in step:
                    name = step["output"]
                    margin = None if exact else margins.get(name)
                    _compare(row, f"{node.name} ({name})", shapes[name], want[name], got[name], margin, exact)
    row["passed"] = row["unexplained"] == 0 and row["float_error"] <= TOLERANCE
    return row


def _compare(
    row: dict[str, Any], where: str, value: Any, want: NDArray, got: NDArray, margin: NDArray | None, exact: bool
) -> None:
    if value.type == BITS:
        channels = value.shape[2]
        differ = unpack_bits(want, channels) != unpack_bits(got, channels)
        row["bits"] += differ.size
        row["flips"] += int(differ.sum())
    else:
        differ = want != got
        error = np.abs(want[differ].astype(np.float32) - got[differ])
        if value.type == HALF:
            error = np.maximum(error - np.spacing(np.abs(want[differ])), 0)
        largest = max(float(np.abs(want).max()), 1e-30)
        row["float_error"] = max(row["float_error"], float(error.max(initial=0.0)) / largest)
        if not exact:
            return
    if margin is None:  # made from integers: there is no rounding
        unexplained = int(differ.sum())
    else:
        unexplained = int((differ & (np.abs(margin) > TOLERANCE * np.abs(margin).max())).sum())
    if unexplained:
        row["unexplained"] += unexplained
        row["where"] = row["where"] or where
