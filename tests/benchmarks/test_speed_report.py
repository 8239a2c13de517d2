"""The table of kernels' speeds."""

from report.speed import speed_table


def test_speed_table_has_shares_of_the_limit():
    facts = {"machine": "a CPU", "torch": "2", "commit": "abc", "date": "today", "what": "layer", "kernel": "k"}
    times = {
        "median_ms": 0.1,
        "fastest_ms": 0.09,
        "tera_bit_macs": 1.1,
        "torch_median_ms": 1.0,
        "torch_fastest_ms": 0.8,
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
    assert "| 0.100 | 0.090 | 1.10 | 1.25 | 88% | 95% | 1.00 | 0.80 |" in first
    assert "| 0.100 | 0.090 | 1.10 | | | | 1.00 | 0.80 |" in second
