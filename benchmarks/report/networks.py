"""The report on whole networks: a table and a picture from the JSON lines of ``benchmarks/networks.py``."""

import io
from typing import Any

from onebit.engines.timed import warning
from onebit.report.style import BLUE, ORANGE, PALETTE, figure
from onebit.runtime.profile import LIMIT_OF
from report import roofline

Line = dict[str, Any]
Key = tuple[str, str, str]  # engine, network, numbers: what one row of the table is about
Place = tuple[Key, int, int]  # and threads, batch: one measurement

OURS = "onebit"
BIREAL: Key = (OURS, "Bi-Real-18", "1-bit")
INT8: Key = ("OpenVINO", "ResNet-18", "int8")
TORCH: Key = ("torch", "ResNet-18", "fp32")
OPENVINO: Key = ("OpenVINO", "Bi-Real-18", "1-bit")
LIGHTEST: Key = ("onebit, stem int8, activation_dtype float16", "Bi-Real-18", "1-bit, int8 stem, float16 activations")
MOBILENET: Key = ("ONNX Runtime", "MobileNetV2", "fp32")
CHOSEN_INSTEAD: tuple[Key, ...] = tuple(
    ("OpenVINO", network, numbers) for network in ("MobileNetV2", "MobileNetV3-Small") for numbers in ("int8", "fp32")
)

# ours, theirs, and how many times faster ours is to be at one thread and batch 1
COMPARED: tuple[tuple[Key, Key, float | None], ...] = (
    (BIREAL, OPENVINO, 2.2),
    (BIREAL, INT8, 1.8),
    (("onebit, stem int8", "Bi-Real-18", "1-bit, int8 stem"), OPENVINO, None),
    (("onebit, activation_dtype float16", "Bi-Real-18", "1-bit, float16 activations"), OPENVINO, None),
    (LIGHTEST, OPENVINO, None),
    (("onebit, stem int8", "Bi-Real-18", "1-bit, int8 stem"), INT8, 2.5),
    (LIGHTEST, INT8, None),
    (BIREAL, TORCH, 10.0),
    (("onebit, isa avx2", "Bi-Real-18", "1-bit"), TORCH, 3.0),
    ((OURS, "RB-Net-18, RPC stem", "1-bit"), INT8, 4.0),
    ((OURS, "RB-Net-18, wide", "1-bit"), INT8, 4.0),
    ((OURS, "FTBNN-18, purified", "1-bit"), INT8, 3.0),
    (("onebit, stem int8", "FTBNN-18, purified", "1-bit, int8 stem"), INT8, None),
    ((OURS, "ReActNet-A", "1-bit"), MOBILENET, 1.5),
    (("onebit, activation_dtype float16", "ReActNet-A", "1-bit, float16 activations"), MOBILENET, None),
    *(((OURS, "RB-Net-18, RPC stem", "1-bit"), other, None) for other in CHOSEN_INSTEAD),
    ((OURS, "VGG-Small", "1-bit"), ("OpenVINO", "VGG-Small, real", "int8"), None),
    ((OURS, "four convolutions", "1-bit"), ("OpenVINO", "four convolutions", "1-bit"), 1.3),
    (BIREAL, ("LCE", "Bi-Real-18", "1-bit"), None),
    (BIREAL, ("LCE, indirect", "Bi-Real-18", "1-bit"), None),
)
COLD_TARGET = "0.25 s"
THREADS_TARGET = "1.7"  # two threads against one, batch 1
KERNEL_TARGETS = {"avx512": "85% of the limit", "avx2": "0.55 Tera bit-MAC/s"}


def _key(line: Line) -> Key:
    return line["engine"], line["network"], line["numbers"]


def _settings(lines: list[Line]) -> list[tuple[int, int]]:
    return list(dict.fromkeys((line["threads"], line["batch"]) for line in lines if not line.get("elsewhere")))


def _name(setting: tuple[int, int]) -> str:
    threads, batch = setting
    return f"{threads} thread{'s' if threads > 1 else ''}, batch {batch}"


