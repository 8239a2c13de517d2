"""Float16 activations: values between nodes take half the memory.

Sums and steps stay float32.  Only stored values are rounded, to 11 significant bits.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onebit.export.draft import PackError
from onebit.format.graph import FLOAT, FLOATS, HALF, Graph, validate
from onebit.format.ops import OPS
from onebit.runtime.engine import Engine

ACTIVATION_DTYPES = FLOATS
LARGEST = float(np.finfo(np.float16).max) / 2  # of a value on images, so that others may be twice as large
IMAGES = 64  # how many images the range of the values is looked up on


def with_float16_activations(graph: Graph, images_NHWC: NDArray[Any]) -> Graph:
    """Store every float value of ``graph`` as float16, except the output and the inputs of convolutions, ``flatten``
    and ``shuffle_channels``.

    Raises PackError if a value exceeds 32,752, half of the float16 range, on one of ``images_NHWC`` (raw pixels or
    normalized floats; at most 64 are used).
    """
    kept = {graph.output} | {name for node in graph.nodes if not OPS[node.op].reads_halves for name in node.inputs}
    values = validate(graph)
    halves = {name for name, value in values.items() if value.type == FLOAT and name not in kept}
    sizes = {name: size for name, size in largest(graph, images_NHWC[:IMAGES]).items() if name in halves}
    beyond = [name for name, size in sizes.items() if not size <= LARGEST]
    if beyond:
        node = next(node.name for node in graph.nodes if any(s.get("output") == beyond[0] for s in node.epilogue))
        raise PackError(
            f"activation_dtype='float16' holds numbers up to 65504, but after {node} they reach "
            f"{sizes[beyond[0]]:.6g} (allowed: {LARGEST:g}, so that other images may go beyond these): "
            "use activation_dtype='float32'"
        )
    return _with_stores(graph, lambda step: {**step, "type": HALF} if step["output"] in halves else step)


def with_float32_activations(graph: Graph) -> Graph:
    """Store every float value of ``graph`` as float32."""
    return _with_stores(graph, lambda step: {key: field for key, field in step.items() if key != "type"})


def _with_stores(graph: Graph, change: Callable[[Mapping[str, Any]], Mapping[str, Any]]) -> Graph:
    def changed(epilogue: tuple[Mapping[str, Any], ...]) -> tuple[Mapping[str, Any], ...]:
        return tuple(change(step) if step["step"] == "store" else step for step in epilogue)

    return replace(graph, nodes=tuple(replace(node, epilogue=changed(node.epilogue)) for node in graph.nodes))


def largest(graph: Graph, images_NHWC: NDArray[Any]) -> dict[str, float]:
    """The largest magnitude of each float value on ``images_NHWC``, by name; NaN propagates."""
    engine = Engine(graph, keep_values=True)
    sizes: dict[str, float] = {}
    for image_HWC in images_NHWC:
        engine.run(image_HWC[None])
        for name, value in engine.values().items():
            if value.dtype.kind == "f":
                sizes[name] = float(np.maximum(sizes.get(name, 0.0), np.abs(value).max()))
    return sizes
