"""README's tables, from the records in ``reports/``.

A table stands between ``<!-- table: NAME -->`` and ``<!-- end -->``, and ``TABLES`` says what it is made from.

    python benchmarks/readme.py            # write the tables
    python benchmarks/readme.py --check    # exit with 1 where README says something else than the records
"""

import argparse
import json
import re
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from onebit.files import write_atomic
from onebit.study import read_study, study_rows
from onebit.study.table import cells

ROOT = Path(__file__).resolve().parents[1]
REPORTS = ROOT / "reports"
REGION = re.compile(r"(<!-- table: (\S+) -->\n).*?(<!-- end -->)", re.DOTALL)

# Rows of networks.jsonl that README shows: network, engine, numbers; and what it calls the last.
NETWORKS = {
    ("RB-Net-18, RPC stem", "onebit", "1-bit"): "1-bit",
    ("Bi-Real-18", "onebit, stem int8", "1-bit, int8 stem"): "1-bit, int8 stem",
    ("Bi-Real-18", "onebit", "1-bit"): "1-bit",
    ("ReActNet-A", "onebit", "1-bit"): "1-bit",
    ("Bi-Real-18", "OpenVINO", "1-bit"): "1-bit",
    ("ResNet-18", "OpenVINO", "int8"): "int8",
    ("ResNet-18", "ONNX Runtime", "int8"): "int8",
    ("MobileNetV2", "ONNX Runtime", "int8"): "int8",
    ("MobileNetV2", "ONNX Runtime", "fp32"): "fp32",
    ("MobileNetV3-Small", "OpenVINO", "int8"): "int8",
    ("ResNet-18", "torch", "fp32"): "fp32",
}
# Rows of speed.jsonl, and what README calls them.
SPEED = {
    "vgg-small": "VGG-Small, 32×32",
    "resnet18": "ResNet-18, 32×32",
    "64 ch 56x56": "3×3 convolution, 64 channels, 56×56",
    "512 ch 7x7": "3×3 convolution, 512 channels, 7×7",
}
STUDIES = ("cifar10", "digits")  # of which finished runs lie in reports/


