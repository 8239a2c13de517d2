"""Sliding windows over a map: their number and their content."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

Pair = Sequence[int]  # vertical, horizontal


def window_counts(
    sides: Pair, kernel: Pair, stride: Pair, padding: Pair, dilation: Pair = (1, 1)
) -> tuple[int, int]:  # rows, columns
    """``floor((size + 2 padding - dilation (kernel - 1) - 1)/stride) + 1`` for each side; below 1 where none fits."""
    rows, columns = (
        (size + 2 * p - d * (k - 1) - 1) // s + 1
        for size, k, s, p, d in zip(sides, kernel, stride, padding, dilation, strict=True)
    )
    return rows, columns


def padded_pixels(sides: Pair, padding: Pair) -> int:
    """Number of pixels of the padded map."""
    return (sides[0] + 2 * padding[0]) * (sides[1] + 2 * padding[1])


def windows(
    x_NHWC: NDArray[Any], kernel: Pair, stride: Pair, padding: Pair, dilation: Pair = (1, 1), fill: float = 0.0
) -> NDArray[Any]:  # (N, H, W, C, K, L)
    """Every window of the map, padded with ``fill``."""
    (pad_h, pad_w), (step_h, step_w), (gap_h, gap_w) = padding, stride, dilation
    padded = np.pad(x_NHWC, [(0, 0), (pad_h, pad_h), (pad_w, pad_w), (0, 0)], constant_values=fill)
    reach = (gap_h * (kernel[0] - 1) + 1, gap_w * (kernel[1] - 1) + 1)
    return sliding_window_view(padded, reach, axis=(1, 2))[:, ::step_h, ::step_w, :, ::gap_h, ::gap_w]
