"""The report on whole networks from made-up lines."""

import pytest

from onebit.runtime.limits import Limits
from onebit.runtime.profile import make_profile
from report.networks import networks_png, networks_table
from report.roofline import roofline_png, roofline_rows, roofline_table

FACTS = {"machine": "a CPU", "versions": {"torch": "2", "openvino": "3"}, "commit": "abc", "date": "2026-01-01 00:00"}
COLD = {"seconds": 0.123, "import_seconds": 0.1, "load_seconds": 0.01, "answer_seconds": 0.005, "cpu_seconds": 0.11}
COLD |= {"peak_bytes": 41_000_000, "file_bytes": 4_200_000, "count": 3}
NODES = [
    ("stem", "int8_conv2d", (8, 8, 16), "int8_conv", 1000),
    ("body", "binary_conv2d", (8, 8, 64), "binary_conv", 30_000),
    ("tail", "binary_conv2d", (8, 8, 64), "binary_conv", 30_000),
    ("pool", "max_pool2d", (4, 4, 64), "epilogue", 0),
]
PROFILE = list(make_profile(NODES, [0.01, 0.0075, 0.015, 0.02], 1, 1, Limits(binary=4e9, float32=1e9, int8=2e8)))


def line(engine, network, numbers, ms, *, threads=1, batch=1, **more):
    times = {"median_ms": ms, "fastest_ms": 0.9 * (ms or 0), "p90_ms": 1.5 * (ms or 0), "count": 31}
    measured = {**times, "difference": 1e-7, "runs_as": "3 things"}
    row = {"what": "network", "engine": engine, "network": network, "numbers": numbers, "input": "3x224x224"}
    return {**FACTS, **row, "threads": threads, "batch": batch, **(measured if ms else {}), **more}


def limits(threads, factor):
    return {"what": "limits", "isa": "avx512", "threads": threads, "binary": factor * 2e12, "float32": 1e11, "int8": 0}


LINES = [
    line("onebit", "Bi-Real-18", "1-bit", 2.0, profile=PROFILE, cold=COLD),
    line("OpenVINO", "Bi-Real-18", "1-bit", 5.0, cold={"skipped": "the fresh process failed: a | b"}),
    line("OpenVINO", "ResNet-18", "int8", None, skipped="not installed: pip install nncf"),
    line("onebit", "Bi-Real-18", "1-bit", 16.0, threads=2, batch=16),
    line("OpenVINO", "Bi-Real-18", "1-bit", 64.0, threads=2, batch=16),
]
MACHINE = [
    limits(1, 1.0),
    limits(2, 1.3),
    {"what": "kernel", "isa": "avx512", "name": "64 ch 56x56", "bit_macs": 1.8e12, "limit_share": 0.9},
    {"what": "kernel", "isa": "avx2", "name": "64 ch 56x56", "bit_macs": 0.5e12, "limit_share": 0.8},
    {"what": "run", "minutes": 9.5},
]


def test_table_counts_per_image_and_compares():
    text = networks_table(LINES)
    assert (
        "| Bi-Real-18 | onebit | 1-bit | 2.000, 1.800 (3.000; 31) | 1.000, 0.900 (1.500; 31) | 0.123 s | 41 MB |"
        in text
    )
    assert "| ResNet-18 | OpenVINO | int8 | not installed: pip install nncf |  |  |  |" in text
    assert "| Bi-Real-18, onebit | Bi-Real-18, OpenVINO 1-bit | 2.2 | 2.50, 2.50 | 4.00, 4.00 |" in text
    assert "Bi-Real-18, onebit | ResNet-18" not in text, "nothing was measured to compare with"
    assert "| Bi-Real-18 | OpenVINO | 1-bit | 3 things | 1.0e-07 |" in text
    assert "torch 2, openvino 3; commit abc" in text
    assert "Other targets" in text
    assert "threads\n" not in text, "no row was measured with one thread and with two"


