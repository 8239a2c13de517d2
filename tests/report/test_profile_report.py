"""The picture of a profile."""

import pytest

from onebit.report.profile import profile_png
from onebit.runtime.limits import Limits
from onebit.runtime.profile import make_profile


def test_profile_picture():
    nodes = [
        ("stem", "conv2d", (8, 8, 16), "float_conv", 1000),
        ("body", "binary_conv2d", (8, 8, 64), "binary_conv", 30_000),
        ("join", "concat", (8, 8, 128), "epilogue", 0),
    ]
    rows = make_profile(nodes, [0.1, 0.2, 0.05], 1, 1, Limits(1e9, 1e9, 1e9))
    picture = profile_png(rows, "small")
    assert picture.startswith(b"\x89PNG")
    assert len(profile_png(make_profile(nodes * 9, [0.1] * 27, 1, 1, Limits(1e9, 1e9, 1e9)), "tall")) > len(picture)
    with pytest.raises(ValueError, match="no rows to draw"):
        profile_png([], "nothing")
