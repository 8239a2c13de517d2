"""Parity of the C++ core with the reference interpreter, node by node.

Each node of the reference receives the values that the C++ core computed, so a flipped bit is counted where it arises
and not again in later nodes.  Integer results must be equal, and so must everything that an int8 convolution writes:
its sums are integers, and all kernels round its steps the same way.  Other floats may differ by rounding, and so may
the float16 values that they are rounded to, by one unit in the last place.  A bit computed from a float may differ only
if the float is within the tolerance of its threshold.

NaN and infinity fail every comparison.  The exception is the infinity that float16 stores for values from 65,520 on,
which is compared as 65,536.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from onebit.format.bits import unpack_bits
from onebit.format.graph import BITS, HALF, PIXELS, Graph, validate
from onebit.runtime.engine import Engine, default_max_memory, usable_isas
from onebit.runtime.images import as_input
from onebit.runtime.reference import run_node

TOLERANCE = 1e-4  # of a float, relative to the largest of its node


def output_error(want: ArrayLike, got: ArrayLike, *, norm: float = np.inf) -> float:
    """Median over the images of ``|want - got| / |want|``, where |x| is a norm of all outputs of one image.

    Args:
        want, got: (N, ...) outputs of N images.
        norm: order of the norm; infinity, the largest magnitude, by default.

    Returns infinity if NaN or infinity occurs in either.  Raises ValueError for different shapes.
    """
    want_NF, got_NF = (np.reshape(side, (len(side), -1)).astype(np.float64) for side in map(np.asarray, (want, got)))
    if want_NF.shape != got_NF.shape:
        raise ValueError(f"outputs of shape {np.shape(want)} cannot be compared with outputs of {np.shape(got)}")
    if not_finite(want_NF) or not_finite(got_NF):
        return math.inf
    sizes_N = np.linalg.norm(want_NF, norm, axis=1).clip(1e-30)
    return float(np.median(np.linalg.norm(want_NF - got_NF, norm, axis=1) / sizes_N))


def not_finite(outputs: ArrayLike) -> int:
    """Number of images whose ``outputs`` (N, ...) contain NaN or infinity."""
    outputs = np.asarray(outputs)
    return int((~np.isfinite(outputs.reshape(len(outputs), -1)).all(axis=1)).sum())


def check_kernels(graph: Graph, images_NHWC: NDArray[Any], *, max_memory: int | None = None) -> list[dict[str, Any]]:
    """Check every instruction set that this CPU supports; one row each.

    A row has: isa, images, bits (compared), flips (bits that differ), unexplained (flips, and floats of an int8
    convolution, beyond rounding), not_finite (NaN or infinite numbers in either), where (the first failure),
    float_error (largest relative difference of finite numbers), passed.

    ``max_memory`` limits each engine as in :func:`onebit.load`; values do not share memory here.
    """
    limit = default_max_memory(graph) if max_memory is None else max_memory
    return [_check_isa(graph, images_NHWC, isa, limit) for isa in usable_isas()]


def _check_isa(graph: Graph, images_NHWC: NDArray[Any], isa: str, max_memory: int) -> dict[str, Any]:
    engine = Engine(graph, threads=1, isa=isa, keep_values=True, max_memory=max_memory)
    shapes = validate(graph)
    row: dict[str, Any] = {"isa": isa, "images": len(images_NHWC), "bits": 0, "flips": 0, "unexplained": 0}
    row |= {"not_finite": 0, "where": "", "float_error": 0.0}
    for image_HWC in images_NHWC:
        engine.run(image_HWC[None])
        got = dict(engine.values())
        got[graph.input.name] = as_input(image_HWC[None], graph.input)
        for node in graph.nodes:
            want = dict(got)
            margins: dict[str, NDArray[Any]] = {}
            with np.errstate(over="ignore", invalid="ignore"):  # the results are counted below
                run_node(graph, node, want, margins)
            exact = shapes[node.inputs[0]].type == PIXELS
            for step in node.epilogue:
                if "output" in step:
                    name = step["output"]
                    margin = None if exact else margins.get(name)
                    _compare(row, f"{node.name} ({name})", shapes[name], want[name], got[name], margin, exact)
    row["passed"] = row["unexplained"] == row["not_finite"] == 0 and row["float_error"] <= TOLERANCE
    return row


def _compare(
    row: dict[str, Any],
    where: str,
    value: Any,
    want: NDArray[Any],
    got: NDArray[Any],
    margin: NDArray[Any] | None,
    exact: bool,
) -> None:
    """Count the differences of one value, and its numbers that are not finite, into ``row``."""
    if value.type == BITS:
        channels = value.shape[2]
        differ = unpack_bits(want, channels) != unpack_bits(got, channels)
        row["bits"] += differ.size
        row["flips"] += int(differ.sum())
        broken = 0 if margin is None else int(np.isnan(margin).sum())
    else:
        differ = want != got
        finite, error = _float_error(value.type, want, got)
        broken = int((~finite).sum())
        row["float_error"] = max(row["float_error"], error)
        if error > TOLERANCE:
            row["where"] = row["where"] or where
    unexplained = 0
    if margin is not None:
        sizes = np.abs(margin)
        rounding = TOLERANCE * sizes[np.isfinite(sizes)].max(initial=0.0)
        unexplained = int((differ & ~(sizes <= rounding)).sum())
    elif exact or value.type == BITS:  # computed from integers: no rounding
        unexplained = int(differ.sum())
    row["unexplained"] += unexplained
    row["not_finite"] += broken
    if unexplained or broken:
        row["where"] = row["where"] or where


def _float_error(type: str, want: NDArray[Any], got: NDArray[Any]) -> tuple[NDArray[np.bool_], float]:
    """Where both are finite, and their largest difference there, relative to the largest magnitude."""
    both = [side.astype(np.float64) for side in (want, got)]
    if type == HALF:
        both = [np.where(np.isinf(side), np.copysign(2.0**16, side), side) for side in both]
    finite = np.isfinite(both[0]) & np.isfinite(both[1])
    want64, got64 = (side[finite] for side in both)
    error = np.abs(want64 - got64)
    if type == HALF:  # one unit in the last place is allowed; above 40,000 the spacing is that of 40,000
        beside = np.spacing(np.minimum(np.abs(want64), 40_000).astype(np.float16)).astype(np.float64)
        error = np.maximum(error - beside, 0)
    return finite, float(error.max(initial=0.0)) / max(float(np.abs(want64).max(initial=0.0)), 1e-30)
