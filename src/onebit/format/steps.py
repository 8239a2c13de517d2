"""The table of epilogue steps: one row each, with its reference computation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onebit.format.bits import is_low
from onebit.format.checks import Check, number, one_of
from onebit.format.errors import refusal
from onebit.format.tensors import TensorSpec, packed
from onebit.format.values import BITS, FLOAT, FLOATS, HALF

PerChannel = Callable[[int, int], TensorSpec]  # of channels and positions


def _reals(channels: int, positions: int) -> TensorSpec:
    return TensorSpec("float32", (positions * channels,))


def _integers(channels: int, positions: int) -> TensorSpec:
    return TensorSpec("int32", (positions * channels,))


def _flags(channels: int, positions: int) -> TensorSpec:
    return packed(bits=channels, repeats=positions)


def _anything(here: str, step: Any) -> None:
    return None


@dataclass(frozen=True)
class Step:
    """The complete definition of an epilogue step; docs/format.md describes it in words.

    Attributes:
        reference: the NumPy definition; takes the current result (N, H, W, C) and the step's fields by name: tensors
            broadcast against the result (flags as booleans), ``input`` as a float map.  Returns the new result or, if
            the step writes a value, that value.
        settings, options: required and optional fields that are numbers or strings.
        tensors, optional_tensors: fields that name tensors, and what these must be.
        check: check of the whole step: FormatError if settings are inconsistent.
        reads: whether it reads another float value, in the field ``input``.
        writes: type of the value that it writes, named in the field ``output``; None if it changes the current result.
        exact: whether it takes the exact integer of an op, and is then the only step.
        bits: whether it may follow an op whose result is bits, and is then the only step.
        margin: for a step that computes bits from floats, the distance of each float from its threshold.
    """

    reference: Callable[..., NDArray[Any]]
    settings: Mapping[str, Check] = field(default_factory=dict)
    options: Mapping[str, Check] = field(default_factory=dict)
    tensors: Mapping[str, PerChannel] = field(default_factory=dict)
    optional_tensors: Mapping[str, PerChannel] = field(default_factory=dict)
    check: Check = _anything
    reads: bool = False
    writes: str | None = None
    exact: bool = False
    bits: bool = False
    margin: Callable[..., NDArray[Any]] | None = None

    @property
    def of_one_variable(self) -> bool:
        """Whether it is an elementwise function of the current result only."""
        return self.writes is None and not self.reads

    @property
    def tables(self) -> Mapping[str, PerChannel]:
        """All fields that name tensors."""
        return {**self.tensors, **self.optional_tensors}


def _affine(y: NDArray[Any], *, scale: NDArray[Any], bias: NDArray[Any]) -> NDArray[Any]:
    return scale * y + bias


def _slopes(y: NDArray[Any], *, positive: NDArray[Any], negative: NDArray[Any]) -> NDArray[Any]:
    zero = np.float32(0)
    return positive * np.maximum(y, zero) + negative * np.minimum(y, zero)


def _clamp(y: NDArray[Any], *, low: float, high: float) -> NDArray[Any]:
    return np.clip(y, np.float32(low), np.float32(high))


def _ordered(here: str, step: Any) -> None:
    if step["low"] > step["high"]:
        raise refusal(f"{here}.low", step["low"], f"at most high = {step['high']}")


def _add(y: NDArray[Any], *, input: NDArray[Any]) -> NDArray[Any]:
    return y + input


def _levels(y: NDArray[Any], *, low: float, high: float, rule: str) -> NDArray[Any]:
    return np.where(is_low(y, rule), np.float32(low), np.float32(high))


def _binarize(y: NDArray[Any], *, rule: str, threshold: NDArray[Any] | float = 0.0) -> NDArray[np.bool_]:
    return is_low(y, rule, threshold)


def _margin(y: NDArray[Any], *, rule: str, threshold: NDArray[Any] | float = 0.0) -> NDArray[Any]:
    return y - threshold


def _threshold(y: NDArray[Any], *, below: NDArray[Any], flip: NDArray[Any]) -> NDArray[np.bool_]:
    return (y < below) ^ flip


def _store(y: NDArray[Any], *, type: str = FLOAT) -> NDArray[Any]:
    """Round to float16 as "float16" values do: to nearest, ties to even; infinity from 65,520 on."""
    if type != HALF:
        return y
    with np.errstate(over="ignore"):
        return y.astype(np.float16)


_RULE = one_of("sign", "step")
_RANGE = {"low": number, "high": number}

STEPS: dict[str, Step] = {
    "affine": Step(_affine, tensors={"scale": _reals, "bias": _reals}),
    "slopes": Step(_slopes, tensors={"positive": _reals, "negative": _reals}),
    "clamp": Step(_clamp, settings=_RANGE, check=_ordered),
    "add": Step(_add, reads=True),
    "levels": Step(_levels, settings={**_RANGE, "rule": _RULE}),
    "binarize": Step(
        _binarize, settings={"rule": _RULE}, optional_tensors={"threshold": _reals}, writes=BITS, margin=_margin
    ),
    "threshold": Step(_threshold, tensors={"below": _integers, "flip": _flags}, writes=BITS, exact=True),
    "store": Step(_store, options={"type": one_of(*FLOATS)}, writes=FLOAT, bits=True),
}
