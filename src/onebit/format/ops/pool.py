"""Pools: maximum or mean over windows of floats, maximum or minimum over windows of bits."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from onebit.format.checks import one_of, pair
from onebit.format.errors import refusal
from onebit.format.ops.op import STRIPE, TILE, Memory, Op, Use, check_size
from onebit.format.ops.windows import Pair, padded_pixels, window_counts, windows
from onebit.format.tensors import TensorSpec, packed
from onebit.format.values import BITS, FLOAT, Shape

MAX_TAPS = 1 << 24


def _shape(use: Use) -> Shape:
    height, width, channels = use.shape
    kernel, stride, padding = use.attrs["kernel"], use.attrs["stride"], use.attrs["padding"]
    if any(2 * p > k for p, k in zip(padding, kernel, strict=True)):
        raise refusal("attrs.padding", padding, "at most half of the kernel")
    check_size("taps", "attrs.kernel", math.prod(kernel), MAX_TAPS)
    check_size("elements of the padded map", "attrs.padding", padded_pixels((height, width), padding) * channels)
    return *window_counts((height, width), kernel, stride, padding), channels


def _memory(use: Use) -> Memory:
    """Scratch for the addresses of the taps of a tile, or for the rows of the map if pooling is fused."""
    taps, (_, width, channels) = math.prod(use.attrs["kernel"]), use.shape
    rows = STRIPE * use.attrs["stride"][0] + use.attrs["kernel"][0]
    return Memory(weights=4 * channels, worker_scratch=TILE * taps * 8 + rows * width * channels * 4)


def _max_pool2d(x: NDArray[np.float32], *, kernel: Pair, stride: Pair, padding: Pair) -> NDArray[np.float32]:
    return windows(x, kernel, stride, padding, fill=-np.inf).max(axis=(4, 5))


def _avg_pool2d(
    x: NDArray[np.float32], *, kernel: Pair, stride: Pair, padding: Pair, count_include_pad: bool
) -> NDArray[np.float32]:
    total = windows(x, kernel, stride, padding).sum(axis=(4, 5), dtype=np.float64)
    if count_include_pad:
        return (total / (kernel[0] * kernel[1])).astype(np.float32)
    inside = windows(np.ones_like(x[:1, :, :, :1]), kernel, stride, padding).sum(axis=(4, 5))
    return (total / inside).astype(np.float32)


def _flip(use: Use) -> Mapping[str, TensorSpec]:
    return {"flip": packed(bits=use.shape[2])}


def _bit_max_pool2d(
    x: NDArray[np.bool_], *, flip: NDArray[np.bool_], kernel: Pair, stride: Pair, padding: Pair
) -> NDArray[np.bool_]:
    flipped = x ^ flip  # after the flip, pooling is "low only if all are low"
    return windows(flipped, kernel, stride, padding, fill=True).all(axis=(4, 5)) ^ flip


_ATTRS = {"kernel": pair(1), "stride": pair(1), "padding": pair(0)}

OPS = {
    "max_pool2d": Op(
        takes=FLOAT,
        attrs=_ATTRS,
        shape=_shape,
        memory=_memory,
        reads_halves=True,
        counterparts={BITS: "bit_max_pool2d"},
        reference=_max_pool2d,
    ),
    "avg_pool2d": Op(
        takes=FLOAT,
        attrs={**_ATTRS, "count_include_pad": one_of(True, False)},
        shape=_shape,
        memory=_memory,
        reads_halves=True,
        reference=_avg_pool2d,
    ),
    "bit_max_pool2d": Op(
        takes=BITS,
        attrs=_ATTRS,
        gives=BITS,
        roles=(frozenset({"flip"}),),
        tensors=_flip,
        shape=_shape,
        memory=_memory,
        runs_as="1-bit",
        reference=_bit_max_pool2d,
    ),
}
