"""The slow, plain interpreter: what every kernel of the C++ core must equal.

One short function per op and per epilogue step of docs/format.md, on whole batches.  Integer sums are exact: they are
sums of at most 2^24 terms of +-1, or 2^15 of int8 times uint8, held in float64.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from onebit.format.bits import is_low, pack_bits, unpack_bits, unpack_signs
from onebit.format.graph import (
    BITS,
    HALF,
    INTEGER_OPS,
    ZERO_UNIT,
    Graph,
    Node,
    Value,
    positions_of,
    validate,
)
from onebit.runtime.images import as_input

# Shape letters: N images, H W map, C channels, O out channels, K L kernel rows and columns, G groups.


def windows(
    x_NHWC: NDArray, kernel: tuple[int, int], attrs: Mapping[str, Any], fill: float
) -> NDArray:  # (N, H, W, C, K, L)
    """Every window of the map, padded with ``fill``, for the stride, padding and dilation in ``attrs``."""
    pad_h, pad_w = attrs["padding"]
    step_h, step_w = attrs["stride"]
    gap_h, gap_w = attrs.get("dilation", (1, 1))
    padded = np.pad(x_NHWC, [(0, 0), (pad_h, pad_h), (pad_w, pad_w), (0, 0)], constant_values=fill)
    reach = (gap_h * (kernel[0] - 1) + 1, gap_w * (kernel[1] - 1) + 1)
    return sliding_window_view(padded, reach, axis=(1, 2))[:, ::step_h, ::step_w, :, ::gap_h, ::gap_w]


def _convolve(x_NHWC: NDArray, w_OKLC: NDArray, attrs: Mapping[str, Any], fill: float) -> NDArray:
    groups = attrs["groups"]
    views = windows(x_NHWC, w_OKLC.shape[1:3], attrs, fill)
    outs = [
        np.tensordot(x_NHWCKL, w, axes=([3, 4, 5], [3, 1, 2]))
        for x_NHWCKL, w in zip(np.split(views, groups, axis=3), np.split(w_OKLC, groups, axis=0), strict=True)
    ]
    return np.concatenate(outs, axis=3)


def _binary_conv2d(node: Node, tensors: Mapping[str, NDArray], channels: int, x: NDArray) -> NDArray:
    signs_NHWC = unpack_signs(x, channels).astype(np.float64)
    signs_OKLC = unpack_signs(tensors[node.tensors["weight"]], channels // node.attrs["groups"])
    y = _convolve(signs_NHWC, signs_OKLC.astype(np.float64), node.attrs, node.attrs["pad_value"])
    return _shuffled(y, node.attrs.get("shuffle", 1))


def _conv2d(node: Node, tensors: Mapping[str, NDArray], channels: int, x: NDArray) -> NDArray:
    if "weight" in node.tensors:
        weight_OKLC = tensors[node.tensors["weight"]]
    else:
        weight_OKLC = unpack_signs(tensors[node.tensors["weight_bits"]], channels // node.attrs["groups"])
    return _convolve(x, weight_OKLC, node.attrs, 0.0).astype(np.float32)


def int8_sums(node: Node, tensors: Mapping[str, NDArray], pixels_NHWC: NDArray[np.uint8]) -> NDArray[np.float64]:
    """The exact integers of an int8 convolution, ``sum w p - round(sum w zero / 256)`` over the taps inside the map."""
    weight_OKLC = tensors[node.tensors["weight"]].astype(np.float64)
    zeros_NHWC = np.broadcast_to(tensors[node.tensors["zero"]], (1, *pixels_NHWC.shape[1:])).astype(np.float64)
    sums, shift = (_convolve(x, weight_OKLC, node.attrs, 0.0) for x in (pixels_NHWC.astype(np.float64), zeros_NHWC))
    return sums - np.floor((shift + ZERO_UNIT / 2) / ZERO_UNIT)


def _int8_conv2d(node: Node, tensors: Mapping[str, NDArray], channels: int, x: NDArray) -> NDArray:
    return tensors[node.tensors["scale"]] * int8_sums(node, tensors, x).astype(np.float32)


def _rpc(x_NHWC: NDArray, w_OKLC: NDArray, attrs: Mapping[str, Any], fill: float) -> NDArray:
    """Roll, pad to whole blocks, one convolution per block, spread its channels over upscale x upscale pixels, crop,
    roll back.
    """
    block, upscale, roll = attrs["block"], attrs["upscale"], attrs["roll"]
    count, height, width, _ = x_NHWC.shape
    rolled = np.roll(x_NHWC, (-roll, -roll), axis=(1, 2))
    whole = np.pad(rolled, [(0, 0), (0, -height % block), (0, -width % block), (0, 0)], constant_values=fill)
    y = _convolve(whole, w_OKLC, {"stride": (block, block), "padding": (0, 0), "groups": 1}, fill)
    rows, columns, out = y.shape[1:]
    y = y.reshape(count, rows, columns, upscale, upscale, out // upscale**2).transpose(0, 1, 3, 2, 4, 5)
    y = y.reshape(count, rows * upscale, columns * upscale, out // upscale**2)
    y = y[:, : -(-height * upscale // block), : -(-width * upscale // block)]
    return np.roll(y, (roll, roll), axis=(1, 2))


def _binary_rpc2d(node: Node, tensors: Mapping[str, NDArray], channels: int, x: NDArray) -> NDArray:
    signs_NHWC = unpack_signs(x, channels).astype(np.float64)
    signs_OKLC = unpack_signs(tensors[node.tensors["weight"]], channels).astype(np.float64)
    return _rpc(signs_NHWC, signs_OKLC, node.attrs, node.attrs["pad_value"])


def _rpc2d(node: Node, tensors: Mapping[str, NDArray], channels: int, x: NDArray) -> NDArray:
    return _rpc(x, tensors[node.tensors["weight"]], node.attrs, 0.0).astype(np.float32)


def _max_pool2d(node: Node, tensors: Mapping[str, NDArray], channels: int, x: NDArray) -> NDArray:
    return windows(x, tuple(node.attrs["kernel"]), node.attrs, -np.inf).max(axis=(4, 5))


def _avg_pool2d(node: Node, tensors: Mapping[str, NDArray], channels: int, x: NDArray) -> NDArray:
    kernel = tuple(node.attrs["kernel"])
    total = windows(x, kernel, node.attrs, 0.0).sum(axis=(4, 5), dtype=np.float64)
    if node.attrs["count_include_pad"]:
        return (total / (kernel[0] * kernel[1])).astype(np.float32)
    inside = windows(np.ones_like(x[:1, :, :, :1]), kernel, node.attrs, 0.0).sum(axis=(4, 5))
    return (total / inside).astype(np.float32)


def _bit_max_pool2d(node: Node, tensors: Mapping[str, NDArray], channels: int, x: NDArray) -> NDArray:
    flip_C = unpack_bits(tensors[node.tensors["flip"]], channels)
    flipped = unpack_bits(x, channels) ^ flip_C  # after the flip, pooling is "low only if all are low"
    return pack_bits(windows(flipped, tuple(node.attrs["kernel"]), node.attrs, True).all(axis=(4, 5)) ^ flip_C)


def _flatten(node: Node, tensors: Mapping[str, NDArray], channels: int, x: NDArray) -> NDArray:
    return x.transpose(0, 3, 1, 2).reshape(len(x), 1, 1, -1)


def _pad_channels(node: Node, tensors: Mapping[str, NDArray], channels: int, x: NDArray) -> NDArray:
    return np.pad(x, [(0, 0)] * 3 + [(node.attrs["before"], node.attrs["after"])])


def _concat(node: Node, tensors: Mapping[str, NDArray], channels: int, *maps: NDArray) -> NDArray:
    return np.concatenate(maps, axis=3)


def _shuffled(x_NHWC: NDArray, groups: int) -> NDArray:
    """Channel i*groups + g of the result is channel g*n + i of ``x``, n = C/groups."""
    grouped = x_NHWC.reshape(*x_NHWC.shape[:3], groups, x_NHWC.shape[3] // groups)
    return grouped.swapaxes(3, 4).reshape(x_NHWC.shape)


def _shuffle_channels(node: Node, tensors: Mapping[str, NDArray], channels: int, x: NDArray) -> NDArray:
    return _shuffled(x, node.attrs["groups"])


def _elementwise(node: Node, tensors: Mapping[str, NDArray], channels: int, x: NDArray) -> NDArray:
    return x


_OPS: Mapping[str, Callable[..., NDArray]] = {
    "binary_conv2d": _binary_conv2d,
    "conv2d": _conv2d,
    "int8_conv2d": _int8_conv2d,
    "binary_rpc2d": _binary_rpc2d,
    "rpc2d": _rpc2d,
    "max_pool2d": _max_pool2d,
    "avg_pool2d": _avg_pool2d,
    "bit_max_pool2d": _bit_max_pool2d,
    "elementwise": _elementwise,
    "flatten": _flatten,
    "pad_channels": _pad_channels,
    "concat": _concat,
    "shuffle_channels": _shuffle_channels,
}


def _spread(table_PC: NDArray, node: Node, map_NHWC: NDArray) -> NDArray:
    """A table over positions and channels as it applies to the result map of ``node``: (C,), or (H, W, C)."""
    if len(table_PC) == 1:
        return table_PC[0]
    upscale, roll = node.attrs["upscale"], node.attrs["roll"]
    height, width, channels = map_NHWC.shape[1:]
    row_H, column_W = ((np.arange(side) - roll) % side % upscale for side in (height, width))
    return table_PC.reshape(upscale, upscale, channels)[row_H[:, None], column_W]


def _floats(map_NHWC: NDArray) -> NDArray:
    """A value as ops take it: halves become the floats that they are."""
    return map_NHWC.astype(np.float32) if map_NHWC.dtype == np.float16 else map_NHWC


def as_stored(y: NDArray, type: str) -> NDArray:
    """What a value of ``type`` holds of floats: they themselves, or as "float16" the nearest, of two the even one;
    infinity from 65,520 on.
    """
    if type != HALF:
        return y
    with np.errstate(over="ignore"):
        return y.astype(np.float16)


def _apply(
    y: NDArray, step: Mapping[str, Any], table: Callable[[str], NDArray], values: Mapping[str, NDArray]
) -> NDArray:
    """One step that changes the current result; docs/format.md has the formulas."""
    zero = np.float32(0)
    match step["step"]:
        case "affine":
            return table(step["scale"]) * y + table(step["bias"])
        case "slopes":
            return table(step["positive"]) * np.maximum(y, zero) + table(step["negative"]) * np.minimum(y, zero)
        case "clamp":
            return np.clip(y, np.float32(step["low"]), np.float32(step["high"]))
        case "add":
            return y + _floats(values[step["input"]])
        case "levels":
            return np.where(is_low(y, step["rule"]), np.float32(step["low"]), np.float32(step["high"]))
    raise AssertionError(step)


def run_node(
    node: Node,
    shapes: Mapping[str, Value],
    tensors: Mapping[str, NDArray],
    values: dict[str, NDArray],
    margins: dict[str, NDArray] | None = None,
) -> None:
    """Compute ``node`` on the values (batches) that it names and write its outputs into ``values``.

    ``margins``, if given, receives for each value of bits made from floats how far every float was from its threshold.
    """
    y = _OPS[node.op](node, tensors, shapes[node.inputs[0]].shape[2], *(_floats(values[name]) for name in node.inputs))
    if node.op in INTEGER_OPS and node.epilogue[0]["step"] != "threshold":
        y = y.astype(np.float32)

    def table(name: str) -> NDArray:
        return _spread(tensors[name].reshape(positions_of(node), -1), node, y)

    for step in node.epilogue:
        match step["step"]:
            case "store":
                values[step["output"]] = as_stored(y, shapes[step["output"]].type)
            case "binarize":
                limit = table(step["threshold"]) if "threshold" in step else 0.0
                values[step["output"]] = pack_bits(is_low(y, step["rule"], limit))
                if margins is not None:
                    margins[step["output"]] = y - limit
            case "threshold":
                flip_PC = unpack_bits(tensors[step["flip"]].reshape(positions_of(node), -1), y.shape[3])
                values[step["output"]] = pack_bits((y < table(step["below"])) ^ _spread(flip_PC, node, y))
            case _:
                y = _apply(y, step, table, values)


class ReferenceEngine:
    """Interpreter of a graph with the same face as the C++ engine; for tests and ``onebit verify``."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.shapes = validate(graph)
        self.output_shape = self.shapes[graph.output].shape
        self._values: dict[str, NDArray] = {}

    def run(self, images_NHWC: NDArray) -> NDArray[np.float32]:
        """Normalized float32 images (or raw uint8 pixels) to the output map, both (N, H, W, C)."""
        spec = self.graph.input
        values = {spec.name: as_input(images_NHWC, spec)}
        for node in self.graph.nodes:
            run_node(node, self.shapes, self.graph.tensors, values)
        self._values = values
        return values[self.graph.output]

    def values(self) -> dict[str, NDArray]:
        """Every value of the last run but the input, by name: float32 or float16 (N, H, W, C), or uint32 words of the
        bits.
        """
        return {name: value for name, value in self._values.items() if name != self.graph.input.name}

    def signs(self, name: str) -> NDArray[np.float32]:
        """A value of bits as -1/+1 floats (N, H, W, C)."""
        value = self.shapes[name]
        if value.type != BITS:
            raise ValueError(f"value {name!r} holds {value.type}, not bits")
        return unpack_signs(self._values[name], value.shape[2])
