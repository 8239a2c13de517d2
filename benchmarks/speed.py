"""Speed of the binary convolutions and of whole networks against torch fp32, both sides in one run.

Checks every answer before it times it.  Appends one JSON line per measurement to reports/speed.jsonl (machine,
commit, kernel, shape, medians, 90th percentiles, counts) and writes the table and the picture made from the lines of
this machine and run.

    make bench        or        python benchmarks/speed.py [--seconds 2] [--out reports]
"""

import argparse
import json
import subprocess
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from onebit.engines.timed import Outside, timed
from onebit.export import pack
from onebit.files import write_atomic
from onebit.format.bits import pack_bits
from onebit.format.file import to_bytes
from onebit.format.graph import Graph, InputSpec, Node
from onebit.models import MODELS
from onebit.runtime.cpu import describe
from onebit.runtime.engine import Engine, usable_isas
from onebit.runtime.limits import kernel_rate, measure_limits
from onebit.runtime.model import Model
from onebit.runtime.parity import output_error
from onebit.runtime.reference import ReferenceEngine
from report.speed import speed_png, speed_table

SHAPES = ((64, 56), (128, 28), (256, 14), (512, 7))  # channels, side: 3x3, stride 1, padding 1, 115.6 M products each


def layer_graph(channels: int, side: int) -> Graph:
    """image -> bits -> 3x3 binary convolution -> affine -> floats."""
    rng = np.random.default_rng(channels)
    tensors = {
        "w": pack_bits(rng.random((channels, 3, 3, channels)) < 0.5),
        "s": rng.random(channels, np.float32),
        "b": rng.random(channels, np.float32),
    }
    attrs = {"stride": (1, 1), "padding": (1, 1), "dilation": (1, 1), "groups": 1, "pad_value": -1}
    nodes = (
        Node("sign", "elementwise", ("image",), epilogue=({"step": "binarize", "rule": "sign", "output": "x"},)),
        Node(
            "conv",
            "binary_conv2d",
            ("x",),
            attrs,
            {"weight": "w"},
            ({"step": "affine", "scale": "s", "bias": "b"}, {"step": "store", "output": "y"}),
        ),
    )
    return Graph(InputSpec(side, side, channels, (0.0,) * channels, (1.0,) * channels, "other"), nodes, "y", tensors)


def bench_layer(channels: int, side: int, isa: str, seconds: float) -> dict[str, Any]:
    """The convolution node alone (bits in, affine, floats out) against torch's fp32 convolution of the same shape.

    And against what the CPU can do at most: the whole node's median, and inside its kernel, whose shortest time is
    taken between those of the node.
    """
    graph = layer_graph(channels, side)
    image = np.random.default_rng(0).standard_normal((1, side, side, channels)).astype(np.float32)
    engine = Engine(graph, threads=1, isa=isa)
    want = ReferenceEngine(graph).run(image)
    if not output_error(want, engine.run(image)) <= 1e-5:
        raise SystemExit(f"{isa} is wrong on {channels} channels, {side}x{side}: not timing a wrong answer")
    x = torch.from_numpy(image).permute(0, 3, 1, 2)  # channels_last
    weight = torch.randn(channels, channels, 3, 3).to(memory_format=torch.channels_last)
    node: list[float] = []
    fp32: list[float] = []
    inside = 0.0
    outside = Outside()
    deadline = time.perf_counter() + seconds
    with torch.inference_mode():
        for _ in range(5):
            F.conv2d(x, weight, padding=1)
        while time.perf_counter() < deadline or len(node) < 51:
            node.append(engine.profile(image, repeats=1)[1]["ms"])  # after one run that does not count
            F.conv2d(x, weight, padding=1)
            start = time.perf_counter()
            F.conv2d(x, weight, padding=1)
            fp32.append((time.perf_counter() - start) * 1e3)
            inside = max(inside, kernel_rate(isa, (side, side, channels), channels, repeats=3))
    cores = outside.cores()
    limit = measure_limits(isa).binary
    products = 9 * channels * channels * side * side
    ours, theirs = float(np.median(node)), float(np.median(fp32))
    return {
        "what": "layer",
        "name": f"{channels} ch {side}x{side}",
        "isa": isa,
        "kernel": engine.profile(image, repeats=1)[1]["kernel"],
        "median_ms": ours,
        "fastest_ms": min(node),
        "p90_ms": float(np.quantile(node, 0.9)),
        "count": len(node),
        "outside_cores": cores,
        "tera_bit_macs": products / ours / 1e9,
        "kernel_tera_bit_macs": inside / 1e12,
        "limit_tera_bit_macs": limit / 1e12 or None,
        "limit_share": products / ours * 1e3 / limit if limit else None,
        "kernel_limit_share": inside / limit if limit else None,
        "torch_median_ms": theirs,
        "torch_fastest_ms": min(fp32),
        "torch_p90_ms": float(np.quantile(fp32, 0.9)),
        "torch_gmacs": products / theirs / 1e6,
        "ratio": theirs / ours,
    }