def lines_of(path: Path) -> list[dict[str, Any]]:
    """The lines of a file of JSON lines."""
    return [json.loads(line) for line in path.read_text().splitlines()]


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A Markdown table."""
    head = list(head)
    return "\n".join(f"| {' | '.join(row)} |" for row in [head, ["---"] * len(head), *map(list, rows)]) + "\n"


def networks(path: Path) -> str:
    """Whole networks on one thread, one image; of a row that was measured several times, the last."""
    found = {
        (line["network"], line["engine"], line["numbers"]): line
        for line in lines_of(path)
        if line["what"] == "network" and (line["threads"], line["batch"]) == (1, 1) and "median_ms" in line
    }
    rows = []
    for (network, engine, numbers), name in NETWORKS.items():
        line = found.get((network, engine, numbers))
        if line is not None:
            cold = line.get("cold") or {}
            rows.append(
                [
                    network,
                    {"torch": "PyTorch"}.get(engine, engine.partition(",")[0]),
                    name,
                    f"{line['median_ms']:.1f} ms",
                    f"{line['fastest_ms']:.1f} ms",
                    f"{cold['seconds']:.2f} s" if "seconds" in cold else "",
                    f"{cold['peak_bytes'] / 1e6:.0f} MB" if cold.get("peak_bytes") else "",
                    f"{cold['file_bytes'] / 1e6:.1f} MB" if "file_bytes" in cold else "",
                ]
            )
    return table(("network", "engine", "precision", "latency", "least", "cold start", "peak memory", "file"), rows)


def speed() -> str:
    """Layers and small networks against PyTorch, per instruction set."""
    last = {(line["name"], line["isa"]): line for line in lines_of(REPORTS / "speed.jsonl")}
    rows = []
    for name, title in SPEED.items():
        ours, theirs = ([last[name, isa] for isa in ("avx512", "avx2")] for _ in range(2))
        rows.append(
            [
                title,
                *(f"{line['median_ms']:.2f} ms" for line in ours),
                ", ".join(f"{line['torch_median_ms']:.1f}" for line in theirs) + " ms",
                ", ".join(f"{line['ratio']:.1f}" for line in ours),
            ]
        )
    return table(("", "onebit, AVX-512", "onebit, AVX2", "PyTorch", "speedup"), rows)


def against(path: Path) -> str:
    """One network in 1 bit, int8 and float32: what ``onebit bench --against`` printed as JSON."""
    result = json.loads(path.read_text())
    rows = []
    for row in result["rows"]:
        if "skipped" in row:
            continue
        scores, cold = row["scores"], row["cold"] or {}
        (latency,) = (each for each in row["latency"] if each["threads"] == 1)
        rows.append(
            [
                {"torch": "PyTorch"}.get(row["engine"], row["engine"]),
                row["numbers"],
                f"{scores[scores['score']]:.2%} of {scores['images']:,}" if scores else "",
                f"{latency['median_ms']:.3f} ms",
                f"{latency['fastest_ms']:.3f} ms",
                f"{cold['seconds']:.2f} s" if "seconds" in cold else "",
                f"{cold['peak_bytes'] / 1e6:.0f} MB" if cold.get("peak_bytes") else "",
                f"{row['file_bytes'] / 1e3:.0f} kB" if row["file_bytes"] else "",
            ]
        )
    return table(("engine", "precision", "accuracy", "latency", "least", "cold start", "peak memory", "file"), rows)


def trained() -> str:
    """What was trained: the rows of the studies whose finished runs lie in ``reports/``."""
    head = ("network", "data", "scheme", "runs", "epochs", "test accuracy", "packed", "file")
    rows = []
    for name in STUDIES:
        study = read_study(ROOT / "studies" / f"{name}.yaml")
        for row in study_rows(study, REPORTS / name):
            settings = next(run.settings for run in study if run.row == row["row"])
            label, runs, epochs, accuracy, packed, _, size, *_ = cells(row)
            network = settings.model + "".join(f", {k} {v}" for k, v in settings.model_options.items())
            rows.append([network, settings.dataset, label, runs, epochs, accuracy, packed, f"{size} kB"])
    folder = REPORTS / "vgg-small-cifar10-cpu"
    record, checked = (json.loads((folder / name).read_text()) for name in ("record.json", "verify.json"))
    settings, torch = record["settings"], record["epochs"][-1]["test_accuracy"]
    packed = checked["torch"]["packed_accuracy"]
    options = "".join(f", {k} {v}" for k, v in settings["model_options"].items())
    about = [settings["model"] + options, settings["dataset"], "Trained Binarization", "one run"]
    rows.append([*about, str(settings["epochs"]), f"{torch:.2%}", f"{packed:.2%}", ""])
    return table(head, rows)


TABLES: dict[str, Callable[[], str]] = {
    "against-digits": lambda: against(REPORTS / "against" / "vgg-small-digits.json"),
    "networks": lambda: networks(REPORTS / "networks.jsonl"),
    "networks-avx2": lambda: networks(REPORTS / "avx2" / "networks.jsonl"),
    "speed": speed,
    "trained": trained,
}


def rewritten(text: str) -> str:
    """``text`` with every table made anew; ValueError unless it has each of ``TABLES`` and no other."""
    named = [name for _, name, _ in REGION.findall(text)]
    if other := set(TABLES) ^ set(named):
        raise ValueError(f"README and TABLES do not both have the table {sorted(other)[0]!r}")
    return REGION.sub(lambda region: region[1] + TABLES[region[2]]() + region[3], text)


def main() -> int:
    """Write or compare README's tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    args = parser.parse_args()
    path = ROOT / "README.md"
    text = path.read_text()
    new = rewritten(text)
    if args.check:
        if new != text:
            print("README.md differs from the records: python benchmarks/readme.py", file=sys.stderr)
        return int(new != text)
    write_atomic(path, new.encode())
    return 0


if __name__ == "__main__":
    sys.exit(main())
