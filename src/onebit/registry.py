"""Name -> object lookup used by estimators, models, methods, data sets and recipes."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from inspect import signature
from types import UnionType
from typing import Any, Generic, TypeVar, get_args, get_origin, get_type_hints

T = TypeVar("T")
Item = TypeVar("Item")


class Registry(Generic[T]):
    """Names in, things out; filled by decorators at import time.

    Kept dull on purpose: no aliases, no overwriting, no default for a missing name.
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._items: dict[str, T] = {}

    def register(self, name: str) -> Callable[[Item], Item]:
        """Decorator that files the decorated object under ``name``; ValueError if the name is taken."""

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
        """Raise the same error as ``self[name]``; for validating a setting early."""
        self[name]

    def __contains__(self, name: object) -> bool:
        return name in self._items

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._items))

    def __len__(self) -> int:
        return len(self._items)


def check_options(owner: str, factory: Callable[..., object], options: Mapping[str, object]) -> None:
    """ValueError, with the nearest name, for an option that ``factory`` does not take or whose type it does not.

    Args:
        owner: how messages call the options, e.g. "method_options".
        factory: a class or function whose parameters are annotated.
    """
    function = factory.__init__ if isinstance(factory, type) else factory  # type: ignore[misc]
    hints = get_type_hints(function)
    known = [name for name in signature(factory).parameters if name in hints]
    for name, value in options.items():
        if name not in known:
            near = get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"choose from {known}"
            raise ValueError(f"Unknown setting {name!r} in {owner}; {hint}")
        kinds = get_args(hints[name]) if isinstance(hints[name], UnionType) else (hints[name],)
        if not any(_fits(value, kind) for kind in kinds):
            words = {Sequence: "a list", type(None): "null"}
            allowed = " or ".join(words.get(get_origin(kind) or kind, kind.__name__) for kind in kinds)
            raise ValueError(f"{owner}.{name} must be {allowed}, got {value!r}")


def _fits(value: object, kind: Any) -> bool:
    """Whether a value from a command line or a file is of an annotated type; a text is no sequence."""
    if kind is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if kind is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if get_origin(kind) is Sequence:
        return isinstance(value, list | tuple) and all(_fits(entry, get_args(kind)[0]) for entry in value)
    return isinstance(value, get_origin(kind) or kind)
