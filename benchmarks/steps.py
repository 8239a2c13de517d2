"""Time of a training step: each method's against that of the float network, in turn in one process.

Everything as ``onebit train`` does it: augmentation, forward, backward, optimizer, the method's own networks.

    python benchmarks/steps.py --data_dir data [--compile false] [--batch_size 128] [--out reports]
"""

import argparse
import itertools
import json
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

from methods import STUDY
from onebit.engines.timed import timed, warning
from onebit.files import write_atomic
from onebit.methods import Batch
from onebit.runtime.cpu import describe
from onebit.study import read_study
from onebit.train import TrainSettings, train
from onebit.train.loop import Run
from onebit.train.record import source_commit
from onebit.train.start import load_start

NAMES = ("float", "bireal", "tb", "reactnet", "rbconv", "gan")


def endless(run: Run) -> Iterator[Batch]:
    """Its batches, epoch after epoch."""
    for epoch in itertools.count():
        yield from run.feed.batches(run.settings.seed, epoch, run.batch_size)


def main() -> None:
    """Measure and write ``steps.jsonl`` and ``steps.md``."""
    rows = {run.row: run for run in read_study(STUDY)}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data_dir", type=Path)
    parser.add_argument("--compile", choices=("true", "false"), default="true")
    parser.add_argument("--batch_size", type=int, default=rows["float"].settings.batch_size)
    parser.add_argument("--only", nargs="+", choices=list(rows), default=list(NAMES))
    parser.add_argument("--seconds", type=float, default=120.0, help="for all together")
    parser.add_argument("--out", type=Path, default=Path("reports"))
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        runs = Path(folder)
        shared = {"batch_size": args.batch_size, "compile": args.compile == "true"}
        guide = replace(rows["float"].settings, **{**shared, "compile": False, "max_steps": 1})
        train(guide, runs / rows["float"].key, data_dir=args.data_dir, show=False)
        data = guide.make_task().load(guide.dataset, args.data_dir)
        work: dict[str, Callable[[], object]] = {}
        for name in args.only:
            settings = replace(TrainSettings.from_json(rows[name].settings_in(runs)), **shared)
            start = load_start(settings.start_from) if settings.start_from else None
            run = Run(settings, data, runs / f"{name}-steps", recipe=None, saved=None, start=start, show=False)
            run.state.network.train()
            run.state.method.train()
            work[name] = partial(run.step, endless(run), run.stages[0], run.steps_per_epoch)
        times = timed(work, seconds=args.seconds, warmup=2)
    facts = {
        "model": guide.model,
        "batch_size": args.batch_size,
        "compile": shared["compile"],
        "machine": describe(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "commit": source_commit(),
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
    }
    lines = [
        {
            "name": name,
            "label": rows[name].label,
            **columns,
            "times_first": columns["median_ms"] / times[args.only[0]]["median_ms"],
            **facts,
        }
        for name, columns in times.items()
    ]
    text = [
        "# Time of a training step",
        "",
        f"{facts['model']}, batch {facts['batch_size']}, channels_last, "
        f"{'torch.compile' if facts['compile'] else 'eager'}, {facts['threads']} thread(s), {facts['machine']}, "
        f"torch {facts['torch']}, commit {facts['commit']}; in turn in one process, {lines[0]['count']} steps each. "
        "Made by `benchmarks/steps.py`.",
        "",
        *([noise, ""] if (noise := warning([row["outside_cores"] for row in lines])) else []),
        f"| method | median s | least s | 90% s | times {lines[0]['label']} |",
        "|---|---|---|---|---|",
        *(
            f"| {row['label']} | {row['median_ms'] / 1e3:.3f} | {row['fastest_ms'] / 1e3:.3f} | "
            f"{row['p90_ms'] / 1e3:.3f} | {row['times_first']:.2f} |"
            for row in lines
        ),
        "",
    ]
    write_atomic(args.out / "steps.jsonl", "".join(json.dumps(line) + "\n" for line in lines).encode())
    write_atomic(args.out / "steps.md", "\n".join(text).encode())
    print("\n".join(text))


if __name__ == "__main__":
    main()
