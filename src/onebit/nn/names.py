"""Names of layers, and the patterns that stand for several: one meaning wherever a setting takes them."""

from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from fnmatch import fnmatchcase


def match_names(patterns: Sequence[str], names: Iterable[str], setting: str, kind: str = "layer") -> dict[str, str]:
    """The ``names`` that any of the ``patterns`` matches, in the order of ``names``, each with its first pattern.

    A pattern is a name, or has ``*`` for any text (dots included), ``?`` for one character, ``[abc]`` for one of
    several: ``"layer1.*"`` stands for everything inside of layer1.

    Args:
        setting: how messages call the patterns.
        kind: how they call what is named.

    Raises:
        ValueError: a pattern that matches nothing, with the nearest name.
        TypeError: one text in place of a list.
    """
    if isinstance(patterns, str):
        raise TypeError(f"{setting} must be a list of {kind} names, got the text {patterns!r}; write [{patterns!r}]")
    names = list(names)
    found: dict[str, str] = {}
    for pattern in patterns:
        matched = [name for name in names if fnmatchcase(name, pattern)]
        if not matched:
            near = get_close_matches(pattern, names, n=1)
            known = ", ".join(map(repr, names[:8])) + (", ..." if len(names) > 8 else "")
            hint = f"did you mean {near[0]!r}?" if near else f"there are {known or 'none'}"
            raise ValueError(f"{setting}: no {kind} matches {pattern!r}; {hint}")
        for name in matched:
            found.setdefault(name, pattern)
    return {name: found[name] for name in names if name in found}
