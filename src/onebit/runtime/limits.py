"""Peak throughput of a core of this machine, measured at run time; profiles are compared with it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import onebit._core as _core


@dataclass(frozen=True)
class Limits:
    """Peak multiply-accumulates per second by type; 0.0 where unknown.

    Each is the throughput of the instructions that an inner loop needs at least, on registers only: XOR, population
    count and addition (AVX-512, NEON) or table lookups and additions (AVX2) for bits; fused multiply-adds for floats;
    and for int8 four-way dot products (VPDPBUSD, SDOT), or a multiplication and an addition of pairs.
    """

    binary: float
    float32: float
    int8: float


@cache
def measure_limits(isa: str, threads: int = 1) -> Limits:
    """Measure the throughput limits of ``isa`` on ``threads`` threads together; takes milliseconds, once per process.

    Two threads may reach less than twice the limit of one, where cores share arithmetic units or lower their clock.
    Raises ValueError if this CPU cannot run ``isa``, or ``threads`` is outside 1...1024.
    """
    return Limits(**_core.limits(isa, threads))


def kernel_rate(isa: str, shape: tuple[int, int, int], out_channels: int, side: int = 3, repeats: int = 300) -> float:
    """Multiply-accumulates per second inside the binary kernel of ``isa``.

    The kernel computes a convolution of one image of ``shape`` (height, width, channels) with ``side`` x ``side`` taps,
    stride 1 and padding (side - 1)/2.  The minimum of ``repeats`` times counts, without preparation of the input and
    without the epilogue.

    Raises ValueError if this CPU cannot run ``isa`` or the sizes are not valid for a convolution.
    """
    height, width, channels = shape
    padding = (side - 1) // 2
    places = (height + 2 * padding - side + 1) * (width + 2 * padding - side + 1)
    seconds = _core.time_binary_kernel(isa, shape, out_channels, side, repeats)
    return places * side**2 * channels * out_channels / seconds
