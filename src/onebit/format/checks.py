"""Checks of single fields of a packed file; each raises FormatError with the name of the field, or returns nothing."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from onebit.format.errors import refusal, shown
from onebit.format.values import MAX_SIDE

LARGEST = 3.4028234663852886e38  # float32
MAX_NAME = 1024
MAX_DEPTH = 32  # of what is free to hold anything

Check = Callable[[str, Any], None]  # of a field's name and what was found there


def is_whole(value: object) -> bool:
    """Whether ``value`` is an integer and not a boolean."""
    return isinstance(value, int) and not isinstance(value, bool)


def whole(lowest: int, highest: int = MAX_SIDE) -> Check:
    """One integer in a range."""

    def check(field: str, value: Any) -> None:
        if not is_whole(value) or not lowest <= value <= highest:
            raise refusal(field, value, f"an integer from {lowest} to {highest}")

    return check


def pair(lowest: int) -> Check:
    """Two integers, vertical and horizontal."""

    def check(field: str, value: Any) -> None:
        ok = isinstance(value, list | tuple) and len(value) == 2
        if not ok or not all(is_whole(v) and lowest <= v <= MAX_SIDE for v in value):
            raise refusal(field, value, f"two integers from {lowest} to {MAX_SIDE}")

    return check


def one_of(*allowed: object) -> Check:
    """One of a few values."""

    def check(field: str, value: Any) -> None:
        if not any(type(value) is type(a) and value == a for a in allowed):
            raise refusal(field, value, " or ".join(map(repr, allowed)))

    return check


def number(field: str, value: Any) -> None:
    """A number that is finite as a float32."""
    if not (is_whole(value) or isinstance(value, float)) or not -LARGEST <= value <= LARGEST:
        raise refusal(field, value, f"a finite number, of a float32, up to {LARGEST:.6g}")


def text(field: str, value: Any) -> None:
    """Any string that can be encoded as UTF-8."""
    if not _is_text(value):
        raise refusal(field, value, "a string")


def _is_text(value: object) -> bool:
    try:
        return isinstance(value, str) and (value.isascii() or bool(value.encode()))
    except UnicodeEncodeError:  # half of a surrogate pair
        return False


def printable_name(field: str, value: Any) -> None:
    """A name of a node, a value or a tensor."""
    if not isinstance(value, str) or not 1 <= len(value) <= MAX_NAME or not value.isprintable():
        raise refusal(field, value, f"a string of 1 to {MAX_NAME} printable characters")


def plain(field: str, value: Any) -> None:
    """Plain JSON values: strings, finite numbers, true, false, null, lists, objects."""
    fault = _fault(value, MAX_DEPTH)
    if fault is not None:
        path, found, allowed = fault
        raise refusal("".join([field, *(f"[{shown(key, 40)}]" for key in path)]), found, allowed)


def _fault(value: Any, depth: int) -> tuple[tuple[object, ...], object, str] | None:
    """Path, value and allowed values of the first entry that :func:`plain` refuses."""
    if value is None or isinstance(value, bool) or _is_text(value):
        return None
    if isinstance(value, int):
        return None if -(2**63) <= value < 2**63 else ((), value, "integers that an int64 holds")
    if isinstance(value, float):
        return None if math.isfinite(value) else ((), value, "finite numbers")
    if not isinstance(value, Mapping | list | tuple):
        return (), value, "strings, numbers, true, false, null, lists and objects"
    if depth == 0:
        return (), value, f"lists and objects up to {MAX_DEPTH} deep"
    for key, entry in value.items() if isinstance(value, Mapping) else enumerate(value):
        if isinstance(value, Mapping) and not _is_text(key):
            return (), key, "strings as the names of what an object holds"
        if (fault := _fault(entry, depth - 1)) is not None:
            return (key, *fault[0]), *fault[1:]
    return None


def check_fields(
    field: str, found: object, wanted: Mapping[str, Check], optional: Mapping[str, Check] | None = None
) -> None:
    """``found`` is an object with all wanted fields, none besides these and the optional ones, and all pass their
    checks.
    """
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