def test_targets_stand_beside_what_was_measured():
    text = networks_table([*LINES, *MACHINE, line("onebit", "Bi-Real-18", "1-bit", 1.25, threads=2)])
    assert "| Bi-Real-18: two threads, times faster than one, batch 1 | 1.7 | 1.60 |" in text
    assert (
        "| inside the avx512 kernel, 3x3, 64 ch 56x56 | 85% of the limit | 1.80 Tera bit-MAC/s, 90% of the limit |"
        in text
    )
    assert "| inside the avx2 kernel, 3x3, 64 ch 56x56 | 0.55 Tera bit-MAC/s | 0.50 Tera bit-MAC/s, 80%" in text
    assert "| Bi-Real-18: fresh process to first answer | 0.25 s | 0.123 s (CPU 0.110 s) |" in text
    assert "9.5 minutes" in text


def test_threads_stand_beside_what_the_machine_gains():
    text = networks_table([*LINES, *MACHINE, line("onebit", "Bi-Real-18", "1-bit", 1.25, threads=2)])
    section = text[text.index("## 2 threads") :]
    assert "| the avx512 instructions alone | 1-bit 1.30, float 1.00 |" in section, "int8 is not known there"
    assert "| Bi-Real-18: onebit 1-bit | 1.60 |  |" in section
    assert "| avx512 | 2 | 2600 | 100 | 0 |" in section


def test_cold_starts_have_their_parts_or_a_reason():
    text = networks_table(LINES)
    assert "| Bi-Real-18 | onebit | 1-bit | 0.123 | 0.100 | 0.010 | 0.005 | 0.110 | 41 MB | 4.2 MB |" in text
    assert "| Bi-Real-18 | OpenVINO | 1-bit | the fresh process failed: a / b |" in text


def test_rows_from_elsewhere_make_no_settings_of_their_own():
    other = line("LCE", "Bi-Real-18", "1-bit", 30.0, threads=4, elsewhere=True)
    del other["difference"]
    text = networks_table([*LINES, {**other, "threads": 1}, other])
    assert "4 threads" not in text
    assert "LCE: in a process of its own." in text
    assert "| Bi-Real-18, onebit | Bi-Real-18, LCE 1-bit |  | 15.00, 15.00 |  |" in text
    assert "| Bi-Real-18 | LCE | 1-bit | 3 things | not compared |" in text


def test_every_size_of_input_has_its_table():
    text = networks_table([*LINES, line("onebit", "VGG-Small", "1-bit", 1.0, input="3x32x32")])
    assert text.index("## Input 3x224x224") < text.index("## Input 3x32x32") < text.index("| VGG-Small | onebit")


def test_roofline_sums_the_layers_of_each_kind():
    """The limit of 60,000 products at 4e9 a second is 0.015 ms of 0.0225; of 1,000 at 2e8 a second 0.005 ms of 0.01."""
    stem, bits, rest = roofline_rows(LINES)
    assert stem == ["Bi-Real-18: onebit", "int8", "1", "0.010", "19%", "0", "0", "50%", "50%", "50%"]
    assert bits == ["Bi-Real-18: onebit", "1-bit", "2", "0.022", "43%", "3", "4", "67%", "50%", "100%"]
    assert rest[:5] == ["Bi-Real-18: onebit", "no products", "1", "0.020", "38%"]
    text = roofline_table(LINES)
    assert "| body | binary_conv2d | 8x8x64 | 1-bit | binary_conv | 0.0075 |" in text
    assert "| 1-bit | 2 | 0.022 |" in networks_table(LINES)


def test_pictures_with_and_without_measurements():
    for lines in (LINES, LINES[2:3], [*LINES, *MACHINE]):
        assert networks_png(lines).startswith(b"\x89PNG")
    assert roofline_png([*LINES, *MACHINE]).startswith(b"\x89PNG")


def test_no_lines():
    for lines in ([], MACHINE):
        with pytest.raises(ValueError, match="no measurements"):
            networks_table(lines)
    for draw in (roofline_table, roofline_png):
        with pytest.raises(ValueError, match="no profiles"):
            draw(LINES[1:])


def test_load_from_outside_is_said():
    assert "Not a quiet machine" not in networks_table([{**row, "outside_cores": 0.02} for row in LINES])
    busy = [{**LINES[0], "outside_cores": 0.0}, {**LINES[3], "outside_cores": 1.25}]
    assert "other processes kept up to 1.2 cores busy" in networks_table(busy)
