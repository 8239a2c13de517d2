"""Type, shape and range of a tensor in its role, and its unpacked values."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onebit.format.bits import WORD, unpack_bits, words_for
from onebit.format.errors import refusal


@dataclass(frozen=True)
class TensorSpec:
    """Type, shape and range of a tensor.

    Attributes:
        dtype: "float32", finite; "int32" or "int8"; or "uint32" for packed bits.
        shape: its shape.
        bits: for packed bits, the number of bits in each row of ``words_for(bits)`` words along the last axis; unused
            bits must be 0.
        lowest, highest: for integers, their range.
    """

    dtype: str
    shape: tuple[int, ...]
    bits: int = 0
    lowest: int | None = None
    highest: int | None = None

    @property
    def entries(self) -> int:
        """Number of elements; each bit counts as one."""
        return math.prod(self.shape) // words_for(self.bits) * self.bits if self.bits else math.prod(self.shape)

    @property
    def entry_bits(self) -> int:
        """Bits per element: 1, 8 or 32."""
        return 1 if self.bits else 8 * np.dtype(self.dtype).itemsize

    def check(self, field: str, name: str, tensor: NDArray[Any]) -> None:
        """FormatError if ``tensor``, with ``name`` in the file, has another type or shape, an element that is not
        finite or out of range, or an unused bit that is 1.
        """
        where = f"{field} (tensor {name})"
        if tensor.dtype != self.dtype or tensor.shape != self.shape:
            raise refusal(where, f"{tensor.dtype} {list(tensor.shape)}", f"{self.dtype} {list(self.shape)}")
        if self.dtype == "float32" and not np.isfinite(tensor).all():
            raise refusal(where, "NaN or infinity", "finite numbers")
        if self.lowest is not None and tensor.size:
            for extreme in (int(tensor.min()), int(tensor.max())):
                if not self.lowest <= extreme <= self.highest:  # type: ignore[operator]
                    raise refusal(where, extreme, f"numbers from {self.lowest} to {self.highest}")
        tail = self.bits % WORD
        if tail and (tensor.reshape(-1, words_for(self.bits))[:, -1] >> np.uint32(tail)).any():
            raise refusal(where, "1 in an unused bit", f"0 past channel {self.bits}")

    def unpacked(self, tensor: NDArray[Any]) -> NDArray[Any]:
        """The tensor with one entry per element: bits become booleans along the last axis, True for 1."""
        if not self.bits:
            return tensor
        entries = unpack_bits(tensor.reshape(-1, words_for(self.bits)), self.bits)
        return entries.reshape(*self.shape[:-1], -1)


def packed(*sides: int, bits: int, repeats: int = 1) -> TensorSpec:
    """Packed bits: along the last axis ``repeats`` rows of words that hold ``bits`` each."""
    return TensorSpec("uint32", (*sides, repeats * words_for(bits)), bits=bits)
