"""Pictures and tables made from times."""

import pytest

from onebit.report.profile import profile_png
from onebit.report.speed import speed_table
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


def test_speed_table_has_shares_of_the_limit():
    facts = {"machine": "a CPU", "torch": "2", "commit": "abc", "date": "today", "what": "layer", "kernel": "k"}
    times = {
        "median_ms": 0.1,
        "tera_bit_macs": 1.1,
        "torch_median_ms": 1.0,
        "torch_gmacs": 100,
        "ratio": 10.0,
        "count": 9,
    }
    known = {"limit_tera_bit_macs": 1.25, "limit_share": 0.88, "kernel_limit_share": 0.95}
    rows = [
        {**facts, **times, **known, "name": "64 ch", "isa": "avx512"},
        {**facts, **times, **dict.fromkeys(known), "name": "64 ch", "isa": "portable"},
    ]
    header, _, first, second = [line for line in speed_table(rows).splitlines() if line.startswith("|")][:4]
    assert header.count("|") == first.count("|") == second.count("|")
    assert "| 1.10 | 1.25 | 88% | 95% | 1.00 |" in first
    assert "| 1.10 | | | | 1.00 |" in second
