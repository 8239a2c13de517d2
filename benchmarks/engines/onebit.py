"""This package's own engine: the packed network in the C++ core."""

from collections import Counter
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from engines import MEAN, STD, Fresh, Prepared, Refused, noise
from onebit.export.activations import with_float16_activations
from onebit.export.capture import capture
from onebit.export.fuse import fuse
from onebit.export.int8 import with_int8_stem
from onebit.format.file import save_graph, to_bytes
from onebit.format.graph import Graph, InputSpec
from onebit.runtime.cold import ONEBIT
from onebit.runtime.engine import usable_isas
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


def pixels(image_BCHW: NDArray) -> NDArray[np.uint8]:
    """What was normalized, (B, H, W, C)."""
    return np.rint(255 * (image_BCHW.transpose(0, 2, 3, 1) * STD + MEAN)).astype(np.uint8)


def image_for(graph: Graph, image_BCHW: NDArray) -> NDArray:
    """What the core takes: floats (B, H, W, C), or the pixels that were normalized for an int8 stem."""
    image_BHWC = np.ascontiguousarray(image_BCHW.transpose(0, 2, 3, 1))
    return pixels(image_BCHW) if graph.input.type == "uint8" else image_BHWC


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
    image_BCHW: NDArray,
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
    shape_CHW = image_BCHW.shape[1:]
    graph = packed(network, shape_CHW, stem, activation_dtype)
    model = Model(graph, threads=threads, isa=isa)
    image_BHWC = image_for(graph, image_BCHW)
    # torch has neither: what it is compared with says how much they cost, the reference that this is right.
    if (stem, activation_dtype) != ("float", "float32") and not reference_is_met(
        network, shape_CHW, stem, activation_dtype, isa
    ):
        raise Refused("wrong: its answer differs from the reference's")
    kernels = Counter(row["kernel"] for row in model.profile(image_BHWC, repeats=1) if row["macs"])
    facts = {"file_bytes": len(to_bytes(graph)), "memory_bytes": model.engine.memory}  # type: ignore[attr-defined]
    runs_as = ", ".join(f"{count} {kernel}" for kernel, count in kernels.most_common())

    def save(folder: Path) -> Path:
        save_graph(graph, folder / "network.onebit")
        return folder / "network.onebit"

    steps = ONEBIT if isa is None else replace(ONEBIT, load=f"model = onebit.load(path, threads=threads, isa={isa!r})")
    return Prepared(
        run=lambda: model(image_BHWC),
        runs_as=runs_as,
        facts=facts,
        fresh=Fresh(save, steps),
        profile=lambda: model.profile(image_BHWC, repeats=31),
    )