def _table(head: list[str], rows: list[list[str]]) -> list[str]:
    return [f"| {' | '.join(head)} |", "|---" * len(head) + "|", *(f"| {' | '.join(row)} |" for row in rows), ""]


def _section(title: str, about: str, head: list[str], rows: list[list[str]]) -> list[str]:
    """A table under its title; nothing for no rows."""
    return [f"## {title}", "", *([about, ""] if about else []), *_table(head, rows)] if rows else []


def networks_table(lines: list[Line]) -> str:
    """Markdown: milliseconds per image, one table for each size of the input; how the rows compare, with what was aimed
    at; threads, limits, cold starts; what the rows run as.

    ``lines`` say what they are: "network", a row in one setting; "limits" and "kernel", of the machine; "run".  Raises
    ValueError for no networks.
    """
    networks = [line for line in lines if line["what"] == "network"]
    if not networks:
        raise ValueError("there are no measurements to put into a table")
    by = {(_key(line), line["threads"], line["batch"]): line for line in networks}
    settings = _settings(networks)
    return "\n".join(
        [
            *_heading(lines, networks),
            *_times(networks, by, settings),
            *_comparisons(by, settings),
            *_targets(lines, by),
            *_threads(lines, networks, by, settings),
            *_limits(lines, networks),
            *_cold_starts(networks),
            *_plans(networks),
            "![milliseconds per image](networks.png)",
            "",
        ]
    )


def _heading(lines: list[Line], networks: list[Line]) -> list[str]:
    facts = networks[0]
    packages = ", ".join(f"{name} {number}" for name, number in facts["versions"].items())
    minutes = "".join(f"; {line['minutes']} minutes" for line in lines if line["what"] == "run")
    elsewhere = ", ".join(dict.fromkeys(line["engine"].partition(",")[0] for line in networks if line.get("elsewhere")))
    text = (
        f"{facts['machine']}; {packages}; commit {facts['commit']}; {facts['date']} UTC{minutes}. Networks without "
        "training, answers checked against torch's before the timing; every engine is given floats in its own layout, "
        "an int8 stem pixels, and gives logits. All rows are timed in turn in one process: a tenth of a second with "
        "one, then the next; the first tenth of such a turn, one call at least, is not counted, so that a row finds "
        "caches of its own, and its threads awake. Made by `make bench`."
    )
    text += f" {elsewhere}: in a process of its own." if elsewhere else ""
    noise = warning([line["outside_cores"] for line in networks if "outside_cores" in line])
    return ["# Whole networks", "", text, "", *([noise, ""] if noise else [])]


def _times(networks: list[Line], by: dict[Place, Line], settings: list[tuple[int, int]]) -> list[str]:
    text = ["Milliseconds per image: median, least (90th percentile; calls).", ""]
    cold = any("cold" in line for line in networks)
    head = ["network", "engine", "numbers", *map(_name, settings), *(["cold start", "peak memory"] if cold else [])]
    for size in dict.fromkeys(line["input"] for line in networks):
        rows = []
        for key in dict.fromkeys(_key(line) for line in networks if line["input"] == size):
            engine, network, numbers = key
            row = [network, engine, numbers, *(_milliseconds(by.get((key, *setting))) for setting in settings)]
            rows.append(row + (_cold_cells(_cold(networks, key)) if cold else []))
        text += _section(f"Input {size}", "", head, rows)
    return text


def _milliseconds(line: Line | None) -> str:
    if line is None:
        return ""
    if "skipped" in line:
        return line["skipped"].replace("|", "/")
    median, least, p90 = (f"{line[key] / line['batch']:.3f}" for key in ("median_ms", "fastest_ms", "p90_ms"))
    return f"{median}, {least} ({p90}; {line['count']})"


def _ratio(by: dict[Place, Line], ours: Place, theirs: Place, key: str = "median_ms") -> float | None:
    """How many times faster ours is, per image; None where one was not measured."""
    mine, other = by.get(ours, {}), by.get(theirs, {})
    if key not in mine or key not in other:
        return None
    return (other[key] / other["batch"]) / (mine[key] / mine["batch"])


