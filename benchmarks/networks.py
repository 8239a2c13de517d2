"""Whole networks: ours, packed, beside OpenVINO, ONNX Runtime and torch, all in turn in one process.

Checks every answer against torch before it times it: a tenth of a second with one row, then the next, of which the
first tenth, one call at least, warms up and is not counted.  For the first setting also the profile of our networks,
and the cold start of every row in fresh processes.  Appends one JSON line per measurement to reports/networks.jsonl and
writes the tables and pictures of this run: networks.md and .png, networks-roofline.md and .png.  An engine that is not
installed, or runs something else than asked, is a row that says so.  What other processes took of the cores in the
meantime is measured too, and said where it was much.

With all rows and settings it takes about 10 minutes on two quiet cores, of which --seconds bounds a part.

    make bench        or        python benchmarks/networks.py [--only openvino bi-real] [--threads 1] [--batch 1 16]
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from float_networks import mobilenet_v2, mobilenet_v3_small, resnet18
from onebit import engines
from onebit.engines import Prepared, Refused, noise
from onebit.engines.base import cold, versions
from onebit.engines.timed import timed
from onebit.files import write_atomic
from onebit.models import build
from onebit.nn import SCHEMES
from onebit.nn.randomize import randomize_
from onebit.runtime.cpu import describe
from onebit.runtime.engine import usable_isas
from onebit.runtime.limits import kernel_rate, measure_limits
from onebit.runtime.parity import output_error
from onebit.zoo.networks import Network
from report.networks import networks_png, networks_table
from report.roofline import profiled, roofline_png, roofline_table
from speed import SHAPES, append, commit, last_run, rounded


def chain() -> nn.Sequential:
    """(B, 256, 14, 14) -> the same: four times sign, binary 3x3 convolution, affine."""
    scheme = SCHEMES["bireal"]
    return nn.Sequential(
        *(layer for _ in range(4) for layer in (scheme.conv2d(256, 256, 3, 1, 1), nn.BatchNorm2d(256)))
    )


@dataclass(frozen=True)
class Plain:
    """A network outside of the zoo; ``limits`` replace those of ``LIMITS``."""

    build: Callable[[], nn.Module]
    input_shape: tuple[int, int, int]
    limits: dict[str, float] = field(default_factory=dict)


NETWORKS: dict[str, Network | Plain] = {
    "Bi-Real-18": Network("resnet18", 224, {"scheme": "bireal", "stem": "imagenet", "downsample": "conv1x1"}),
    "ReActNet-A": Network("reactnet-a", 224),
    "RB-Net-18, RPC stem": Network("rb-net-18-rpc-stem", 224),
    "RB-Net-18, wide": Network("rb-net-18-wide", 224),
    "FTBNN-18, baseline": Network("ftbnn-18-baseline", 224),
    "FTBNN-18, purified": Network("ftbnn-18", 224),
    "FTBNN-18, 1.5 times, 2 groups": Network("ftbnn-18-k1.5-g2", 224),
    "VGG-Small": Network("vgg-small", 32),
    "VGG-Small, real": Network("vgg-small", 32, {"scheme": "float"}),
    "ResNet-18": Plain(resnet18, (3, 224, 224)),
    # Thin depthwise layers without training lose much to int8: measured 0.18 and 0.47 in OpenVINO, 0.23 and 0.56 in
    # ONNX Runtime. An answer that has nothing to do with torch's is off by 1.4.
    "MobileNetV2": Plain(mobilenet_v2, (3, 224, 224), {"int8": 0.4}),
    "MobileNetV3-Small": Plain(mobilenet_v3_small, (3, 224, 224), {"int8": 0.7}),
    "four convolutions": Plain(chain, (256, 14, 14)),
}


@dataclass(frozen=True)
class Row:
    """One line of the table: who computes which network in which numbers; the options go to ``prepare``."""

    engine: str
    network: str
    numbers: str
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """Engine and options: "torch, compile", "onebit, isa avx2"."""
        options = (key if value is True else f"{key} {value}" for key, value in self.options.items())
        return ", ".join([self.engine, *options])


ROWS = (
    Row("onebit", "Bi-Real-18", "1-bit"),
    Row("onebit", "Bi-Real-18", "1-bit", {"isa": "avx2"}),
    Row("onebit", "Bi-Real-18", "1-bit, int8 stem", {"stem": "int8"}),
    Row("onebit", "Bi-Real-18", "1-bit, float16 activations", {"activation_dtype": "float16"}),
    Row(
        "onebit", "Bi-Real-18", "1-bit, int8 stem, float16 activations", {"stem": "int8", "activation_dtype": "float16"}
    ),
    Row("onebit", "ReActNet-A", "1-bit"),
    Row("onebit", "ReActNet-A", "1-bit, float16 activations", {"activation_dtype": "float16"}),
    Row("onebit", "RB-Net-18, RPC stem", "1-bit"),
    Row("onebit", "RB-Net-18, wide", "1-bit"),
    Row("onebit", "FTBNN-18, baseline", "1-bit"),
    Row("onebit", "FTBNN-18, purified", "1-bit"),
    Row("onebit", "FTBNN-18, purified", "1-bit, int8 stem", {"stem": "int8"}),
    Row("onebit", "FTBNN-18, 1.5 times, 2 groups", "1-bit"),
    Row("OpenVINO", "Bi-Real-18", "1-bit"),
    Row("OpenVINO", "ResNet-18", "int8"),
    Row("OpenVINO", "ResNet-18", "bf16"),
    Row("OpenVINO", "ResNet-18", "fp32"),
    Row("ONNX Runtime", "ResNet-18", "int8"),
    Row("ONNX Runtime", "ResNet-18", "fp32"),
    *(
        Row(engine, network, numbers)
        for network in ("MobileNetV2", "MobileNetV3-Small")
        for engine in ("OpenVINO", "ONNX Runtime")
        for numbers in ("int8", "fp32")
    ),
    Row("torch", "ResNet-18", "fp32"),
    Row("torch", "ResNet-18", "fp32", {"compile": True}),
    Row("onebit", "VGG-Small", "1-bit"),
    Row("OpenVINO", "VGG-Small, real", "int8"),
    Row("torch", "VGG-Small, real", "fp32"),
    Row("onebit", "four convolutions", "1-bit"),
    Row("OpenVINO", "four convolutions", "1-bit"),
)

# numbers -> largest |got - want| / |want| of the median image; rounding flips a sign now and then, and that is felt
LIMITS = {
    "1-bit": 0.1,
    "1-bit, int8 stem": 0.4,
    "1-bit, float16 activations": 0.4,
    "1-bit, int8 stem, float16 activations": 0.4,
    "fp32": 1e-3,
    "bf16": 5e-2,
    "int8": 0.2,
}
TIMES = ("median_ms", "fastest_ms", "p90_ms", "count")
REQUIRED = ("engine", "network", "numbers", "input", "threads", "batch", *TIMES, "runs_as")


@cache
def network_of(name: str) -> nn.Module:
    """The untrained network, with random norms, slopes and shifts."""
    torch.manual_seed(0)
    chosen = NETWORKS[name]
    network = build(chosen) if isinstance(chosen, Network) else chosen.build()
    randomize_(network, chosen.input_shape)
    return network


@cache
def answer(name: str, batch: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Images of noise (B, C, H, W), and what the network makes of them in torch, (B, classes)."""
    image = noise((batch, *NETWORKS[name].input_shape), seed=0)
    with torch.no_grad():
        return image, network_of(name)(torch.from_numpy(image)).flatten(1).numpy()


