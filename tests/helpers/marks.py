"""Parameters of which `make test` takes only some."""

from collections.abc import Iterable

import pytest


def slow_except(values: Iterable, *quick: object) -> list:
    """All values, those that are not `quick` marked slow: a quick one finds the same kind of fault."""
    values = list(values)
    assert set(quick) <= set(values), quick
    return [value if value in quick else pytest.param(value, marks=pytest.mark.slow) for value in values]
