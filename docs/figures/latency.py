"""Bars: latency and file size of ResNet-18 in several engines, from the measurements of ``make bench``."""

import json
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from shapes import BLUE, GRAY

from onebit.report.style import figure

MEASURED = Path(__file__).parents[2] / "reports" / "networks.jsonl"

# Label, then engine, network and numbers of the measurement
BARS = (
    ("PyTorch, fp32", "torch", "ResNet-18", "fp32"),
    ("OpenVINO, fp32", "OpenVINO", "ResNet-18", "fp32"),
    ("ONNX Runtime, int8", "ONNX Runtime", "ResNet-18", "int8"),
    ("OpenVINO, int8", "OpenVINO", "ResNet-18", "int8"),
    ("OpenVINO, 1-bit", "OpenVINO", "Bi-Real-18", "1-bit"),
    ("onebit, 1-bit", "onebit", "Bi-Real-18", "1-bit"),
    ("onebit, 1-bit, int8 stem", "onebit, stem int8", "Bi-Real-18", "1-bit, int8 stem"),
)


def measurements() -> list[dict[str, Any]]:
    """The newest measurement of each bar: one 224×224 image, one thread."""
    rows = {}
    for line in MEASURED.read_text().splitlines():
        row = json.loads(line)
        if row["what"] == "network" and (row["input"], row["threads"], row["batch"]) == ("3x224x224", 1, 1):
            rows[row["engine"], row["network"], row["numbers"]] = row
    return [rows[tuple(key)] for _, *key in BARS]


def latency() -> Figure:
    """Two panels: milliseconds per image, and megabytes of the file."""
    canvas, axes = figure(2)
    canvas.set_size_inches(9.2, 3.2)
    canvas.get_layout_engine().set(w_pad=0.1, h_pad=0.1)  # type: ignore[union-attr]
    canvas.suptitle("ResNet-18, one 224×224 image, one CPU thread", fontsize=12)
    rows = measurements()
    panels = (
        ("latency, ms per image", [row["median_ms"] for row in rows]),
        ("file size, MB", [row["cold"]["file_bytes"] / 1e6 for row in rows]),
    )
    for panel, (title, values) in zip(axes, panels, strict=True):
        for index, (value, (label, *_)) in enumerate(zip(values, BARS, strict=True)):
            ours = label.startswith("onebit")
            panel.barh(index, value, color=BLUE if ours else GRAY, height=0.66)
            weight = "bold" if ours else "normal"
            panel.text(value + max(values) * 0.015, index, f"{value:.1f}", va="center", fontsize=9, fontweight=weight)
        panel.set_title(title, fontsize=11, loc="left")
        panel.set(xlim=(0, max(values) * 1.1), xticks=[])
        panel.spines["bottom"].set_visible(False)
        panel.tick_params(length=0)
        panel.grid(visible=False)
        panel.set_yticks(range(len(BARS)), [label for label, *_ in BARS] if panel is axes[0] else [])
        panel.invert_yaxis()
    for label, (name, *_) in zip(axes[0].get_yticklabels(), BARS, strict=True):
        label.set_fontweight("bold" if name.startswith("onebit") else "normal")
    return canvas
