"""The report on whole networks: a table and a picture from the JSON lines of ``benchmarks/networks.py``."""

import io
from typing import Any

from onebit.report.style import BLUE, ORANGE, PALETTE, figure

Line = dict[str, Any]
Key = tuple[str, str, str]  # engine, network, numbers: what one row of the table is about

OURS = "onebit"
COMPARED: tuple[tuple[Key, Key], ...] = (
    ((OURS, "Bi-Real-18", "1-bit"), ("OpenVINO", "Bi-Real-18", "1-bit")),
    ((OURS, "Bi-Real-18", "1-bit"), ("OpenVINO", "ResNet-18", "int8")),
    (("onebit, stem int8", "Bi-Real-18", "1-bit, int8 stem"), ("OpenVINO", "Bi-Real-18", "1-bit")),
    (("onebit, stem int8", "Bi-Real-18", "1-bit, int8 stem"), ("OpenVINO", "ResNet-18", "int8")),
    ((OURS, "Bi-Real-18", "1-bit"), ("torch", "ResNet-18", "fp32")),
    (("onebit, isa avx2", "Bi-Real-18", "1-bit"), ("torch", "ResNet-18", "fp32")),
    ((OURS, "RB-Net-18, RPC stem", "1-bit"), ("OpenVINO", "ResNet-18", "int8")),
    ((OURS, "RB-Net-18, wide", "1-bit"), ("OpenVINO", "ResNet-18", "int8")),
    ((OURS, "FTBNN-18, purified", "1-bit"), ("OpenVINO", "ResNet-18", "int8")),
    ((OURS, "ReActNet-A", "1-bit"), ("ONNX Runtime", "MobileNetV2", "fp32")),
    ((OURS, "VGG-Small", "1-bit"), ("OpenVINO", "VGG-Small, real", "int8")),
    ((OURS, "four convolutions", "1-bit"), ("OpenVINO", "four convolutions", "1-bit")),
)


def _key(line: Line) -> Key:
    return line["engine"], line["network"], line["numbers"]


def _settings(lines: list[Line]) -> list[tuple[int, int]]:
    return list(dict.fromkeys((line["threads"], line["batch"]) for line in lines))


def _name(setting: tuple[int, int]) -> str:
    threads, batch = setting
    return f"{threads} thread{'s' if threads > 1 else ''}, batch {batch}"


def _table(head: list[str], rows: list[list[str]]) -> list[str]:
    return [f"| {' | '.join(head)} |", "|---" * len(head) + "|", *(f"| {' | '.join(row)} |" for row in rows), ""]


def networks_table(lines: list[Line]) -> str:
    """Markdown: milliseconds per image, one table for each size of the input; how the rows compare; what they run as.

    Raises ValueError for no lines.
    """
    if not lines:
        raise ValueError("there are no measurements to put into a table")
    facts, settings = lines[0], _settings(lines)
    by = {(_key(line), line["threads"], line["batch"]): line for line in lines}
    names = [_name(setting) for setting in settings]
    packages = ", ".join(f"{name} {number}" for name, number in facts["versions"].items())
    text = [
        "# Whole networks",
        "",
        f"{facts['machine']}; {packages}; commit {facts['commit']}; {facts['date']} UTC. Milliseconds per image, "
        "median (90th percentile) of calls made in turn in one process; networks without training, answers checked "
        "against torch's before the timing; every engine is given floats in its own layout, an int8 stem pixels, and "
        "gives logits. Made by "
        "`make bench`.",
        "",
    ]
    for size in dict.fromkeys(line["input"] for line in lines):
        rows = []
        for key in dict.fromkeys(_key(line) for line in lines if line["input"] == size):
            engine, network, numbers = key
            rows.append([network, engine, numbers, *(_milliseconds(by.get((key, *setting))) for setting in settings)])
        text += [f"## Input {size}", "", *_table(["network", "engine", "numbers", *names], rows)]
    text += _comparisons(by, settings)
    text += ["## What the convolutions run as", "", *_plans(lines)]
    return "\n".join([*text, "![milliseconds per image](networks.png)", ""])


def _milliseconds(line: Line | None) -> str:
    if line is None:
        return ""
    if "skipped" in line:
        return line["skipped"].replace("|", "/")
    return f"{line['median_ms'] / line['batch']:.3f} ({line['p90_ms'] / line['batch']:.3f})"


def _comparisons(by: dict[tuple[Key, int, int], Line], settings: list[tuple[int, int]]) -> list[str]:
    rows = []
    for ours, theirs in COMPARED:
        ratios = []
        for setting in settings:
            mine, other = by.get((ours, *setting), {}), by.get((theirs, *setting), {})
            measured = "median_ms" in mine and "median_ms" in other
            ratios.append(f"{other['median_ms'] / mine['median_ms']:.2f}" if measured else "")
        if any(ratios):
            rows.append([" ".join(reversed(ours[:2])), " ".join((theirs[1], *theirs[::2])), *ratios])
    if not rows:
        return []
    head = ["ours", "against", *(_name(setting) for setting in settings)]
    return ["## Times faster", "", *_table(head, rows)]


def _plans(lines: list[Line]) -> list[str]:
    first: dict[Key, Line] = {}
    for line in lines:
        if "runs_as" in line:
            first.setdefault(_key(line), line)
    rows = [
        [line["network"], line["engine"], line["numbers"], line["runs_as"], f"{line['difference']:.1e}"]
        for line in first.values()
    ]
    return _table(["network", "engine", "numbers", "runs as", "differs from torch by"], rows)


def networks_png(lines: list[Line]) -> bytes:
    """Bars: milliseconds per image of every row, one panel for each setting, on a logarithmic axis."""
    settings = _settings(lines)
    keys = list(dict.fromkeys(_key(line) for line in lines if "median_ms" in line))
    engines = [name for name in dict.fromkeys(line["engine"].partition(",")[0] for line in lines) if name != OURS]
    colors = {OURS: BLUE, **dict(zip(engines, (ORANGE, *PALETTE[2:]), strict=False))}
    canvas, panels = figure(len(settings))
    canvas.set_size_inches(3.4 * len(settings) + 2.4, 0.26 * len(keys) + 1.4)
    for panel, setting in zip(panels, settings, strict=True):
        for line in lines:
            if (line["threads"], line["batch"]) == setting and "median_ms" in line:
                time = line["median_ms"] / line["batch"]
                bar = panel.barh(keys.index(_key(line)), time, 0.75, color=colors[line["engine"].partition(",")[0]])
                panel.bar_label(bar, fmt="%.2f", padding=2, fontsize=7)
        panel.set(title=_name(setting), xlabel="ms per image", xscale="log", yticks=range(len(keys)))
        panel.set_yticklabels([f"{network}: {engine} {numbers}" for engine, network, numbers in keys], fontsize=7)
        panel.invert_yaxis()
        panel.margins(x=0.15)
        if panel is not panels[0]:
            panel.tick_params(labelleft=False)
    image = io.BytesIO()
    canvas.savefig(image, format="png", dpi=120)
    return image.getvalue()
