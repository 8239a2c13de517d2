"""Layer names and name patterns, with the same syntax in all settings."""

from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from fnmatch import fnmatchcase


def match_names(patterns: Sequence[str], names: Iterable[str], setting: str, kind: str = "layer") -> dict[str, str]:
    """The ``names`` that match any of the ``patterns``, in the order of ``names``, each with the first pattern that
    matches.

    A pattern is a name, with ``*`` for any text (including dots), ``?`` for one character, ``[abc]`` for one of
    several: ``"layer1.*"`` matches everything inside layer1.

    Args:
        setting: name of the patterns in messages.
        kind: name of the matched objects in messages.

    Raises:
        ValueError: a pattern that matches nothing, with the nearest name.
        TypeError: a string instead of a list.
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