def _ratios(by: dict[Place, Line], ours: Place, theirs: Place) -> str:
    """The ratio of the medians, then that of the least times; "" where one was not measured."""
    found = [_ratio(by, ours, theirs, key) for key in ("median_ms", "fastest_ms")]
    return ", ".join(f"{ratio:.2f}" for ratio in found if ratio is not None)


def _comparisons(by: dict[Place, Line], settings: list[tuple[int, int]]) -> list[str]:
    rows = []
    for ours, theirs, target in COMPARED:
        cells = [_ratios(by, (ours, *setting), (theirs, *setting)) for setting in settings]
        if any(cells):
            names = [f"{ours[1]}, {ours[0]}", f"{theirs[1]}, {theirs[0]} {theirs[2]}"]
            rows.append([*names, "" if target is None else f"{target:.1f}", *cells])
    head = ["ours", "against", "target at 1 thread, batch 1", *map(_name, settings)]
    return _section("Times faster", "Ratios of the medians, then of the least times.", head, rows)


def _targets(lines: list[Line], by: dict[Place, Line]) -> list[str]:
    """What was aimed at besides, and what was measured."""
    rows = []
    for batch in dict.fromkeys(batch for _, _, batch in by):
        ratio = _ratio(by, (BIREAL, 2, batch), (BIREAL, 1, batch))
        if ratio is not None:
            target = THREADS_TARGET if batch == 1 else ""
            rows.append([f"Bi-Real-18: two threads, times faster than one, batch {batch}", target, f"{ratio:.2f}"])
    for isa, target in KERNEL_TARGETS.items():
        for line in lines:
            if line["what"] == "kernel" and line["isa"] == isa:
                found = f"{line['bit_macs'] / 1e12:.2f} Tera bit-MAC/s, {line['limit_share']:.0%} of the limit"
                rows.append([f"inside the {isa} kernel, 3x3, {line['name']}", target, found])
    cold = _cold(list(by.values()), BIREAL)
    if cold is not None and "seconds" in cold:
        name = "Bi-Real-18: fresh process to first answer"
        rows.append([name, COLD_TARGET, f"{cold['seconds']:.3f} s (CPU {cold['cpu_seconds']:.3f} s)"])
    return _section("Other targets", "", ["what", "target", "measured"], rows)


def _threads(
    lines: list[Line], networks: list[Line], by: dict[Place, Line], settings: list[tuple[int, int]]
) -> list[str]:
    """What more threads bring: to instructions on registers alone, and to every row."""
    limits = {(line["isa"], line["threads"]): line for line in lines if line["what"] == "limits"}
    batches = list(dict.fromkeys(batch for _, batch in settings))
    text = []
    for threads in dict.fromkeys(threads for threads, _ in settings if threads > 1):
        rows = []
        for (isa, count), line in limits.items():
            one = limits.get((isa, 1))
            if count == threads and one is not None:
                gains = [f"{name} {line[kind] / one[kind]:.2f}" for name, kind in LIMIT_OF.items() if one[kind]]
                rows.append([f"the {isa} instructions alone", ", ".join(gains), *[""] * (len(batches) - 1)])
        for key in dict.fromkeys(map(_key, networks)):
            ratios = [_ratio(by, (key, threads, batch), (key, 1, batch)) for batch in batches]
            if any(ratios):
                name = f"{key[1]}: {key[0]} {key[2]}"
                rows.append([name, *("" if ratio is None else f"{ratio:.2f}" for ratio in ratios)])
        about = (
            "Times faster than one thread. The first rows are instructions on registers alone, on all threads at the "
            "same time: where cores share their arithmetic units no program gains more."
        )
        text += _section(f"{threads} threads", about, ["", *(f"batch {batch}" for batch in batches)], rows)
    return text


def _limits(lines: list[Line], networks: list[Line]) -> list[str]:
    about = (
        "One thread, one image: layers that multiply and accumulate, and what share of the core's limit they reach "
        "with their epilogues; [every layer](networks-roofline.md), [drawn](networks-roofline.png)."
    )
    text = _section("Against the limits of the core", about, roofline.HEAD, roofline.roofline_rows(networks))
    rows = [
        [line["isa"], str(line["threads"]), *(f"{line[kind] / 1e9:.0f}" for kind in LIMIT_OF.values())]
        for line in lines
        if line["what"] == "limits"
    ]
    head = ["ISA", "threads", *LIMIT_OF]
    return text + _section("Limits", "GMAC/s of all threads together, measured in this run.", head, rows)


