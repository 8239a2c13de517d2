"""What a core of this machine can do at most, measured on the spot: the yardstick of a profile."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import onebit._core as _core


@dataclass(frozen=True)
class Limits:
    """Multiply-accumulates per second, by kind; 0.0 where none is known.

    Each is the speed of the instructions that an inner loop cannot do without, on registers alone: XOR, population
    count and addition (AVX-512, NEON) or table look-ups and additions (AVX2) of bits, fused multiply-additions of
    floats, and of int8 the instructions that the CPU has for them: VPDPBUSD or SDOT, which multiply and add four at
    once, or a multiplication and an addition of pairs.
    """

    binary: float
    float32: float
    int8: float


@cache
def measure_limits(isa: str, threads: int = 1) -> Limits:
    """The limits under ``isa`` of ``threads`` threads together, measured in some milliseconds, once a process.

    Two threads may have less than twice what one has: where cores share their arithmetic units, or their clock sinks.
    Raises ValueError where ``isa`` cannot run here, or ``threads`` is outside 1...1024.
    """
    return Limits(**_core.limits(isa, threads))


def kernel_rate(isa: str, shape: tuple[int, int, int], out_channels: int, side: int = 3, repeats: int = 300) -> float:
    """Multiply-accumulates per second inside the binary kernel of ``isa``: a convolution of one image of ``shape``
    (height, width, channels) with ``side`` x ``side`` taps, stride 1 and padding (side - 1)/2 in the shortest of
    ``repeats`` times, without what prepares its input and what becomes of its sums.

    Raises ValueError where ``isa`` cannot run here or the sizes make no convolution.
    """
    height, width, channels = shape
    padding = (side - 1) // 2
    places = (height + 2 * padding - side + 1) * (width + 2 * padding - side + 1)
    seconds = _core.time_binary_kernel(isa, shape, out_channels, side, repeats)
    return places * side**2 * channels * out_channels / seconds
