"""Values that nodes pass to each other: their types, as in docs/format.md, and limits of their sizes."""

from __future__ import annotations

import math
from dataclasses import dataclass

from onebit.format.errors import refusal

FLOAT, HALF, BITS, PIXELS = "float32", "float16", "bits", "uint8"
FLOATS = (FLOAT, HALF)  # either is taken where a float is

MAX_SIDE = 65_536
MAX_ELEMENTS = 1 << 28

Shape = tuple[int, int, int]  # height, width, channels


@dataclass(frozen=True)
class Value:
    """Type ("float32", "float16", "bits", or "uint8" for pixels) and shape (height, width, channels) of a value."""

    type: str
    shape: Shape


def bounded(where: str, shape: Shape) -> Shape:
    """``shape``, if it is allowed for a value; else FormatError."""
    if any(side < 1 or side > MAX_SIDE for side in shape) or math.prod(shape) > MAX_ELEMENTS:
        raise refusal(where, shape, f"sides from 1 to {MAX_SIDE} and at most {MAX_ELEMENTS} elements")
    return shape
