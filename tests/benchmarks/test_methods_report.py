"""The report of the methods from made-up lines."""

import pytest

from report.methods import methods_png, methods_table, training_png


def line(label, **more):
    epochs = [
        {"epoch": 1, "test_accuracy": 0.4, "flip_rate": 0.2, "gradient_norm": 1.0, **more},
        {"epoch": 2, "test_accuracy": 0.5, "flip_rate": 0.1, "gradient_norm": 0.9, **more},
    ]
    settings = {
        "model": "m",
        "dataset": "d",
        "epochs": 2,
        "batch_size": 8,
        "optimizer": "adam",
        "lr": 1e-3,
        "seed": 0,
        "precision": "32-true",
    }
    numbers = {
        "seconds_per_step": 0.5,
        "median_ms": 0.25,
        "fastest_ms": 0.125,
        "outside_cores": 0.0,
        "file_bytes": 1234,
        "flops": 1e6,
        "bops": 64e6,
        "ops": 2e6,
    }
    return {
        "label": label,
        "epochs": epochs,
        "settings": settings,
        "torch_accuracy": 0.5,
        "packed_accuracy": 0.4999,
        "other_class": 1,
        "images": 10000,
        "timed_on": "a CPU",
        "count": 11,
        **numbers,
    }


def test_table_and_pictures():
    lines = [line("one"), line("two", discriminator_real=0.7, discriminator_false=0.3)]
    text = methods_table(lines)
    assert "| two | 50.00% | 49.99% | 1 | 0.50 | 0.250 | 0.125 | 1.2 | 1.00 | 64.0 | 2.00 |" in text
    assert "one run each" in text
    assert "Not a quiet machine" not in text
    assert "up to 1.5 cores busy" in methods_table([{**lines[0], "outside_cores": 1.5}])
    for picture in (methods_png(lines), training_png(lines)):
        assert picture.startswith(b"\x89PNG")
    with pytest.raises(ValueError, match="no runs"):
        methods_table([])