def bench_network(name: str, isa: str, seconds: float) -> dict[str, Any]:
    """A whole network of the zoo on one 32x32 image against the same network in fp32."""
    torch.manual_seed(0)
    network, twin = MODELS[name]().eval(), MODELS[name](scheme="float").eval()
    graph = pack(network, (3, 32, 32)).graph
    image = np.random.default_rng(0).standard_normal((1, 32, 32, 3)).astype(np.float32)
    model = Model(graph, threads=1, isa=isa)
    x = torch.from_numpy(image).permute(0, 3, 1, 2)
    with torch.inference_mode():
        want = network(x).numpy()
    if not output_error(want, model(image)) <= 1e-3:
        raise SystemExit(f"{isa} is wrong on {name}: not timing a wrong answer")
    twin = twin.to(memory_format=torch.channels_last)

    def fp32() -> object:
        with torch.inference_mode():
            return twin(x)

    times = timed({"packed": lambda: model(image), "torch": fp32}, seconds=seconds, stay=0.1)
    ours, theirs = times["packed"], times["torch"]
    float_bytes = sum(4 * tensor.numel() for tensor in twin.state_dict().values())
    return {
        "what": "network",
        "name": name,
        "isa": isa,
        **ours,
        **{f"torch_{column}": theirs[column] for column in ("median_ms", "fastest_ms", "p90_ms")},
        "ratio": theirs["median_ms"] / ours["median_ms"],
        "file_bytes": len(to_bytes(graph)),
        "float_bytes": float_bytes,
        "memory_bytes": model.engine.memory,  # type: ignore[attr-defined]
        "profile": [rounded(row) for row in model.profile(image, repeats=51)],
    }


def rounded(row: dict[str, Any]) -> dict[str, Any]:
    """A row of a profile with short numbers."""
    return {key: round(value, 5) if isinstance(value, float) else value for key, value in row.items()}


def commit() -> str:
    """The commit that is measured, with a mark if files differ from it."""
    done = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


def append(folder: Path, name: str, lines: list[dict[str, Any]]) -> None:
    """Append ``lines``, all of one run, to the log NAME.jsonl in ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / f"{name}.jsonl"
    before = log.read_bytes() if log.exists() else b""
    write_atomic(log, before + "".join(json.dumps(line) + "\n" for line in lines).encode())


def last_run(folder: Path, name: str) -> list[dict[str, Any]]:
    """The lines of the last run in the log NAME.jsonl; SystemExit where there is none."""
    log = folder / f"{name}.jsonl"
    lines = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    if not lines:
        raise SystemExit(f"{log} holds no measurement; leave out --report to make one")
    return [line for line in lines if line["date"] == lines[-1]["date"]]


def draw(folder: Path) -> None:
    """Write speed.md and speed.png of the last run."""
    lines = last_run(folder, "speed")
    table = speed_table(lines)
    write_atomic(folder / "speed.md", table.encode())
    write_atomic(folder / "speed.png", speed_png(lines))
    print(f"\nwrote speed.md and speed.png to {folder}\n\n{table}")


def main() -> None:
    """Measure, append, draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=2.0, help="per measurement; 0: the fewest calls")
    parser.add_argument("--out", type=Path, default=Path("reports"), help="folder of the reports")
    parser.add_argument("--report", action="store_true", help="measure nothing; draw the last run again")
    arguments = parser.parse_args()
    if not arguments.report:
        append(arguments.out, "speed", measure(arguments.seconds))
    draw(arguments.out)


def measure(seconds: float) -> list[dict[str, Any]]:
    """One line per layer and network on every instruction set."""
    torch.set_num_threads(1)
    facts = {"machine": describe(), "commit": commit(), "torch": torch.__version__, "threads": 1, "batch": 1}
    facts["date"] = time.strftime("%Y-%m-%d %H:%M", time.gmtime())
    lines = []
    for isa in reversed(usable_isas()):
        for channels, side in SHAPES:
            lines.append({**facts, **bench_layer(channels, side, isa, seconds)})
            print(json.dumps(lines[-1]), flush=True)
        for name in ("vgg-small", "resnet20", "resnet18"):
            lines.append({**facts, **bench_network(name, isa, seconds)})
            print(json.dumps({k: v for k, v in lines[-1].items() if k != "profile"}), flush=True)
    return lines


if __name__ == "__main__":
    main()
