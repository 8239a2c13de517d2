"""This package's own engine: the packed network in the C++ core."""

from collections import Counter
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from engines import MEAN, STD, Prepared, Refused
from onebit.export.capture import capture
from onebit.export.fuse import fuse
from onebit.export.int8 import with_int8_stem
from onebit.runtime.engine import usable_isas
from onebit.runtime.file import to_bytes
from onebit.runtime.graph import Graph, InputSpec
from onebit.runtime.model import Model


@cache
def packed(network: nn.Module, shape_CHW: tuple[int, int, int], stem: str = "float") -> Graph:
    """The packed network, without the comparison that ``onebit.pack`` ends with; the answers are checked here too."""
    channels, height, width = shape_CHW
    color = "RGB" if channels == 3 else "other"
    spec = InputSpec(height, width, channels, (MEAN,) * channels, (STD,) * channels, color)
    with torch.no_grad():
        graph = fuse(capture(network, shape_CHW)).finish(spec, None, {})
    return with_int8_stem(graph) if stem == "int8" else graph


def prepare(
    network: nn.Module, image_BCHW: NDArray, *, threads: int, numbers: str, isa: str | None = None, **pack_options: str
) -> Prepared:
    """See the package; the images are given as the core takes them, floats (B, H, W, C), pixels to an int8 stem."""
    if isa is not None and isa not in usable_isas():
        raise Refused(f"{isa} cannot run here")
    graph = packed(network, image_BCHW.shape[1:], **pack_options)
    model = Model(graph, threads=threads, isa=isa)
    image_BHWC = np.ascontiguousarray(image_BCHW.transpose(0, 2, 3, 1))
    if graph.input.type == "uint8":
        image_BHWC = np.rint(255 * (image_BHWC * STD + MEAN)).astype(np.uint8)
        # torch has no int8 stem: what it is compared with says how much that costs, the reference that this is right.
        want = Model(graph, backend="reference").logits(image_BHWC[:1])
        if not np.allclose(model.logits(image_BHWC[:1]), want, rtol=1e-4, atol=1e-4 * np.abs(want).max()):
            raise Refused("wrong: its answer differs from the reference's")
    rows = model.profile(image_BHWC, repeats=1)
    kernels = Counter(row["kernel"] for row in rows if row["macs"])
    facts = {"file_bytes": len(to_bytes(graph)), "memory_bytes": model.engine.memory}  # type: ignore[attr-defined]
    runs_as = ", ".join(f"{count} {kernel}" for kernel, count in kernels.most_common())
    return Prepared(lambda: model.logits(image_BHWC), runs_as, facts)
