"""Ops without arithmetic: identity, reordering, padding and concatenation."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onebit.format.checks import whole
from onebit.format.errors import refusal
from onebit.format.ops.op import Memory, Op, Use
from onebit.format.values import FLOAT, Shape

MAX_INPUTS = 16  # of concat


def _elementwise(x: NDArray[Any]) -> NDArray[Any]:
    return x


def _flat_shape(use: Use) -> Shape:
    return 1, 1, math.prod(use.shape)


def _flat_memory(use: Use) -> Memory:
    return Memory(scratch=8 * math.prod(use.shape))


def _flatten(x: NDArray[Any]) -> NDArray[Any]:
    return x.transpose(0, 3, 1, 2).reshape(len(x), 1, 1, -1)


def _wider_shape(use: Use) -> Shape:
    height, width, channels = use.shape
    return height, width, channels + use.attrs["before"] + use.attrs["after"]


def _wider_memory(use: Use) -> Memory:
    _, _, channels = _wider_shape(use)
    return Memory(weights=4 * channels, worker_scratch=4 * channels)


def _pad_channels(x: NDArray[Any], *, before: int, after: int) -> NDArray[Any]:
    return np.pad(x, [(0, 0)] * 3 + [(before, after)])


def _joined_shape(use: Use) -> Shape:
    height, width, _ = use.shape
    for index, shape in enumerate(use.shapes):
        if shape[:2] != (height, width):
            raise refusal(f"inputs[{index}]", list(shape), f"maps of {height}x{width}, as inputs[0]")
    return height, width, sum(channels for _, _, channels in use.shapes)


def _joined_memory(use: Use) -> Memory:
    return Memory(worker_scratch=8 * sum(channels for _, _, channels in use.shapes))


def _concat(*maps: NDArray[Any]) -> NDArray[Any]:
    return np.concatenate(maps, axis=3)


def _shuffled_shape(use: Use) -> Shape:
    groups, channels = use.attrs["groups"], use.shape[2]
    if channels % groups:
        raise refusal("attrs.groups", groups, f"a divisor of the {channels} channels")
    return use.shape


def shuffled(x_NHWC: NDArray[Any], groups: int) -> NDArray[Any]:
    """Channel i*groups + g of the result is channel g*n + i of ``x``, n = C/groups."""
    grouped = x_NHWC.reshape(*x_NHWC.shape[:3], groups, x_NHWC.shape[3] // groups)
    return grouped.swapaxes(3, 4).reshape(x_NHWC.shape)


OPS = {
    "elementwise": Op(takes=FLOAT, reads_halves=True, identity=True, reference=_elementwise),
    "flatten": Op(takes=FLOAT, shape=_flat_shape, memory=_flat_memory, runs_as="moves data", reference=_flatten),
    "pad_channels": Op(
        takes=FLOAT,
        attrs={"before": whole(0), "after": whole(0)},
        shape=_wider_shape,
        memory=_wider_memory,
        runs_as="moves data",
        reads_halves=True,
        reference=_pad_channels,
    ),
    "concat": Op(
        takes=FLOAT,
        most_inputs=MAX_INPUTS,
        shape=_joined_shape,
        memory=_joined_memory,
        runs_as="moves data",
        reads_halves=True,
        reference=_concat,
    ),
    "shuffle_channels": Op(
        takes=FLOAT,
        attrs={"groups": whole(1)},
        shape=_shuffled_shape,
        memory=_joined_memory,
        runs_as="moves data",
        folds_as="shuffle",
        reference=shuffled,
    ),
}
