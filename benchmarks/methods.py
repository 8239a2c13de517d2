"""The methods side by side: the finished runs of ``studies/methods.yaml``, of one seed each, packed, timed, one report.

All are compared with torch on all test images, timed in turn in one process, and written to
``reports/methods.{jsonl,md,png}``.

    onebit study studies/methods.yaml --data_dir data
    python benchmarks/methods.py --data_dir data [--runs runs/methods]
"""

import argparse
import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from onebit.data import Normalize
from onebit.engines.timed import timed
from onebit.files import write_atomic
from onebit.nn import probe_linearity
from onebit.nn.cost import count_cost
from onebit.report.linearity import linearity_png
from onebit.runtime.cpu import describe
from onebit.runtime.model import Model
from onebit.study import PlannedRun, read_study
from onebit.study.runner import check_folder, is_done
from onebit.tasks.images import input_of
from onebit.train.artifact import load_trained
from onebit.train.deploy import compare_with_torch, images_of_run, pack_trained
from onebit.train.files import read_json
from report.methods import methods_png, methods_table, training_png

STUDY = Path(__file__).resolve().parents[1] / "studies" / "methods.yaml"
PROBED = 256  # images for the linearity


def measure(runs: list[PlannedRun], folder: Path, data_dir: Path | None, seconds: float) -> list[dict[str, Any]]:
    """One line per run: accuracies, time per step, packed size, cost, latency."""
    lines, work, image = [], {}, None
    for run in runs:
        out = folder / run.key
        record, packed = read_json(out / "record.json"), pack_trained(out)
        images, labels = images_of_run(out, data_dir, None)
        compared = compare_with_torch(out, packed.graph, images, labels)
        network, meta = load_trained(out)
        size = meta["input"]["size"]
        cost = count_cost(network, (meta["in_channels"], size, size))
        steps = [1 / (row["images_per_second"] / record["settings"]["batch_size"]) for row in record["epochs"][1:]]
        lines.append(
            {
                "name": run.row,
                "label": run.label,
                "settings": record["settings"],
                "commit": record["commit"],
                "machine": record["machine"],
                "epochs": record["epochs"],
                "torch_accuracy": compared["scores"]["torch"]["accuracy"],
                "packed_accuracy": compared["scores"]["packed"]["accuracy"],
                "images": compared["images"],
                "other_class": compared["other"],
                "agrees": compared["passed"],
                "seconds_per_step": float(np.median(steps)) if steps else None,
                "file_bytes": len(packed.data),
                "flops": cost.flops,
                "bops": cost.bops,
                "ops": cost.ops,
                "linearity": linearity(network, meta, images[:PROBED])
                if record["settings"]["scheme"] != "float"
                else [],
            }
        )
        model = Model(packed.graph, threads=1)
        image = np.random.default_rng(0).standard_normal((1, size, size, meta["in_channels"])).astype(np.float32)
        work[run.row] = lambda model=model, image=image: model(image)
    times = timed(work, seconds=seconds)
    facts = {"timed_on": describe(), "torch": torch.__version__, "date": time.strftime("%Y-%m-%d", time.gmtime())}
    return [{**line, **facts, **times[line["name"]]} for line in lines]


def linearity(network: torch.nn.Module, meta: dict[str, Any], pixels_NHWC: np.ndarray) -> list[dict[str, Any]]:
    """R^2 of every binary convolution and of every residual block on test images."""
    spec = input_of(meta)
    normalize = Normalize(spec.mean, spec.std).eval()
    images = normalize(torch.from_numpy(pixels_NHWC).permute(0, 3, 1, 2))
    return [asdict(row) for row in probe_linearity(network, images, blocks=["blocks.*"])]


def main() -> None:
    """Write the report of all finished runs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data_dir", type=Path)
    parser.add_argument("--runs", type=Path, default=Path("runs/methods"))
    parser.add_argument("--out", type=Path, default=Path("reports"))
    parser.add_argument("--seconds", type=float, default=20.0, help="time for the latencies of all rows together")
    args = parser.parse_args()
    torch.set_num_threads(2)
    study = read_study(STUDY)
    check_folder(study, args.runs)
    done = [run for runs in study.rows().values() for run in runs[:1] if is_done(run, args.runs)]
    lines = measure(done, args.runs, args.data_dir, args.seconds)
    write_atomic(args.out / "methods.jsonl", "".join(json.dumps(line) + "\n" for line in lines).encode())
    write_atomic(args.out / "methods.md", methods_table(lines).encode())
    write_atomic(args.out / "methods.png", methods_png(lines))
    write_atomic(args.out / "methods-training.png", training_png(lines))
    blocks = {
        line["label"]: [(row["name"], row["r2"]) for row in line["linearity"] if row["kind"] == "block"]
        for line in lines
        if line["linearity"]
    }
    accuracies = {line["label"]: line["torch_accuracy"] for line in lines}
    write_atomic(args.out / "methods-linearity.png", linearity_png(blocks, accuracies))


if __name__ == "__main__":
    main()
