"""Ops that move rows, columns and channels: parts of a map, its borders, repeated pixels, blocks of pixels.

All of the first kind are one op of the core, ``gather2d``: the rows, columns and channels of the result are given by
their indices in the input.  In the file they have attributes that hold at any size of the map.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from onebit.format.checks import is_whole, number, one_of, pair, whole
from onebit.format.errors import refusal
from onebit.format.ops.op import Memory, Op, Use
from onebit.format.tensors import TensorSpec
from onebit.format.values import FLOAT, MAX_SIDE, Shape

MAX_BLOCK = 64
TOGETHER = 16  # pixels that a thread reads at once
MODES = ("constant", "reflect", "replicate", "circular")
_NUMPY_MODES = {"reflect": "reflect", "replicate": "edge", "circular": "wrap"}

Numbers = NDArray[np.int32]


class Indices(NamedTuple):
    """Which row, column and channel of the input each one of the result is; -1: none, the result is ``fill`` there."""

    rows: Numbers
    columns: Numbers
    channels: Numbers
    fill: float = 0.0

    @property
    def shape(self) -> Shape:
        """Shape of the result."""
        return len(self.rows), len(self.columns), len(self.channels)


Find = Callable[[Shape, Mapping[str, Any], Mapping[str, NDArray[Any]]], Indices]  # of shape, attributes, tensors


def _all(count: int) -> Numbers:
    return np.arange(count, dtype=np.int32)


def gathered(x_NHWC: NDArray[Any], indices: Indices) -> NDArray[Any]:
    """The rows, columns and channels of ``x`` that ``indices`` name."""
    out = x_NHWC
    for axis, places in enumerate((indices.rows, indices.columns, indices.channels), 1):
        side = [1, 1, 1, 1]
        side[axis] = len(places)
        out = np.where(
            (places < 0).reshape(side), out.dtype.type(indices.fill), np.take(out, places, axis, mode="clip")
        )
    return out


def _moving(attrs: Mapping[str, Any], find: Find, **fields: Any) -> Op:
    """The row of an op whose result ``find`` describes by indices."""

    def indices_of(use: Use) -> Indices:
        return find(use.shape, use.attrs, use.tensors)

    def reference(x: NDArray[Any], **arguments: Any) -> NDArray[Any]:
        values = {name: arguments[name] for name in arguments if name in attrs}
        tensors = {name: arguments[name] for name in arguments if name not in attrs}
        return gathered(x, find(x.shape[1:], values, tensors))

    def core(use: Use) -> tuple[str, Mapping[str, Any]]:
        found = indices_of(use)
        none = np.zeros(0, np.int32)
        sides = zip(found[:3], use.shape, strict=True)
        rows, columns, channels = (none if np.array_equal(part, _all(side)) else part for part, side in sides)
        return "gather2d", {"rows": rows, "columns": columns, "channels": channels, "fill": found.fill}

    def memory(use: Use) -> Memory:
        height, width, channels = fields.get("shape", lambda use: indices_of(use).shape)(use)
        return Memory(weights=4 * (height + width + channels), worker_scratch=4 * (channels + TOGETHER * use.shape[2]))

    return Op(
        takes=FLOAT,
        attrs=attrs,
        since=2,
        runs_as="moves data",
        reads_halves=True,
        **{
            "shape": lambda use: indices_of(use).shape,
            "memory": memory,
            "reference": reference,
            "core": core,
            **fields,
        },
    )


# Parts ---------------------------------------------------------------------------------------------------------------


def _part(field: str, value: Any) -> None:
    """[first, end, step] of a Python slice, first and end null at the ends of the map."""
    ok = isinstance(value, list | tuple) and len(value) == 3
    ok = ok and all(v is None or (is_whole(v) and abs(v) <= MAX_SIDE) for v in value)
    if not ok or not value[2]:
        raise refusal(field, value, f"first or null, end or null, and step, not 0, of a slice, at most {MAX_SIDE}")


def _parts(shape: Shape, attrs: Mapping[str, Any], tensors: Mapping[str, Any]) -> Indices:
    def part(name: str, side: int) -> Numbers:
        found = _all(side)[slice(*attrs[name])]
        if not len(found):
            raise refusal(f"attrs.{name}", list(attrs[name]), f"a slice that is not empty, of {side}")
        return found

    height, width, channels = shape
    return Indices(part("rows", height), part("columns", width), part("channels", channels))


# Borders -------------------------------------------------------------------------------------------------------------


def _four(field: str, value: Any) -> None:
    ok = isinstance(value, list | tuple) and len(value) == 4
    if not ok or not all(is_whole(v) and 0 <= v <= MAX_SIDE for v in value):
        raise refusal(field, value, f"four integers from 0 to {MAX_SIDE}: top, bottom, left, right")


def _bordered(shape: Shape, attrs: Mapping[str, Any], tensors: Mapping[str, Any]) -> Indices:
    (height, width, channels), (top, bottom, left, right), mode = shape, attrs["padding"], attrs["mode"]
    for side, before, after in ((height, top, bottom), (width, left, right)):
        if max(before, after) > (most := largest_border(side, mode)):
            raise refusal("attrs.padding", [before, after], f"at most {most} on a side of {side}, mode {mode!r}")
    rows, columns = padded(height, top, bottom, mode), padded(width, left, right, mode)
    return Indices(rows, columns, _all(channels), float(attrs["value"]))


def largest_border(side: int, mode: str) -> int:
    """How much may be added before or after a side."""
    return {"reflect": side - 1, "circular": side}.get(mode, MAX_SIDE)


def padded(side: int, before: int, after: int, mode: str) -> Numbers:
    """The indices of a side with a border; -1 in that of mode "constant"."""
    options: dict[str, Any] = {"constant_values": -1} if mode == "constant" else {"mode": _NUMPY_MODES[mode]}
    found: Numbers = np.pad(_all(side), (before, after), **options)
    return found


def _bordered_shape(use: Use) -> Shape:
    height, width, channels = use.shape
    top, bottom, left, right = use.attrs["padding"]
    if max(height + top + bottom, width + left + right) <= MAX_SIDE:
        return _bordered(use.shape, use.attrs, use.tensors).shape
    return height + top + bottom, width + left + right, channels  # refused as a value


# Repeated pixels, other orders of channels ---------------------------------------------------------------------------


def _repeated(shape: Shape, attrs: Mapping[str, Any], tensors: Mapping[str, Any]) -> Indices:
    vertical, horizontal = attrs["scale"]
    return Indices(_all(shape[0]).repeat(vertical), _all(shape[1]).repeat(horizontal), _all(shape[2]))


def _repeated_shape(use: Use) -> Shape:
    vertical, horizontal = use.attrs["scale"]
    return use.shape[0] * vertical, use.shape[1] * horizontal, use.shape[2]


def _channels(shape: Shape, attrs: Mapping[str, Any], tensors: Mapping[str, NDArray[Any]]) -> Indices:
    return Indices(_all(shape[0]), _all(shape[1]), tensors["channels"])


def _picked(use: Use) -> Mapping[str, TensorSpec]:
    count = len(use.tensors["channels"]) if use.tensors["channels"].ndim else 0
    if not 1 <= count <= MAX_SIDE:
        raise refusal("tensors.channels", count, f"from 1 to {MAX_SIDE} entries")
    return {"channels": TensorSpec("int32", (count,), lowest=0, highest=use.shape[2] - 1)}


# Blocks of pixels ----------------------------------------------------------------------------------------------------


def depth_to_space(x_NHWC: NDArray[Any], *, block: int) -> NDArray[Any]:
    """Channel ``(c r + i) r + j`` of pixel (h, w) becomes channel c of pixel ``(h r + i, w r + j)``, r = ``block``."""
    count, height, width, channels = x_NHWC.shape
    split = x_NHWC.reshape(count, height, width, channels // block**2, block, block).transpose(0, 1, 4, 2, 5, 3)
    return split.reshape(count, height * block, width * block, -1)


def space_to_depth(x_NHWC: NDArray[Any], *, block: int) -> NDArray[Any]:
    """The inverse of :func:`depth_to_space`."""
    count, height, width, channels = x_NHWC.shape
    split = x_NHWC.reshape(count, height // block, block, width // block, block, channels).transpose(0, 1, 3, 5, 2, 4)
    return split.reshape(count, height // block, width // block, -1)


def _into_space(use: Use) -> Shape:
    (height, width, channels), block = use.shape, use.attrs["block"]
    if channels % block**2:
        raise refusal("attrs.block", block, f"a number whose square divides the {channels} channels")
    return height * block, width * block, channels // block**2


def _into_depth(use: Use) -> Shape:
    (height, width, channels), block = use.shape, use.attrs["block"]
    if height % block or width % block:
        raise refusal("attrs.block", block, f"a divisor of the sides of {height}x{width}")
    return height // block, width // block, channels * block**2


def _block_memory(use: Use) -> Memory:
    return Memory(worker_scratch=4 * use.shape[2] * (1 + use.attrs["block"] ** 2))


_BLOCKS: dict[str, Any] = {
    "takes": FLOAT,
    "attrs": {"block": whole(1, MAX_BLOCK)},
    "memory": _block_memory,
    "since": 2,
    "runs_as": "moves data",
    "reads_halves": True,
}

OPS = {
    "slice2d": _moving({"rows": _part, "columns": _part, "channels": _part}, _parts),
    "pad2d": _moving({"padding": _four, "mode": one_of(*MODES), "value": number}, _bordered, shape=_bordered_shape),
    "upsample_nearest2d": _moving({"scale": pair(1)}, _repeated, shape=_repeated_shape),
    "gather_channels": _moving(
        {},
        _channels,
        roles=(frozenset({"channels"}),),
        tensors=_picked,
        shape=lambda use: (*use.shape[:2], len(use.tensors["channels"])),
    ),
    "depth_to_space": Op(shape=_into_space, reference=depth_to_space, **_BLOCKS),
    "space_to_depth": Op(shape=_into_depth, reference=space_to_depth, **_BLOCKS),
}