def _cold(networks: list[Line], key: Key) -> Line | None:
    return next((line["cold"] for line in networks if _key(line) == key and "cold" in line), None)


def _cold_cells(cold: Line | None) -> list[str]:
    if cold is None or "skipped" in cold:
        return ["", ""]
    return [f"{cold['seconds']:.3f} s", "" if cold["peak_bytes"] is None else f"{cold['peak_bytes'] / 1e6:.0f} MB"]


def _cold_starts(networks: list[Line]) -> list[str]:
    rows = []
    for key in dict.fromkeys(map(_key, networks)):
        cold = _cold(networks, key)
        if cold is None:
            continue
        if "skipped" in cold:
            cells = [cold["skipped"].replace("|", "/"), *[""] * 6]
        else:
            parts = ("seconds", "import_seconds", "load_seconds", "answer_seconds", "cpu_seconds")
            cells = [f"{cold[part]:.3f}" for part in parts]
            cells += [_cold_cells(cold)[1], f"{cold['file_bytes'] / 1e6:.1f} MB"]
        rows.append([key[1], key[0], key[2], *cells])
    about = (
        "Fresh processes with one network each, from their start to the first answer, in seconds: the median, its "
        "parts, and the least CPU time. The peak is the most memory that such a process had. A compiled torch is left "
        "out."
    )
    head = ["network", "engine", "numbers", "start", "import", "load", "first answer", "CPU", "peak", "file"]
    return _section("Cold start", about, head, rows)


def _plans(networks: list[Line]) -> list[str]:
    first: dict[Key, Line] = {}
    for line in networks:
        if "runs_as" in line:
            first.setdefault(_key(line), line)
    rows = [
        [line["network"], line["engine"], line["numbers"], line["runs_as"], _difference(line)]
        for line in first.values()
    ]
    head = ["network", "engine", "numbers", "runs as", "differs from torch by"]
    return _section("What the convolutions run as", "", head, rows)


def _difference(line: Line) -> str:
    return f"{line['difference']:.1e}" if "difference" in line else "not compared"


def networks_png(lines: list[Line]) -> bytes:
    """Bars: milliseconds per image of every row, one panel for each setting, on a logarithmic axis."""
    lines = [line for line in lines if line["what"] == "network"]
    settings = _settings(lines)
    keys = list(dict.fromkeys(_key(line) for line in lines if "median_ms" in line))
    engines = [name for name in dict.fromkeys(line["engine"].partition(",")[0] for line in lines) if name != OURS]
    colors = {OURS: BLUE, **dict(zip(engines, (ORANGE, *PALETTE[2:]), strict=False))}
    labels = [f"{network}: {engine} {numbers}" for engine, network, numbers in keys]
    canvas, panels = figure(len(settings))
    canvas.set_size_inches(3.4 * len(settings) + 0.06 * max(map(len, labels), default=0), 0.26 * len(keys) + 1.4)
    for panel, setting in zip(panels, settings, strict=True):
        for line in lines:
            if (line["threads"], line["batch"]) == setting and "median_ms" in line:
                time = line["median_ms"] / line["batch"]
                bar = panel.barh(keys.index(_key(line)), time, 0.75, color=colors[line["engine"].partition(",")[0]])
                panel.bar_label(bar, fmt="%.2f", padding=2, fontsize=7)
        panel.set(title=_name(setting), xlabel="ms per image", xscale="log", yticks=range(len(keys)))
        panel.set_yticklabels(labels, fontsize=7)
        panel.set_ylim(len(keys) - 0.4, -0.6)  # a row that was not measured leaves its place
        panel.margins(x=0.15)
        if panel is not panels[0]:
            panel.tick_params(labelleft=False)
    image = io.BytesIO()
    canvas.savefig(image, format="png", dpi=120)
    return image.getvalue()
