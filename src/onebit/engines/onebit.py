"""This package's own engine: the packed network in the C++ core."""

from collections import Counter
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from onebit.engines.base import MEAN, STD, Fresh, Prepared, Refused, noise
from onebit.export.activations import with_float16_activations
from onebit.export.capture import capture
from onebit.export.fuse import fuse
from onebit.export.int8 import with_int8_stem
from onebit.format.file import save_graph, to_bytes
from onebit.format.graph import PIXELS, Graph, InputSpec
from onebit.runtime.cold import ONEBIT
from onebit.runtime.engine import usable_isas
from onebit.runtime.images import to_pixels
from onebit.runtime.model import Model
from onebit.runtime.parity import output_error


@cache
def packed(
    network: nn.Module, shape_CHW: tuple[int, int, int], stem: str = "float", activation_dtype: str = "float32"
) -> Graph:
    """The packed network, without the comparison that ``onebit.pack`` ends with; the answers are checked here too."""
    channels, height, width = shape_CHW
    color = "RGB" if channels == 3 else "other"
    spec = InputSpec(height, width, channels, (MEAN,) * channels, (STD,) * channels, color)
    with torch.no_grad():
        graph = fuse(capture(network, shape_CHW)).finish(spec, None, {})
    graph = with_int8_stem(graph) if stem == "int8" else graph
    return (
        with_float16_activations(graph, image_for(graph, noise((1, *shape_CHW), seed=0)))
        if activation_dtype == "float16"
        else graph
    )


def image_for(graph: Graph, image_BCHW: NDArray[np.float32]) -> NDArray[Any]:
    """What the core takes: floats (B, H, W, C), or the pixels that were normalized for an int8 stem."""
    image_BHWC = np.ascontiguousarray(image_BCHW.transpose(0, 2, 3, 1))
    return to_pixels(image_BHWC, graph.input) if graph.input.type == PIXELS else image_BHWC


@cache
def reference_is_met(
    network: nn.Module, shape_CHW: tuple[int, int, int], stem: str, activation_dtype: str, isa: str | None
) -> bool:
    """Whether the core computes what the reference does, of one image."""
    graph = packed(network, shape_CHW, stem, activation_dtype)
    image = image_for(graph, noise((1, *shape_CHW), seed=0))
    want = Model(graph, backend="reference")(image)
    return output_error(want, Model(graph, isa=isa)(image)) <= 1e-4


def prepare(
    network: nn.Module,
    image_BCHW: NDArray[np.float32],
    *,
    threads: int,
    numbers: str,
    isa: str | None = None,
    stem: str = "float",
    activation_dtype: str = "float32",
) -> Prepared:
    """See the package; the images are given as the core takes them."""
    if isa is not None and isa not in usable_isas():
        raise Refused(f"{isa} cannot run here")
    _, channels, height, width = image_BCHW.shape
    shape_CHW = (channels, height, width)
    prepared = prepare_graph(packed(network, shape_CHW, stem, activation_dtype), image_BCHW, threads=threads, isa=isa)
    # torch has neither: what it is compared with says how much they cost, the reference that this is right.
    if (stem, activation_dtype) != ("float", "float32") and not reference_is_met(
        network, shape_CHW, stem, activation_dtype, isa
    ):
        raise Refused("wrong: its answer differs from the reference's")
    return prepared


def prepare_graph(
    graph: Graph,
    image_BCHW: NDArray[np.float32],
    *,
    threads: int,
    isa: str | None = None,
    max_memory: int | None = None,
) -> Prepared:
    """The same of a packed network; ``isa`` and ``max_memory`` as in :func:`onebit.load`."""
    model = Model(graph, threads=threads, isa=isa, max_memory=max_memory)
    image_BHWC = image_for(graph, image_BCHW)
    kernels = Counter(row["kernel"] for row in model.profile(image_BHWC, repeats=1) if row["macs"])
    facts = {"file_bytes": len(to_bytes(graph)), "memory_bytes": model.engine.memory}  # type: ignore[union-attr]

    def save(folder: Path) -> Path:
        save_graph(graph, folder / "network.onebit")
        return folder / "network.onebit"

    load = f"model = onebit.load(path, threads=threads, isa={isa!r}, max_memory={max_memory!r})"
    return Prepared(
        run=lambda: model(image_BHWC),
        compute=lambda other_BCHW: model(image_for(graph, other_BCHW)),
        runs_as=", ".join(f"{count} {kernel}" for kernel, count in kernels.most_common()),
        facts=facts,
        fresh=Fresh(save, replace(ONEBIT, load=load)),
        profile=lambda: model.profile(image_BHWC, repeats=31),
    )
