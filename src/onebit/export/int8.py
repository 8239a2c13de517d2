"""An int8 stem: the convolution that reads the image works on raw pixels, with 8-bit weights.

With ``x = (p/255 - mean)/std``, a convolution of the normalized image is one of the pixels: ``sum w x = sum w' (p -
z)`` with ``w' = w/(255 std)`` and ``z = 255 mean`` per input channel.  ``w'`` is quantized to ``scale[o] * int8``.  The
quantization error is multiplied by the pixel minus its mean, not by the pixel.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onebit.export.draft import PackError
from onebit.format.graph import PIXELS, Graph, Node
from onebit.format.ops import OPS
from onebit.format.ops.convolution import MAX_INT8_SIDE, MAX_INT8_TERMS, ZERO_UNIT
from onebit.format.ops.windows import windows
from onebit.runtime.reference import ReferenceEngine

STEMS = ("float", "int8")
LARGEST = 127  # weights are symmetric
CALIBRATION_IMAGES, CALIBRATION_WINDOWS = 64, 256  # how many images, and windows of each, a calibration looks at
_CLIPS = np.linspace(0.6, 1.0, 33)  # scales that are tried, as parts of the one that clips nothing

# Shape letters: N images, H W map, O out channels, K L kernel rows and columns, C in channels per group, G groups,
# D = K L C products of a sum, P windows.


def with_int8_stem(graph: Graph, images_NHWC: NDArray[np.uint8] | None = None) -> Graph:
    """Quantize the first convolution of ``graph`` to an ``int8_conv2d``; nothing else changes.

    The scale of each output channel minimizes the change of the channel's output on windows of ``images_NHWC`` (raw
    pixels, at most 64 are used) or, without images, for independent normalized inputs of equal variance.

    Raises PackError if the layer that reads the image has no int8 form.
    """
    stem = _stem(graph)
    std_C, groups = np.asarray(graph.input.std, np.float64), stem.attrs["groups"]
    weight_OKLC = graph.tensors[stem.tensors["weight"]].astype(np.float64)
    unit_GC = 255 * std_C.reshape(groups, -1)
    if images_NHWC is None:
        gram_GDD = [np.diag(np.tile(np.square(unit_C), math.prod(weight_OKLC.shape[1:3]))) for unit_C in unit_GC]
    else:
        gram_GDD = _gram(graph, stem, images_NHWC[:CALIBRATION_IMAGES])
    parts = [
        _quantize((w_OKLC / unit_C).reshape(len(w_OKLC), -1), gram_DD)
        for w_OKLC, unit_C, gram_DD in zip(np.split(weight_OKLC, groups), unit_GC, gram_GDD, strict=True)
    ]
    name = stem.tensors["weight"]
    added = {
        "weight": np.concatenate([codes for codes, _ in parts]).reshape(weight_OKLC.shape),
        "zero": np.rint(ZERO_UNIT * 255 * np.asarray(graph.input.mean, np.float64)).astype(np.int32),
        "scale": np.concatenate([scale for _, scale in parts]),
    }
    names = {role: f"{name}.int8.{role}" for role in added}
    others = [node for node in graph.nodes if node is not stem]
    shared = any(name in node.tensors.values() for node in others)
    kept = {key: tensor for key, tensor in graph.tensors.items() if shared or key != name}
    return replace(
        graph,
        input=replace(graph.input, type=PIXELS),
        nodes=tuple(
            replace(n, op=OPS[n.op].counterparts[PIXELS], tensors=names) if n is stem else n for n in graph.nodes
        ),
        tensors={**kept, **{names[role]: tensor for role, tensor in added.items()}},
    )


def stem_deviation(graph: Graph, int8: Graph, pixels_NHWC: NDArray[np.uint8]) -> dict[str, float]:
    """Error of the int8 stem of ``int8`` relative to the float stem of ``graph`` on ``pixels_NHWC``, before any norm.

    Returns rms and largest: the root mean square and the maximum of the difference, relative to the root mean square of
    the float stem's output.
    """
    want, got = (stem_alone(g).run(pixels_NHWC).astype(np.float64) for g in (graph, int8))
    size = max(float(np.sqrt(np.mean(np.square(want)))), 1e-30)
    error = got - want
    return {"rms": float(np.sqrt(np.mean(np.square(error)))) / size, "largest": float(np.abs(error).max()) / size}


def _stem(graph: Graph) -> Node:
    """The convolution that reads the image; PackError if it has no int8 form."""
    spec = graph.input
    readers = [
        node
        for node in graph.nodes
        if spec.name in node.inputs or any(step.get("input") == spec.name for step in node.epilogue)
    ]
    stem, refused = (
        readers[0],
        "stem='int8' needs a network that starts with one full-precision convolution of the image",
    )
    if len(readers) > 1:
        raise PackError(f"{refused}; here {', '.join(node.name for node in readers)} read it")
    if PIXELS not in OPS[stem.op].counterparts or "weight" not in stem.tensors:
        what = "binary weights" if "weight_bits" in stem.tensors else f"the op {stem.op}"
        raise PackError(f"{refused}; {stem.name} ({stem.source or stem.op}) has {what}: use stem='float'")
    sides = graph.tensors[stem.tensors["weight"]].shape
    if max(sides[1:3]) > MAX_INT8_SIDE or math.prod(sides[1:]) > MAX_INT8_TERMS:
        raise PackError(
            f"{stem.name}: weights {list(sides)} are too large for stem='int8', which takes kernel sides up to "
            f"{MAX_INT8_SIDE} and {MAX_INT8_TERMS} weights for each output channel: use stem='float'"
        )
    return stem


def _gram(graph: Graph, stem: Node, images_NHWC: NDArray[np.uint8]) -> list[NDArray[np.float64]]:
    """Per group, the mean of ``v v^T`` over windows ``v`` of the images, as pixels minus their mean, 0 outside."""
    rng = np.random.default_rng(0)
    rows, columns = graph.tensors[stem.tensors["weight"]].shape[1:3]
    geometry = [stem.attrs[name] for name in ("stride", "padding", "dilation")]
    zero_C = 255 * np.asarray(graph.input.mean)
    samples = []
    for image_HWC in images_NHWC:
        view_HWCKL = windows((image_HWC - zero_C)[None], (rows, columns), *geometry)[0]
        places = rng.integers((0, 0), view_HWCKL.shape[:2], (CALIBRATION_WINDOWS, 2))
        samples.append(view_HWCKL[places[:, 0], places[:, 1]])
    windows_PCKL = np.concatenate(samples)
    flat = [
        np.moveaxis(part_PCKL, 1, 3).reshape(len(windows_PCKL), -1)
        for part_PCKL in np.split(windows_PCKL, stem.attrs["groups"], axis=1)
    ]
    return [v_PD.T @ v_PD / len(v_PD) for v_PD in flat]


def _quantize(weight_OD: NDArray[Any], gram_DD: NDArray[Any]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Codes (O, D) and scales (O,) that minimize ``e^T gram e`` for ``e = scale * codes - weight``, over the tried
    scales.
    """
    reach_O = np.abs(weight_OD).max(axis=1) / LARGEST
    reach_O[reach_O == 0] = 1.0
    best_O = np.full(len(weight_OD), np.inf)
    codes_OD, scale_O = np.zeros(weight_OD.shape, np.int8), reach_O.astype(np.float32)
    target_OD = weight_OD @ gram_DD
    for clip in _CLIPS:
        tried_OD = np.clip(np.rint(weight_OD / (clip * reach_O)[:, None]), -LARGEST, LARGEST)
        size_O = np.einsum("od,od->o", tried_OD @ gram_DD, tried_OD)
        # The least-squares scale for these codes; if the images have no energy there, the scale used for rounding.
        fit_O = np.einsum("od,od->o", tried_OD, target_OD) / np.where(size_O > 0, size_O, 1)
        fit_O = np.where((size_O > 0) & (fit_O > 0), fit_O, clip * reach_O)
        error_OD = fit_O[:, None] * tried_OD - weight_OD
        loss_O = np.einsum("od,od->o", error_OD @ gram_DD, error_OD)
        better_O = loss_O < best_O
        best_O[better_O] = loss_O[better_O]
        codes_OD[better_O], scale_O[better_O] = tried_OD[better_O], fit_O[better_O]
    return codes_OD, scale_O


def stem_alone(graph: Graph) -> ReferenceEngine:
    """``graph`` reduced to its first layer."""
    stem = next(node for node in graph.nodes if graph.input.name in node.inputs)
    alone = replace(stem, epilogue=({"step": "store", "output": "sums"},))
    tensors = {name: graph.tensors[name] for name in stem.tensors.values()}
    return ReferenceEngine(replace(graph, nodes=(alone,), output="sums", tensors=tensors, classes=None))
