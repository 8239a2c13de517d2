"""Convolutions: of bits, of floats, of pixels.

Integer sums are exact: they are sums of fewer than 2^53 terms of +-1, or of 2^15 of int8 times uint8, held in float64.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onebit.format.bits import WORD, signs, words_for
from onebit.format.checks import one_of, pair, whole
from onebit.format.errors import refusal
from onebit.format.ops.op import BLOCK, STRIPE, TILE, WEIGHT_ROLES, Memory, Op, Use, check_size, round_up
from onebit.format.ops.rearrange import shuffled
from onebit.format.ops.windows import Pair, padded_pixels, window_counts, windows
from onebit.format.tensors import TensorSpec, packed
from onebit.format.values import BITS, FLOAT, MAX_SIDE, PIXELS, Shape

MAX_ZERO_PADDED_KERNEL = 512  # side of a kernel of binary_conv2d with pad_value 0
MAX_INT8_SIDE = 16  # of a kernel of int8_conv2d
MAX_INT8_TERMS = 1 << 15  # products in a sum of int8_conv2d, so that it fits an int32
ZERO_UNIT = 256  # of a pixel value, the unit of the zeros of int8_conv2d


def weight_sides(use: Use, divisor: int = 1, divisor_name: str = "groups") -> tuple[int, int, int]:
    """Out channels, rows and columns of the filters; FormatError where the weight has no such sides, or where
    ``divisor`` does not divide the out channels.
    """
    role = next(role for role in WEIGHT_ROLES if role in use.tensors)
    field, sides = f"tensors.{role}", use.tensors[role].shape
    if len(sides) != 4 or 0 in sides:
        raise refusal(field, list(sides), "a tensor [out channels, kernel height, kernel width, depth]")
    if max(sides[:3]) > MAX_SIDE:
        raise refusal(field, list(sides), f"sides up to {MAX_SIDE}")
    if sides[0] % divisor:
        raise refusal(field, list(sides), f"out channels a multiple of {divisor_name} = {divisor}")
    return sides[0], sides[1], sides[2]


def _depth(use: Use) -> int:
    """Input channels of a group."""
    groups, channels = use.attrs["groups"], use.shape[2]
    if channels % groups:
        raise refusal("attrs.groups", groups, f"a divisor of the {channels} input channels")
    return channels // groups


def _shape(use: Use) -> Shape:
    (height, width, _), attrs = use.shape, use.attrs
    out, *kernel = weight_sides(use)
    depth = words_for(_depth(use)) * WORD
    check_size("products in a sum", "tensors.weight", math.prod(kernel) * depth)
    pixels = padded_pixels((height, width), attrs["padding"])
    check_size("elements of the padded map", "attrs.padding", pixels * attrs["groups"] * depth)
    rows, columns = window_counts((height, width), kernel, attrs["stride"], attrs["padding"], attrs["dilation"])
    return rows, columns, out


def _products(use: Use) -> int:
    rows, columns, out = _shape(use)
    _, *kernel = weight_sides(use)
    return rows * columns * out * math.prod(kernel) * _depth(use)


def _borders(use: Use) -> int:
    """Upper bound of the number of outputs with different overlaps with the border, for each of which the core keeps a
    sum.
    """
    rows, columns, _ = _shape(use)
    reach = [-(-p // s) for p, s in zip(use.attrs["padding"], use.attrs["stride"], strict=True)]
    return min(rows, 2 * reach[0] + 1) * min(columns, 2 * reach[1] + 1)


def _memory(use: Use, units: int, weight_bytes: int, map_bytes: int, borders: int = 0) -> Memory:
    """Memory of a convolution whose groups have ``units`` words or numbers of channels, each of ``map_bytes`` in a map
    and ``weight_bytes`` in a weight.
    """
    attrs, (height, width, _) = use.attrs, use.shape
    out, *kernel = weight_sides(use)
    rows = attrs["groups"] * round_up(out // attrs["groups"], BLOCK)
    pixels = padded_pixels((height, width), attrs["padding"])
    row_bytes = pixels // (height + 2 * attrs["padding"][0]) * attrs["groups"] * units * map_bytes
    stripe = STRIPE * attrs["stride"][0] + (kernel[0] - 1) * attrs["dilation"][0]
    return Memory(
        weights=math.prod(kernel) * (rows * units * weight_bytes + 64) + rows + borders * round_up(out, BLOCK) * 4,
        scratch=pixels * attrs["groups"] * units * map_bytes,
        worker_scratch=TILE * round_up(out, BLOCK) * 4
        + min(stripe + 1, height + 2 * attrs["padding"][0]) * 2 * row_bytes,
    )


def _convolve(
    x_NHWC: NDArray[Any],
    w_OKLC: NDArray[Any],
    stride: Pair,
    padding: Pair,
    dilation: Pair,
    groups: int,
    fill: float = 0.0,
) -> NDArray[Any]:
    views = windows(x_NHWC, w_OKLC.shape[1:3], stride, padding, dilation, fill)
    outs = [
        np.tensordot(x_NHWCKL, w, axes=([3, 4, 5], [3, 1, 2]))
        for x_NHWCKL, w in zip(np.split(views, groups, axis=3), np.split(w_OKLC, groups, axis=0), strict=True)
    ]
    return np.concatenate(outs, axis=3)


# ---------------------------------------------------------------------------------------------------------------
# Of bits
# ---------------------------------------------------------------------------------------------------------------


def _binary_tensors(use: Use) -> Mapping[str, TensorSpec]:
    depth = _depth(use)
    return {"weight": packed(*weight_sides(use, use.attrs["groups"]), bits=depth)}


def _binary_shape(use: Use) -> Shape:
    out, rows, columns = weight_sides(use)
    shuffle = use.attrs.get("shuffle", 1)
    if out % shuffle:
        raise refusal("attrs.shuffle", shuffle, f"a divisor of the {out} output channels")
    if use.attrs["pad_value"] == 0 and max(rows, columns) > MAX_ZERO_PADDED_KERNEL:
        allowed = f"kernels up to {MAX_ZERO_PADDED_KERNEL} with attrs.pad_value = 0"
        raise refusal("tensors.weight", [out, rows, columns], allowed)
    return _shape(use)


def _binary_memory(use: Use) -> Memory:
    borders = _borders(use) if use.attrs["pad_value"] == 0 else 0
    return _memory(use, words_for(_depth(use)), 8, 16, borders)


def _binary_conv2d(
    x: NDArray[np.bool_],
    *,
    weight: NDArray[np.bool_],
    stride: Pair,
    padding: Pair,
    dilation: Pair,
    groups: int,
    pad_value: int,
    shuffle: int = 1,
) -> NDArray[np.float64]:
    signs_NHWC, signs_OKLC = signs(x).astype(np.float64), signs(weight).astype(np.float64)
    return shuffled(_convolve(signs_NHWC, signs_OKLC, stride, padding, dilation, groups, pad_value), shuffle)


# ---------------------------------------------------------------------------------------------------------------
# Of floats
# ---------------------------------------------------------------------------------------------------------------


def _real_tensors(use: Use) -> Mapping[str, TensorSpec]:
    depth, sides = _depth(use), weight_sides(use, use.attrs["groups"])
    if "weight_bits" in use.tensors:
        return {"weight_bits": packed(*sides, bits=depth)}
    return {"weight": TensorSpec("float32", (*sides, depth))}


def _real_memory(use: Use) -> Memory:
    return _memory(use, _depth(use), 8, 4)  # some kernels keep up to twice as many weights as there are


def _conv2d(
    x: NDArray[np.float32],
    *,
    weight: NDArray[np.float32] | None = None,
    weight_bits: NDArray[np.bool_] | None = None,
    stride: Pair,
    padding: Pair,
    dilation: Pair,
    groups: int,
) -> NDArray[np.float32]:
    weight_OKLC = weight if weight_bits is None else signs(weight_bits)
    assert weight_OKLC is not None
    return _convolve(x, weight_OKLC, stride, padding, dilation, groups).astype(np.float32)


# ---------------------------------------------------------------------------------------------------------------
# Of pixels
# ---------------------------------------------------------------------------------------------------------------


def _int8_tensors(use: Use) -> Mapping[str, TensorSpec]:
    depth = _depth(use)
    out, rows, columns = weight_sides(use, use.attrs["groups"])
    sides = (out, rows, columns, depth)
    if max(rows, columns) > MAX_INT8_SIDE:
        raise refusal("tensors.weight", list(sides), f"kernel sides up to {MAX_INT8_SIDE}")
    if math.prod(sides[1:]) > MAX_INT8_TERMS:
        raise refusal("tensors.weight", list(sides), f"at most {MAX_INT8_TERMS} weights for each output channel")
    return {
        "weight": TensorSpec("int8", sides, lowest=-127, highest=127),
        "zero": TensorSpec("int32", (use.shape[2],), lowest=0, highest=255 * ZERO_UNIT),
        "scale": TensorSpec("float32", (out,)),
    }


def _int8_memory(use: Use) -> Memory:
    return _memory(use, round_up(_depth(use), 4), 2, 2, _borders(use))


def int8_sums(
    pixels_NHWC: NDArray[np.uint8],
    *,
    weight: NDArray[np.int8],
    zero: NDArray[np.int32],
    stride: Pair,
    padding: Pair,
    dilation: Pair,
    groups: int,
) -> NDArray[np.float64]:
    """The exact integers of an int8 convolution, ``sum w p - round(sum w zero / 256)`` over the taps inside the map."""
    weight_OKLC = weight.astype(np.float64)
    zeros_NHWC = np.broadcast_to(zero, (1, *pixels_NHWC.shape[1:])).astype(np.float64)
    sums, shift = (
        _convolve(x_NHWC, weight_OKLC, stride, padding, dilation, groups)
        for x_NHWC in (pixels_NHWC.astype(np.float64), zeros_NHWC)
    )
    return sums - np.floor((shift + ZERO_UNIT / 2) / ZERO_UNIT)


def _int8_conv2d(x: NDArray[np.uint8], *, scale: NDArray[np.float32], **rest: NDArray[Any]) -> NDArray[np.float32]:
    return scale * int8_sums(x, **rest).astype(np.float32)  # type: ignore[arg-type]


_ATTRS = {"stride": pair(1), "padding": pair(0), "dilation": pair(1), "groups": whole(1)}

OPS = {
    "binary_conv2d": Op(
        takes=BITS,
        attrs={**_ATTRS, "pad_value": one_of(-1, 0, 1)},
        optional={"shuffle": whole(1)},
        roles=(frozenset({"weight"}),),
        tensors=_binary_tensors,
        shape=_binary_shape,
        products=_products,
        memory=_binary_memory,
        runs_as="1-bit",
        exact=True,
        add_rank=2,
        reference=_binary_conv2d,
    ),
    "conv2d": Op(
        takes=FLOAT,
        attrs=_ATTRS,
        roles=(frozenset({"weight"}), frozenset({"weight_bits"})),
        tensors=_real_tensors,
        shape=_shape,
        products=_products,
        memory=_real_memory,
        add_rank=1,
        counterparts={PIXELS: "int8_conv2d"},
        builders={"weight_bits": "conv2d_bits"},
        reference=_conv2d,
    ),
    "int8_conv2d": Op(
        takes=PIXELS,
        attrs=_ATTRS,
        roles=(frozenset({"weight", "zero", "scale"}),),
        tensors=_int8_tensors,
        shape=_shape,
        products=_products,
        memory=_int8_memory,
        runs_as="int8",
        reference=_int8_conv2d,
    ),
}
