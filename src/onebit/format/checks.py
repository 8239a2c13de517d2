"""Checks of single settings of a packed file; each raises FormatError, naming the field, or returns nothing."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from onebit.format.errors import refusal
from onebit.format.values import MAX_SIDE

Check = Callable[[str, Any], None]  # of a field's name and what was found there


def is_whole(value: object) -> bool:
    """Whether ``value`` is an integer; True and False are none."""
    return isinstance(value, int) and not isinstance(value, bool)


def whole(lowest: int, highest: int = MAX_SIDE) -> Check:
    """One integer in a range."""

    def check(field: str, value: Any) -> None:
        if not is_whole(value) or not lowest <= value <= highest:
            raise refusal(field, value, f"a whole number from {lowest} to {highest}")

    return check


def pair(lowest: int) -> Check:
    """Two integers, vertical and horizontal."""

    def check(field: str, value: Any) -> None:
        ok = isinstance(value, list | tuple) and len(value) == 2
        if not ok or not all(is_whole(v) and lowest <= v <= MAX_SIDE for v in value):
            raise refusal(field, value, f"two whole numbers from {lowest} to {MAX_SIDE}")

    return check


def one_of(*allowed: object) -> Check:
    """One of a few values."""

    def check(field: str, value: Any) -> None:
        if not any(type(value) is type(a) and value == a for a in allowed):
            raise refusal(field, value, " or ".join(map(repr, allowed)))

    return check


def number(field: str, value: Any) -> None:
    """A finite number."""
    if not (is_whole(value) or isinstance(value, float)) or not math.isfinite(value):
        raise refusal(field, value, "a finite number")


def text(field: str, value: Any) -> None:
    """Any text."""
    if not isinstance(value, str):
        raise refusal(field, value, "a text")


def check_fields(
    field: str, found: object, wanted: Mapping[str, Check], optional: Mapping[str, Check] | None = None
) -> None:
    """``found`` is an object with every wanted field and no others but the optional ones, all as their checks say."""
    optional = optional or {}
    if not isinstance(found, Mapping):
        raise refusal(field, found, "an object")
    if missing := sorted(set(wanted) - set(found)):
        raise refusal(field, f"no {', '.join(missing)}", f"fields {', '.join(sorted(wanted))}")
    if extra := sorted(map(str, set(found) - set(wanted) - set(optional))):
        raise refusal(field, extra, f"only the fields {', '.join(sorted({**wanted, **optional})) or '(none)'}")
    for name, check in {**wanted, **optional}.items():
        if name in found:
            check(f"{field}.{name}", found[name])