def limit_of(row: Row) -> float:
    """How far the row's answer may be from torch's, as a share of it."""
    network = NETWORKS[row.network]
    own = network.limits if isinstance(network, Plain) else {}
    return own.get(row.numbers, LIMITS[row.numbers])


def prepare(row: Row, threads: int, batch: int) -> tuple[Prepared, float]:
    """What ``row`` measures, and how far its answer is from torch's; Refused where it is not to be timed."""
    image, want = answer(row.network, batch)
    network, options = network_of(row.network), {"threads": threads, "numbers": row.numbers, **row.options}
    prepared = engines.prepare(row.engine, network, image, **options)
    difference = output_error(want, prepared.run(), norm=2)
    if not difference <= limit_of(row):
        raise Refused(f"wrong: its answer differs from torch's by {difference:.2g} of it")
    return prepared, difference


def measure(
    rows: list[Row], threads: int, batch: int, seconds: float, details: bool = False
) -> Iterator[dict[str, Any]]:
    """The lines of ``rows``, all timed in turn; with their profiles and cold starts for ``details``."""
    lines, work, ready = [], {}, {}
    for row in rows:
        line: dict[str, Any] = {
            "what": "network",
            "engine": row.label,
            "network": row.network,
            "numbers": row.numbers,
            "input": "x".join(map(str, NETWORKS[row.network].input_shape)),
            "threads": threads,
            "batch": batch,
        }
        print(f"preparing {row.label}: {row.network}, {row.numbers}", file=sys.stderr, flush=True)
        try:
            prepared, line["difference"] = prepare(row, threads, batch)
            line |= {"runs_as": prepared.runs_as, **prepared.facts}
            ready[len(lines)] = prepared
            work[str(len(lines))] = prepared.run
        except Refused as why:
            line["skipped"] = str(why)
        lines.append(line)
    times = timed(work, seconds=seconds * len(work), stay=0.1)
    for index, line in enumerate(lines):
        line |= times.get(str(index), {})
        if details and index in ready:
            line |= measure_details(ready[index], threads)
        yield line


