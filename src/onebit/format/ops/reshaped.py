"""Reshaped point-wise convolutions: from blocks of pixels to blocks of pixels; docs/format.md has the six steps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onebit.format.bits import WORD, signs, words_for
from onebit.format.checks import one_of, whole
from onebit.format.errors import refusal
from onebit.format.ops.convolution import weight_sides
from onebit.format.ops.op import BLOCK, TILE, Memory, Op, Use, check_size, round_up
from onebit.format.ops.windows import windows
from onebit.format.tensors import TensorSpec, packed
from onebit.format.values import BITS, FLOAT, Shape

MAX_BLOCK = 16  # side


def _sides(use: Use) -> tuple[int, int, int]:
    """Of the filters: out channels, rows and columns."""
    out, _, _ = weight_sides(use, use.attrs["upscale"] ** 2, "upscale^2")
    return out, use.attrs["block"], use.attrs["block"]


def _binary_tensors(use: Use) -> Mapping[str, TensorSpec]:
    return {"weight": packed(*_sides(use), bits=use.shape[2])}


def _real_tensors(use: Use) -> Mapping[str, TensorSpec]:
    return {"weight": TensorSpec("float32", (*_sides(use), use.shape[2]))}


def _blocks(use: Use) -> tuple[int, int]:
    """Number of rows and columns of blocks of the map."""
    block = use.attrs["block"]
    return -(-use.shape[0] // block), -(-use.shape[1] // block)


def _shape(use: Use) -> Shape:
    height, width, channels = use.shape
    block, upscale, roll = use.attrs["block"], use.attrs["upscale"], use.attrs["roll"]
    if roll and block != upscale:
        raise refusal("attrs.roll", roll, f"0 where block = {block} is not upscale = {upscale}")
    rows, columns = _blocks(use)
    pixels = rows * columns * block**2
    check_size("elements of the padded map", "attrs.block", pixels * words_for(channels) * WORD)
    return -(-height * upscale // block), -(-width * upscale // block), weight_sides(use)[0] // upscale**2


def _products(use: Use) -> int:
    rows, columns = _blocks(use)
    return rows * columns * weight_sides(use)[0] * use.attrs["block"] ** 2 * use.shape[2]


def _memory(use: Use, units: int, weight_bytes: int, map_bytes: int) -> Memory:
    """As of a convolution: ``units`` words or numbers of channels, each of so many bytes."""
    block, positions = use.attrs["block"], use.attrs["upscale"] ** 2
    rows, columns = _blocks(use)
    channels = weight_sides(use)[0] // positions
    row_bytes = columns * block * units * map_bytes
    weights = positions * round_up(channels, BLOCK) * block**2 * units * weight_bytes
    return Memory(weights + 64 * block**2, rows * block * row_bytes, BLOCK * TILE * 4 + 2 * row_bytes)


def _binary_memory(use: Use) -> Memory:
    return _memory(use, words_for(use.shape[2]), 8, 16)


def _real_memory(use: Use) -> Memory:
    return _memory(use, use.shape[2], 4, 4)


def _convolve(
    x_NHWC: NDArray[Any], w_OKLC: NDArray[Any], block: int, upscale: int, roll: int, fill: float
) -> NDArray[Any]:
    """Roll, pad to whole blocks, one convolution per block, spread its channels over upscale x upscale pixels, crop,
    roll back.
    """
    count, height, width, _ = x_NHWC.shape
    rolled = np.roll(x_NHWC, (-roll, -roll), axis=(1, 2))
    whole = np.pad(rolled, [(0, 0), (0, -height % block), (0, -width % block), (0, 0)], constant_values=fill)
    blocks_NHWCKL = windows(whole, (block, block), (block, block), (0, 0))
    y = np.tensordot(blocks_NHWCKL, w_OKLC, axes=([3, 4, 5], [3, 1, 2]))
    rows, columns, out = y.shape[1:]
    y = y.reshape(count, rows, columns, upscale, upscale, out // upscale**2).transpose(0, 1, 3, 2, 4, 5)
    y = y.reshape(count, rows * upscale, columns * upscale, out // upscale**2)
    y = y[:, : -(-height * upscale // block), : -(-width * upscale // block)]
    return np.roll(y, (roll, roll), axis=(1, 2))


def _binary_rpc2d(
    x: NDArray[np.bool_], *, weight: NDArray[np.bool_], block: int, upscale: int, roll: int, pad_value: int
) -> NDArray[np.float64]:
    signs_NHWC, signs_OKLC = signs(x).astype(np.float64), signs(weight).astype(np.float64)
    return _convolve(signs_NHWC, signs_OKLC, block, upscale, roll, pad_value)


def _rpc2d(
    x: NDArray[np.float32], *, weight: NDArray[np.float32], block: int, upscale: int, roll: int
) -> NDArray[np.float32]:
    return _convolve(x, weight, block, upscale, roll, 0.0).astype(np.float32)


def _positions(attrs: Mapping[str, Any]) -> int:
    return int(attrs["upscale"]) ** 2


def _spread(table_PC: NDArray[Any], sides: tuple[int, int], attrs: Mapping[str, Any]) -> NDArray[Any]:
    """(1, C) where there is one position, else (H, W, C)."""
    if len(table_PC) == 1:
        return table_PC[0]
    upscale, roll = attrs["upscale"], attrs["roll"]
    row_H, column_W = ((np.arange(side) - roll) % side % upscale for side in sides)
    return table_PC.reshape(upscale, upscale, -1)[row_H[:, None], column_W]


_ATTRS = {"block": whole(1, MAX_BLOCK), "upscale": whole(1, 2), "roll": whole(0, 1)}
_ROLES = (frozenset({"weight"}),)

OPS = {
    "binary_rpc2d": Op(
        takes=BITS,
        attrs={**_ATTRS, "pad_value": one_of(-1, 1)},
        roles=_ROLES,
        tensors=_binary_tensors,
        shape=_shape,
        products=_products,
        memory=_binary_memory,
        runs_as="1-bit",
        exact=True,
        add_rank=2,
        positions=_positions,
        spread=_spread,
        reference=_binary_rpc2d,
    ),
    "rpc2d": Op(
        takes=FLOAT,
        attrs=_ATTRS,
        roles=_ROLES,
        tensors=_real_tensors,
        shape=_shape,
        products=_products,
        memory=_real_memory,
        add_rank=1,
        positions=_positions,
        spread=_spread,
        reference=_rpc2d,
    ),
}
