"""Registries of estimators, models, methods, data sets and recipes by name."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields
from difflib import get_close_matches
from inspect import signature
from types import UnionType
from typing import Any, Generic, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

T = TypeVar("T")
Item = TypeVar("Item")


class Registry(Generic[T]):
    """Maps names to objects; filled by decorators at import time.

    Deliberately simple: no aliases, no overwriting, no default for a missing name.
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._items: dict[str, T] = {}

    def register(self, name: str) -> Callable[[Item], Item]:
        """Decorator that registers the decorated object under ``name``; ValueError if the name is taken."""

        def add(item: Item) -> Item:
            if name in self._items:
                raise ValueError(f"{self.kind} {name!r} is registered twice: {self._items[name]!r} and {item!r}")
            self._items[name] = item  # type: ignore[assignment]
            return item

        return add

    def __getitem__(self, name: str) -> T:
        try:
            return self._items[name]
        except (KeyError, TypeError):
            near = get_close_matches(str(name), self._items, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"choose one of {sorted(self._items)}"
            raise ValueError(f"Unknown {self.kind} {name!r}; {hint}") from None

    def check(self, name: str) -> None:
        """Raise the same error as ``self[name]``, to validate a setting early."""
        self[name]

    def __contains__(self, name: object) -> bool:
        return name in self._items

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._items))

    def __len__(self) -> int:
        return len(self._items)


def check_options(owner: str, factory: Callable[..., object], options: Mapping[str, object]) -> None:
    """Raise ValueError for an option that ``factory`` does not take, with the nearest name, or whose type is wrong.

    Args:
        owner: name of the options in messages, e.g. "method_options".
        factory: a class or function with annotated parameters.
    """
    function = factory.__init__ if isinstance(factory, type) else factory  # type: ignore[misc]
    hints = get_type_hints(function)
    known = [name for name in signature(factory).parameters if name in hints]
    for name, value in options.items():
        if name not in known:
            near = get_close_matches(str(name), known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"choose from {known}" if known else "it has none"
            raise ValueError(f"Unknown setting {name!r} in {owner}; {hint}")
        _check_type(f"{owner}.{name}", value, hints[name])


def check_types(settings: object) -> None:
    """Raise ValueError for the first field of a dataclass whose value does not have the annotated type."""
    hints = get_type_hints(type(settings))
    for field in fields(settings):  # type: ignore[arg-type]
        _check_type(field.name, getattr(settings, field.name), hints[field.name])


def _check_type(name: str, value: object, hint: Any) -> None:
    if not _fits(value, hint):
        raise ValueError(f"{name} must be {type_in_words(hint)}, got {value!r}")


def _fits(value: object, hint: Any) -> bool:
    """Whether a value from a command line or a file has an annotated type; a string is no sequence, a boolean no
    number.
    """
    origin, inner = get_origin(hint), get_args(hint)
    if hint is Any:
        return True
    if origin in (Union, UnionType):
        return any(_fits(value, each) for each in inner)
    if origin is Literal:
        return any(type(value) is type(each) and value == each for each in inner)
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if origin is tuple:
        if not isinstance(value, list | tuple):
            return False
        each = inner[:1] * len(value) if inner[-1] is ... else inner
        return len(each) == len(value) and all(map(_fits, value, each))
    if origin is Sequence:
        return isinstance(value, list | tuple) and all(_fits(entry, inner[0]) for entry in value)
    if origin is dict:
        return isinstance(value, dict) and all(
            _fits(name, inner[0]) and _fits(entry, inner[1]) for name, entry in value.items()
        )
    return isinstance(value, origin or hint)


def type_in_words(hint: Any) -> str:
    """What a setting of an annotated type may hold, as a user reads it: "an integer or null"."""
    *most, last = _words(hint)
    return f"{', '.join(most)} or {last}" if most else last


_TYPE_WORDS: dict[Any, tuple[str, str]] = {
    int: ("an integer", "integers"),
    float: ("a number", "numbers"),
    bool: ("true or false", "truth values"),
    str: ("a string", "strings"),
    type(None): ("null", "nulls"),
}


def _words(hint: Any) -> list[str]:
    """Description of the values that :func:`_fits` accepts."""
    origin, inner = get_origin(hint), get_args(hint)
    if hint is bool:
        return ["true", "false"]
    if origin in (Union, UnionType):
        return [word for each in inner for word in _words(each)]
    if origin is Literal:
        return [repr(each) for each in inner]
    if origin in (tuple, Sequence):
        count = "" if origin is Sequence or inner[-1] is ... else f"{len(inner)} "
        return [f"a list of {count}{_TYPE_WORDS[inner[0]][1]}"]
    if origin is dict:
        return ["an object"] if inner[1] is Any else [f"an object of {_TYPE_WORDS[inner[1]][1]}"]
    return [_TYPE_WORDS[hint][0] if hint in _TYPE_WORDS else getattr(hint, "__name__", str(hint))]
