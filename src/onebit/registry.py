"""Name -> object lookup used by estimators, models, methods, data sets and recipes."""

from collections.abc import Callable, Iterator
from difflib import get_close_matches
from typing import Generic, TypeVar

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
