"""The methods side by side: short trainings of ResNet-20 on CIFAR-10 under one budget, packed, timed, one report.

Every row is a run of the same settings (``BASE``) with a few of them changed; runs lie in ``--runs``, one folder each,
and those that are not finished are trained or resumed.  Then all are packed, compared with torch on all test images,
timed in turn in one process, and written to ``reports/methods.{jsonl,md,png}``.

    python benchmarks/methods.py --data_dir data --runs runs/methods [--only NAME ...] [--precision bf16-mixed]
"""

import argparse
import json
import time
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from onebit.data import Normalize
from onebit.engines.timed import timed
from onebit.files import write_atomic
from onebit.nn import probe_linearity
from onebit.nn.cost import count_cost
from onebit.recipes import RECIPES
from onebit.report.linearity import linearity_png
from onebit.runtime.cpu import describe
from onebit.runtime.model import Model
from onebit.tasks.images import input_of
from onebit.train import TrainSettings, train
from onebit.train.artifact import load_trained
from onebit.train.deploy import compare_with_torch, images_of_run, pack_trained
from onebit.train.files import read_json
from onebit.train.settings import PRECISIONS
from report.methods import methods_png, methods_table, training_png

BASE = "resnet20-cifar10-short"
PROBED = 256  # images for the linearity


@dataclass(frozen=True)
class Row:
    """One run of the study: what it is called in the table, and the settings that differ from the base's."""

    label: str
    changes: dict[str, Any] = field(default_factory=dict)
    guided: bool = False  # by the float network of the study, as its teacher
    started: bool = False  # from the weights of the float network of the study


BIREAL = {"scheme": "bireal"}
RBCN = {"scheme": "rbcn", "lr_factors": {"weight-scale": 0.1}, "method": "rbcn"}
GAN = {"adversarial_weight": 0.1, "layers": ["blocks.5", "blocks.11", "blocks.17"]}  # the last block of each stage
LIGHT = {"kernel_weight": 1e-6}
STUDY: dict[str, Row] = {
    "float": Row("float", {"scheme": "float"}),
    "bireal-plain": Row("Bi-Real, no non-linearity", {**BIREAL, "model_options": {"activation": "none"}}),
    "bireal": Row("Bi-Real + PReLU (baseline)", BIREAL),
    "rbconv": Row("RBCN: + RBConv", {**RBCN, "method_options": {"gan": False}}),
    "gan": Row("RBCN: + GAN", {**RBCN, "method_options": GAN}, guided=True),
    "bn-update": Row("RBCN: + BN update", {**RBCN, "method_options": {**GAN, "bn_update": 0.1}}, guided=True),
    "rbconv-light": Row("RBCN: + RBConv, light", {**RBCN, "method_options": {"gan": False, **LIGHT}}),
    "gan-light": Row(
        "RBCN: + GAN, light", {**RBCN, "method_options": {**GAN, **LIGHT, "adversarial_weight": 0.01}}, guided=True
    ),
    "rbconv-start": Row("RBCN: + RBConv, from float", {**RBCN, "method_options": {"gan": False}}, started=True),
    "gan-start": Row("RBCN: + GAN, from float", {**RBCN, "method_options": GAN}, guided=True, started=True),
    "tb": Row("Trained Binarization", {"scheme": "trained-binarization", "scale_decay": 1e-4}),
    "rb-net": Row("RB-Net: RPC", {"model": "rb-net-20", "scheme": "rb-net"}),
    "rb-net-roll": Row(
        "RB-Net: RPC, rolled", {"model": "rb-net-20", "scheme": "rb-net", "model_options": {"roll": "alternate"}}
    ),
    "ftbnn": Row("FTBNN", {"model": "ftbnn-20", "scheme": "ftbnn"}),
    "ir-net": Row("IR-Net, Hardtanh", {"scheme": "ir-net", "model_options": {"activation": "hardtanh"}}),
    "reactnet": Row("ReActNet layers", {"scheme": "reactnet", "model_options": {"activation": "rprelu"}}),
    "distillation": Row("Bi-Real + distillation", {**BIREAL, "method": "distillation"}, guided=True),
}


def settings_of(name: str, runs: Path, precision: str = "32-true") -> TrainSettings:
    """The settings of a row."""
    row = STUDY[name]
    roles = {"teacher": row.guided, "start_from": row.started}
    folders = {role: str(runs / "float") for role, wanted in roles.items() if wanted}
    return replace(RECIPES[BASE](), precision=precision, **row.changes, **folders)


def train_missing(names: list[str], runs: Path, data_dir: Path | None, precision: str) -> None:
    """Train, or go on with, every run that has no trained model yet."""
    for name in names:
        out = runs / name
        if not (out / "model.json").exists():
            settings, resume = settings_of(name, runs, precision), (out / "record.json").exists()
            train(settings, out, data_dir=data_dir, recipe=BASE, resume=resume)


def measure(names: list[str], runs: Path, data_dir: Path | None, seconds: float) -> list[dict[str, Any]]:
    """One line per run: accuracies, time per step, packed size, cost, latency."""
    lines, work, image = [], {}, None
    for name in names:
        out = runs / name
        record, packed = read_json(out / "record.json"), pack_trained(out)
        images, labels = images_of_run(out, data_dir, None)
        compared = compare_with_torch(out, packed.graph, images, labels)
        network, meta = load_trained(out)
        size = meta["input"]["size"]
        cost = count_cost(network, (meta["in_channels"], size, size))
        steps = [1 / (row["images_per_second"] / record["settings"]["batch_size"]) for row in record["epochs"][1:]]
        lines.append(
            {
                "name": name,
                "label": STUDY[name].label,
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
        work[name] = lambda model=model, image=image: model(image)
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
    """Train what is missing, then write the report of all finished runs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data_dir", type=Path)
    parser.add_argument("--runs", type=Path, default=Path("runs/methods"))
    parser.add_argument("--out", type=Path, default=Path("reports"))
    parser.add_argument("--only", nargs="+", choices=list(STUDY), default=list(STUDY), help="train these rows only")
    parser.add_argument("--precision", choices=PRECISIONS, default="32-true", help="bf16-mixed where the CPU has bf16")
    parser.add_argument("--report", action="store_true", help="train nothing; report the runs that are finished")
    parser.add_argument("--no_report", action="store_true", help="train only")
    parser.add_argument("--seconds", type=float, default=20.0, help="time for the latencies of all rows together")
    args = parser.parse_args()
    if not args.report:
        train_missing(args.only, args.runs, args.data_dir, args.precision)
    if args.no_report:
        return
    torch.set_num_threads(2)
    done = [name for name in STUDY if (args.runs / name / "model.json").exists()]
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
