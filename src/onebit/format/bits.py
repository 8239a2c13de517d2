"""Packing of signs into 32-bit words: the runtime's only definition of the bit order.

Bit 0 is +1 (high), bit 1 is -1 (low).  Entry ``c`` of the last axis is bit ``c % 32``, least significant first, of word
``c // 32``; the unused bits of the last word are 0.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

WORD = 32


def words_for(count: int) -> int:
    """How many 32-bit words hold ``count`` bits."""
    return -(-count // WORD)


def is_low(x: NDArray[Any], rule: str, threshold: NDArray[Any] | float = 0.0) -> NDArray[np.bool_]:
    """Whether a float maps to the low level: ``x < t`` for the rule "sign", ``x <= t`` for the rule "step"."""
    return x < threshold if rule == "sign" else x <= threshold


def pack_bits(low: NDArray[np.bool_]) -> NDArray[np.uint32]:
    """Pack booleans (True = bit 1 = low) along the last axis: (..., C) -> (..., ceil(C/32))."""
    count = low.shape[-1]
    padding = [(0, 0)] * (low.ndim - 1) + [(0, words_for(count) * WORD - count)]
    octets = np.packbits(np.pad(low, padding), axis=-1, bitorder="little")
    return np.ascontiguousarray(octets).view("<u4").astype(np.uint32, copy=False)


def unpack_bits(words: NDArray[np.uint32], count: int) -> NDArray[np.bool_]:
    """Inverse of :func:`pack_bits`: (..., ceil(count/32)) words -> (..., count) booleans."""
    octets = np.ascontiguousarray(words.astype("<u4", copy=False)).view(np.uint8)
    return np.unpackbits(octets, axis=-1, count=count, bitorder="little").astype(bool)


def signs(low: NDArray[np.bool_]) -> NDArray[np.float32]:
    """The values of booleans (True = bit 1 = low): False -> +1, True -> -1, as float32."""
    return np.where(low, np.float32(-1), np.float32(1))


def unpack_signs(words: NDArray[np.uint32], count: int) -> NDArray[np.float32]:
    """The signs of packed bits: bit 0 -> +1, bit 1 -> -1, as float32."""
    return signs(unpack_bits(words, count))
