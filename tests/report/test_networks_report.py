"""The report on whole networks from made-up lines."""

import pytest

from onebit.report.networks import networks_png, networks_table

FACTS = {"machine": "a CPU", "versions": {"torch": "2", "openvino": "3"}, "commit": "abc", "date": "2026-01-01 00:00"}


def line(engine, network, numbers, ms, *, threads=1, batch=1, **more):
    measured = {"median_ms": ms, "p90_ms": 1.5 * ms, "difference": 1e-7, "runs_as": "3 things"} if ms else {}
    row = {"engine": engine, "network": network, "numbers": numbers, "input": "3x224x224"}
    return {**FACTS, **row, "threads": threads, "batch": batch, **measured, **more}


LINES = [
    line("onebit", "Bi-Real-18", "1-bit", 2.0),
    line("OpenVINO", "Bi-Real-18", "1-bit", 5.0),
    line("OpenVINO", "ResNet-18", "int8", None, skipped="not installed: pip install nncf"),
    line("onebit", "Bi-Real-18", "1-bit", 16.0, threads=2, batch=16),
    line("OpenVINO", "Bi-Real-18", "1-bit", 64.0, threads=2, batch=16),
]


def test_table_counts_per_image_and_compares():
    text = networks_table(LINES)
    assert "| Bi-Real-18 | onebit | 1-bit | 2.000 (3.000) | 1.000 (1.500) |" in text
    assert "| ResNet-18 | OpenVINO | int8 | not installed: pip install nncf |  |" in text
    assert "| Bi-Real-18 onebit | Bi-Real-18 OpenVINO 1-bit | 2.50 | 4.00 |" in text
    assert "Bi-Real-18 onebit | ResNet-18" not in text, "nothing was measured to compare with"
    assert "| Bi-Real-18 | OpenVINO | 1-bit | 3 things | 1.0e-07 |" in text
    assert "torch 2, openvino 3; commit abc" in text


def test_every_size_of_input_has_its_table():
    text = networks_table([*LINES, line("onebit", "VGG-Small", "1-bit", 1.0, input="3x32x32")])
    assert text.index("## Input 3x224x224") < text.index("## Input 3x32x32") < text.index("| VGG-Small | onebit")


def test_picture_with_and_without_measurements():
    for lines in (LINES, LINES[2:3]):
        assert networks_png(lines).startswith(b"\x89PNG")


def test_no_lines():
    with pytest.raises(ValueError, match="no measurements"):
        networks_table([])
