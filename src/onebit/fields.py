"""Validation of the fields of documents that are read from files."""

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple


class Rule(NamedTuple):
    """A check of a field's value, and a description of the allowed values."""

    accepts: Callable[[Any], bool]
    allowed: str


def check_fields(value: object, rules: Mapping[str, Rule], owner: str = "") -> None:
    """Raise ValueError with the field, the value found and the values allowed; fields without a rule may hold anything.

    Args:
        owner: name of the field that holds ``value``, "" for the document itself.
    """
    if not isinstance(value, Mapping):
        raise ValueError(f"{f'field {owner!r}' if owner else 'the document'} must be an object, got {short(value)}")
    for name, rule in rules.items():
        full = f"{owner}.{name}" if owner else name
        if name not in value:
            raise ValueError(f"field {full!r} is missing; it must be {rule.allowed}")
        if not rule.accepts(value[name]):
            raise ValueError(f"field {full!r} must be {rule.allowed}, got {short(value[name])}")


def short(value: object) -> str:
    """``repr``, truncated if long."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # an integer with too many digits; a structure nested too deeply
        text = f"a {type(value).__name__}"
    return text if len(text) <= 60 else f"{text[:57]}..."


def whole(low: int = 0, high: int = 2**63 - 1) -> Rule:
    """An integer from ``low`` to ``high``."""
    allowed = f"an integer from {low}" + (f" to {high}" if high < 2**63 - 1 else "")
    return Rule(lambda v: isinstance(v, int) and not isinstance(v, bool) and low <= v <= high, allowed)


def number(low: float = -math.inf, above: float = -math.inf, high: float = 1e300) -> Rule:
    """A finite number, at least ``low``, greater than ``above``, and at most ``high``."""
    bound = f" from {low:g}" if low > -math.inf else f" above {above:g}" if above > -math.inf else ""
    bound += f" up to {high:g}" if high < 1e300 else ""
    # Integers may exceed the range of a float.
    return Rule(
        lambda v: _is_number(v) and low <= v <= high and above < v and abs(v) <= 1e300, f"a finite number{bound}"
    )


def measured() -> Rule:
    """A computed number, including NaN and infinity, or null if nothing was measured."""
    return Rule(lambda v: v is None or _is_number(v), "a number or null")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def text() -> Rule:
    """A string."""
    return Rule(lambda v: isinstance(v, str), "a string")


def flag() -> Rule:
    """True or false."""
    return Rule(lambda v: isinstance(v, bool), "true or false")


def mapping() -> Rule:
    """An object with string keys."""
    return Rule(lambda v: isinstance(v, dict) and all(isinstance(name, str) for name in v), "an object")


def one_of(*choices: object) -> Rule:
    """One of these values."""
    return Rule(lambda v: any(type(v) is type(c) and v == c for c in choices), f"one of {list(choices)}")


def list_of(rule: Rule, length: int | None = None) -> Rule:
    """A list of values that ``rule`` accepts, with ``length`` entries."""
    allowed = f"a list, each entry {rule.allowed}" if length is None else f"a list of {length}, each {rule.allowed}"
    return Rule(
        lambda v: isinstance(v, list | tuple) and length in (None, len(v)) and all(map(rule.accepts, v)), allowed
    )


def optional(rule: Rule) -> Rule:
    """A value that ``rule`` accepts, or null."""
    return Rule(lambda v: v is None or rule.accepts(v), f"{rule.allowed} or null")