def measure_details(prepared: Prepared, threads: int) -> dict[str, Any]:
    """The profile and the cold start of a row, as far as it has them."""
    found: dict[str, Any] = {}
    if prepared.profile is not None:
        found["profile"] = [rounded(row) for row in prepared.profile()]
    if prepared.fresh is not None:
        try:
            found["cold"] = rounded(cold(prepared.fresh, threads))
        except RuntimeError as error:
            found["cold"] = {"skipped": str(error)}
    return found


def measure_limits_of(threads: list[int]) -> Iterator[dict[str, Any]]:
    """Lines of what the machine can do at most with each number of threads, and of the binary kernel inside, per
    instruction set; plain C++ has no limits.
    """
    for isa in reversed(usable_isas()):
        if isa == "portable":
            continue
        for count in threads:
            yield {"what": "limits", "isa": isa, "threads": count, **asdict(measure_limits(isa, count))}
        for channels, side in SHAPES:
            rate = kernel_rate(isa, (side, side, channels), channels)
            share = rate / measure_limits(isa).binary
            name = f"{channels} ch {side}x{side}"
            yield {"what": "kernel", "isa": isa, "name": name, "bit_macs": rate, "limit_share": share}


def lines_of(file: Path) -> list[dict[str, Any]]:
    """The lines that another program measured; SystemExit where they are not such lines."""
    try:
        lines = [json.loads(line) for line in file.read_text().splitlines()]
        missing = {key for line in lines for key in REQUIRED if key not in line}
    except (OSError, ValueError, TypeError) as error:
        raise SystemExit(f"--also {file}: {error}") from error
    if missing or not lines:
        raise SystemExit(f"--also {file}: needs JSON lines with {', '.join(sorted(missing or REQUIRED))}")
    return [{**line, "what": "network", "elsewhere": True} for line in lines]


def chosen(words: list[str]) -> list[Row]:
    """The rows whose engine, network or numbers hold one of ``words``, all for none; SystemExit if that leaves none."""
    texts = {index: f"{row.label} {row.network} {row.numbers}".lower() for index, row in enumerate(ROWS)}
    rows = [ROWS[index] for index, text in texts.items() if not words or any(word.lower() in text for word in words)]
    if not rows:
        raise SystemExit(f"--only {' '.join(words)} matches no row; the rows are:\n" + "\n".join(texts.values()))
    return rows


def main() -> None:
    """Measure, append, draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", default=[], help="parts of engines, networks or numbers")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 16])
    parser.add_argument("--seconds", type=float, default=2.0, help="per row and setting; 11 calls are made in any case")
    parser.add_argument("--also", type=Path, help="JSON lines of another program, as benchmarks/lce.py writes them")
    parser.add_argument("--out", type=Path, default=Path("reports"), help="folder of the reports")
    parser.add_argument("--report", action="store_true", help="measure nothing; draw the last run again")
    arguments = parser.parse_args()
    if not arguments.report:
        append(arguments.out, "networks", measured(arguments))
    draw(arguments.out)


def measured(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """The lines of a new run."""
    rows = chosen(arguments.only)
    also = lines_of(arguments.also) if arguments.also else []
    facts = {"machine": describe(), "commit": commit(), "versions": versions()}
    facts["date"] = time.strftime("%Y-%m-%d %H:%M", time.gmtime())
    settings = [(threads, batch) for threads in arguments.threads for batch in arguments.batch]
    begin = time.perf_counter()
    lines = []
    for setting in settings:
        for line in measure(rows, *setting, arguments.seconds, details=setting == settings[0]):
            lines.append({**facts, **line})
            print(json.dumps({key: value for key, value in line.items() if key != "profile"}), flush=True)
    lines += [{**facts, **line} for line in [*also, *measure_limits_of(sorted({1, *arguments.threads}))]]
    return [*lines, {**facts, "what": "run", "minutes": round((time.perf_counter() - begin) / 60, 1)}]


def draw(folder: Path) -> None:
    """Write the tables and pictures of the last run."""
    lines = last_run(folder, "networks")
    table = networks_table(lines)
    write_atomic(folder / "networks.md", table.encode())
    write_atomic(folder / "networks.png", networks_png(lines))
    if profiled(lines):
        write_atomic(folder / "networks-roofline.md", roofline_table(lines).encode())
        write_atomic(folder / "networks-roofline.png", roofline_png(lines))
    print(f"\nwrote networks.md and the pictures beside it to {folder}\n\n{table}")


if __name__ == "__main__":
    main()
