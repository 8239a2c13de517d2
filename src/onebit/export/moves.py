"""Capture of all that moves data: parts, borders, other orders and shapes of a tensor.

Whatever a model calls to do so, its result holds elements of its argument, or zeros, in some order.  The call is made
again on the numbers of the elements, which gives that order: an :class:`Arrangement`.  Nothing is written into the
draft until a layer takes the result; then the arrangement of all calls in between is written as the few ops of
``format/ops/movement.py`` that have the same effect.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from onebit.export.draft import PackError
from onebit.export.trace import Call, Value
from onebit.format.ops.movement import MAX_BLOCK, MODES, depth_to_space, largest_border, padded, space_to_depth
from onebit.format.ops.rearrange import shuffled
from onebit.nn.activations import ChannelShuffle

Numbers = NDArray[np.int64]

FUNCTIONS = frozenset(
    {"getitem", "chunk", "split", "split_with_sizes", "tensor_split", "unbind", "narrow", "select", "index_select"}
    | {"flip", "roll", "permute", "transpose", "swapaxes", "swapdims", "movedim", "moveaxis", "T", "mT"}
    | {"view", "reshape", "flatten", "unflatten", "squeeze", "unsqueeze", "view_as", "reshape_as", "repeat", "tile"}
    | {
        "expand",
        "broadcast_to",
        "repeat_interleave",
        "pixel_shuffle",
        "pixel_unshuffle",
        "channel_shuffle",
        "pad",
        "interpolate",
        "upsample",
    }
)
UNCHANGED = frozenset(
    {"clone", "contiguous", "cpu", "data", "detach", "double", "float", "requires_grad", "to", "type_as"}
)
LAYERS = (
    nn.Identity,
    *(nn.Flatten, nn.Unflatten, nn.PixelShuffle, nn.PixelUnshuffle, nn.ChannelShuffle, ChannelShuffle),
    *(nn.ZeroPad2d, nn.ConstantPad2d, nn.ReflectionPad2d, nn.ReplicationPad2d, nn.CircularPad2d),
    *(nn.Upsample, nn.UpsamplingNearest2d),
)
_NEAREST = ("nearest", "nearest-exact")
_CONSTANT_PADS = (nn.ZeroPad2d, nn.ConstantPad2d)


@dataclass(frozen=True)
class Arrangement:
    """A tensor that holds elements of another one.

    Attributes:
        base: the tensor that they come from; the draft holds its value.
        places: which element of the base each one is, counted in the order (C, H, W), without the batch; -1: ``fill``.
        call: the last call that moved them.
    """

    base: Value
    places: Numbers
    fill: float
    call: Call


def moves(call: Call) -> bool:
    """Whether ``call`` only moves data."""
    if call.layer is None:
        words = [x for x in (*call.args[1:], *call.kwargs.values()) if isinstance(x, str)]
        nearest = call.what not in ("interpolate", "upsample") or all(word in _NEAREST for word in words)
        return call.what in UNCHANGED or (call.what in FUNCTIONS and nearest)
    resizes = isinstance(call.layer, nn.Upsample)
    return isinstance(call.layer, LAYERS) and (not resizes or call.layer.mode in _NEAREST)


def arrange(call: Call, before: Arrangement) -> list[Arrangement]:
    """The results of ``call``, whose only tensor argument is arranged as ``before``.

    Raises PackError if it takes several tensors, or mixes the images of a batch.
    """
    value, count = call.input, math.prod(call.input.shape[1:])
    if len(call.values()) != 1:
        raise PackError(f"{call}: {call.what} with indices or shapes that depend on the image has no packed form")
    if not call.results[0].floating:
        raise PackError(f"{call}: {call.what} converts floats to integers, which has no packed form")
    if call.what in UNCHANGED and call.layer is None:
        return [replace(before, call=call)]
    # float64: reflections and the like are not defined for integers, and it holds every number exactly.
    numbers_B = torch.arange(value.shape[0] * count, dtype=torch.float64).reshape(value.shape)
    with torch.no_grad():
        found, fill = _called(call, numbers_B)
    results = []
    for numbers in found:
        first, *others = numbers.numpy().astype(np.int64)
        if any(not np.array_equal(other, np.where(first < 0, -1, first + count)) for other in others):
            raise PackError(f"{call}: {call.what} mixes the images of a batch, which has no packed form")
        places = np.where(first < 0, -1, before.places.reshape(-1)[first])
        if fill is not None and fill != before.fill and (before.places < 0).any():
            raise PackError(f"{call}: two borders of different values have no packed form; put a layer between them")
        results.append(Arrangement(before.base, places, before.fill if fill is None else fill, call))
    return results


def as_it_is(value: Value, call: Call) -> Arrangement:
    """All elements of ``value`` where they are."""
    shape = value.shape[1:]
    return Arrangement(value, np.arange(math.prod(shape)).reshape(shape), 0.0, call)


def _called(call: Call, numbers: Tensor) -> tuple[list[Tensor], float | None]:
    """The results of the call for the numbers of the elements, and the value of what it adds, which gets -1."""
    layer = call.layer
    if isinstance(layer, _CONSTANT_PADS):
        return [F.pad(numbers, layer.padding, value=-1)], float(layer.value)
    if layer is not None:
        return [layer(numbers)], None
    if call.what == "pad":
        return _padded(numbers, *call.args[1:], **{k: v for k, v in call.kwargs.items() if k != "input"})

    def change(x: Any) -> Any:
        if isinstance(x, list | tuple):
            return type(x)(change(entry) for entry in x)
        return numbers if isinstance(x, Value) else x

    assert call.func is not None
    out = call.func(*change(call.args), **{name: change(x) for name, x in call.kwargs.items()})
    return list(out) if isinstance(out, tuple | list) else [out], None


def _padded(
    numbers: Tensor, pad: Any, mode: str = "constant", value: float | None = None
) -> tuple[list[Tensor], float | None]:
    if mode == "constant":
        return [F.pad(numbers, pad, value=-1)], float(value or 0)
    return [F.pad(numbers, pad, mode)], None


# What is written into the draft ---------------------------------------------------------------------------------------


class Form(NamedTuple):
    """A node that moves data."""

    op: str
    attrs: dict[str, Any]
    tensors: dict[str, NDArray[Any]]
    source: str


def forms(arranged: Arrangement) -> list[Form]:
    """The nodes that have the effect of ``arranged``, in order; PackError if there are none."""
    call, places = arranged.call, arranged.places
    base = _map_shape(arranged.base.shape[1:], call)
    shape = _map_shape(places.shape, call)
    places_CHW = places.reshape(shape)
    if shape == base and np.array_equal(places.reshape(-1), np.arange(places.size)):
        return []
    for found in (_by_axes, _as_vector, _by_blocks):
        nodes = found(places_CHW, base, arranged.fill)
        if nodes is not None:
            return nodes
    raise PackError(
        f"{call}: a tensor of shape {tuple(arranged.base.shape)} brought into the shape and order of "
        f"{(arranged.base.shape[0], *places.shape)} has no packed form; packed are slices, borders, repeated "
        "pixels, any order of channels, pixel shuffles, and x.flatten(1)"
    )


def _map_shape(shape: tuple[int, ...], call: Call) -> tuple[int, int, int]:
    """(C, H, W) of a tensor without its batch: a vector is a map of one pixel, a sequence a map of one row."""
    if len(shape) == 3:
        return shape[0], shape[1], shape[2]
    if len(shape) == 2:
        return shape[0], 1, shape[1]
    if len(shape) < 2:
        return math.prod(shape), 1, 1
    raise PackError(
        f"{call}: a tensor of {len(shape) + 1} dimensions has no packed form where a layer takes it; only "
        "(B, C, H, W), (B, C, L) and (B, C)"
    )


def _by_axes(places_CHW: Numbers, base: tuple[int, int, int], fill: float) -> list[Form] | None:
    """Where channels, rows and columns are moved independently of each other."""
    inside = np.argwhere(places_CHW >= 0)
    if not len(inside):
        return None
    c, h, w = inside[0]
    area, width = base[1] * base[2], base[2]
    lines = places_CHW[:, h, w], places_CHW[c, :, w], places_CHW[c, h, :]
    channels, rows, columns = (
        np.where(line < 0, -1, part)
        for line, part in zip(lines, (lines[0] // area, lines[1] % area // width, lines[2] % width), strict=True)
    )
    grid = np.ix_(channels, rows, columns)
    made = np.where((grid[0] < 0) | (grid[1] < 0) | (grid[2] < 0), -1, grid[0] * area + grid[1] * width + grid[2])
    if not np.array_equal(made, places_CHW):
        return None
    moved = _channel_forms(channels, base[0], fill)
    pixels = _pixel_forms(rows, columns, (base[1], base[2]), fill)
    if moved is None or pixels is None:
        return None
    merged = _merged(pixels, moved)
    # What makes a map smaller comes first.
    return merged if merged is not None else pixels + moved if len(rows) < base[1] else moved + pixels


def _merged(pixels: list[Form], channels: list[Form]) -> list[Form] | None:
    """A slice of all three axes, where both are slices."""
    if len(pixels) == len(channels) == 1 and pixels[0].op == channels[0].op == "slice2d":
        return [_slice(pixels[0].attrs["rows"], pixels[0].attrs["columns"], channels[0].attrs["channels"])]
    return None


ALL = [0, None, 1]


def _slice(rows: list[Any], columns: list[Any], channels: list[Any]) -> Form:
    return Form("slice2d", {"rows": rows, "columns": columns, "channels": channels}, {}, "slice")


def _channel_forms(channels: Numbers, count: int, fill: float) -> list[Form] | None:
    part = _part(channels, count)
    if part == ALL:
        return []
    if part is not None:
        return [_slice(ALL, ALL, part)]
    inside = np.flatnonzero(channels >= 0)
    before, after = int(inside[0]), len(channels) - 1 - int(inside[-1])
    middle = channels[before : len(channels) - after]
    if (middle < 0).any() or (fill != 0 and before + after):
        return None
    moved = _order(middle, count)
    return moved + [Form("pad_channels", {"before": before, "after": after}, {}, "pad_channels")] * (before + after > 0)


def _order(channels: Numbers, count: int) -> list[Form]:
    """All channels, some or several times, in any order."""
    part = _part(channels, count)
    if part is not None:
        return [] if part == ALL else [_slice(ALL, ALL, part)]
    if len(channels) == count:
        for groups in (groups for groups in range(2, count) if count % groups == 0):
            if np.array_equal(shuffled(np.arange(count).reshape(1, 1, 1, -1), groups).reshape(-1), channels):
                return [Form("shuffle_channels", {"groups": groups}, {}, "channel shuffle")]
    return [Form("gather_channels", {}, {"channels": channels.astype(np.int32)}, "order of channels")]


def _pixel_forms(rows: Numbers, columns: Numbers, sides: tuple[int, int], fill: float) -> list[Form] | None:
    parts = _part(rows, sides[0]), _part(columns, sides[1])
    if parts[0] is not None and parts[1] is not None:
        if parts == (ALL, ALL):
            return []
        if all(part[:2] == [0, None] and part[2] > 0 for part in parts):  # type: ignore[index]
            stride = [parts[0][2], parts[1][2]]
            return [Form("max_pool2d", {"kernel": [1, 1], "stride": stride, "padding": [0, 0]}, {}, "slice")]
        return [_slice(parts[0], parts[1], ALL)]
    scales = _scale(rows, sides[0]), _scale(columns, sides[1])
    if scales[0] and scales[1]:
        return [Form("upsample_nearest2d", {"scale": list(scales)}, {}, "nearest up-sampling")]
    vertical, horizontal = _cut(rows, sides[0]), _cut(columns, sides[1])
    if vertical is not None and horizontal is not None:
        (row_part, *row_border), (column_part, *column_border) = vertical, horizontal
        attrs = {"padding": [*row_border, *column_border], "mode": "constant", "value": fill}
        cut = [] if row_part == column_part == ALL else [_slice(row_part, column_part, ALL)]
        return [*cut, Form("pad2d", attrs, {}, "pad")]
    for mode in MODES[1:]:
        borders = _border(rows, sides[0], mode), _border(columns, sides[1], mode)
        if borders[0] is not None and borders[1] is not None:
            attrs = {"padding": [*borders[0], *borders[1]], "mode": mode, "value": 0.0}
            return [Form("pad2d", attrs, {}, "pad")]
    alone = [
        _pixel_forms(rows, np.arange(sides[1]), sides, fill) if parts[1] != ALL else None,
        _pixel_forms(np.arange(len(rows)), columns, (len(rows), sides[1]), fill) if parts[0] != ALL else None,
    ]
    return None if alone[0] is None or alone[1] is None else alone[0] + alone[1]


def _part(line: Numbers, side: int) -> list[Any] | None:
    """[first, end, step] of the slice of ``side`` that ``line`` is."""
    if (line < 0).any():
        return None
    step = int(line[1] - line[0]) if len(line) > 1 else 1
    if step == 0 or not np.array_equal(line, line[0] + step * np.arange(len(line))):
        return None
    end = int(line[-1]) + step
    return [int(line[0]), end if 0 <= end < side else None, step]


def _scale(line: Numbers, side: int) -> int:
    """How many times each of ``side`` is repeated in place; 0 if they are not."""
    scale = len(line) // side
    return scale if scale and np.array_equal(line, np.arange(side).repeat(scale)) else 0


def _cut(line: Numbers, side: int) -> tuple[list[Any], int, int] | None:
    """A slice of ``side``, and how many of the constant ``line`` has before and after it."""
    inside = np.flatnonzero(line >= 0)
    before, after = int(inside[0]), len(line) - 1 - int(inside[-1])
    part = _part(line[before : len(line) - after], side)
    return None if part is None else (part, before, after)


def _border(line: Numbers, side: int, mode: str) -> list[int] | None:
    """How many ``line`` has before and after all of ``side``, as that mode of padding makes them."""
    for before in range(len(line) - side + 1):
        after = len(line) - side - before
        if not np.array_equal(line[before : before + side], np.arange(side)):
            continue
        if max(before, after) <= largest_border(side, mode) and np.array_equal(padded(side, before, after, mode), line):
            return [before, after]
    return None


def _by_blocks(places_CHW: Numbers, base: tuple[int, int, int], fill: float) -> list[Form] | None:
    """Pixel shuffles and their inverse."""
    numbers_HWC = np.arange(math.prod(base)).reshape(base).transpose(1, 2, 0)[None]
    wanted_HWC = places_CHW.transpose(1, 2, 0)[None]
    for op, move, (small, large) in (
        ("depth_to_space", depth_to_space, (base[1], places_CHW.shape[1])),
        ("space_to_depth", space_to_depth, (places_CHW.shape[1], base[1])),
    ):
        block = large // small
        if not 2 <= block <= MAX_BLOCK or places_CHW.size != numbers_HWC.size:
            continue
        fits = base[0] % block**2 == 0 if op == "depth_to_space" else base[1] % block == 0 == base[2] % block
        if fits and np.array_equal(move(numbers_HWC, block=block), wanted_HWC):
            return [Form(op, {"block": block}, {}, "pixel shuffle")]
    return None


def _as_vector(places_CHW: Numbers, base: tuple[int, int, int], fill: float) -> list[Form] | None:
    """All elements of a map, in any order, as a vector."""
    if places_CHW.shape[1:] != (1, 1) or (places_CHW < 0).any():
        return None
    flat = Form("flatten", {}, {}, "flatten")
    return [flat, *_order(places_CHW.reshape(-1), math.prod(base))]
