"""One run of a study in a process of its own: train it, or go on with it, then pack and measure it.

``python -m onebit.study WORK.json`` starts one.
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from onebit.files import write_atomic
from onebit.nn import count_cost
from onebit.train import Interrupted, TrainSettings, load_trained, task_of, train
from onebit.train.deploy import compare_with_torch, images_of_run, pack_trained
from onebit.train.files import read_json, write_json
from onebit.train.record import PACKED, RECORD

MODEL = "model.json"  # a run that has it is trained
MEASURED = "measured.json"  # and one that has this is measured, too


@dataclass(frozen=True)
class Work:
    """What a worker is told; plain values, so that it can go to another process or machine.

    Attributes:
        settings: as ``TrainSettings.as_json`` gives them.
        threads: of torch, 0 for its own choice.
    """

    recipe: str
    settings: dict[str, Any]
    out: str
    data_dir: str | None
    threads: int = 0


def do(work: Work) -> None:
    """Train what is not trained, measure what is not measured; ``Interrupted`` and errors as ``train`` raises them."""
    import torch

    if work.threads:
        torch.set_num_threads(work.threads)
    out = Path(work.out)
    data_dir = None if work.data_dir is None else Path(work.data_dir)
    if not (out / MODEL).exists():
        settings = TrainSettings.from_json(work.settings)
        train(settings, out, data_dir=data_dir, recipe=work.recipe, resume=(out / RECORD).exists())
    if not (out / MEASURED).exists():
        write_json(out / MEASURED, measure(out, data_dir))


def measure(out: Path, data_dir: Path | None) -> dict[str, Any]:
    """Pack the trained model of ``out`` into its folder and compare both on all test images.

    Returns what ``compare_with_torch`` does, file_bytes, and for one image flops, bops and ops.
    """
    packed = pack_trained(out)
    compared = compare_with_torch(out, packed.graph, *images_of_run(out, data_dir, None))
    write_atomic(out / PACKED, packed.data)
    network, meta = load_trained(out)
    channels, height, width = task_of(meta).example(meta)[0].shape[1:]
    cost = count_cost(network, (channels, height, width))
    return {**compared, "file_bytes": len(packed.data), "flops": cost.flops, "bops": cost.bops, "ops": cost.ops}


def main() -> int:
    """Do the work of the file that the command line names; the exit codes are those of ``onebit``."""
    try:
        do(Work(**read_json(Path(sys.argv[1]))))
    except Interrupted as stop:
        print(stop, file=sys.stderr)
        return 130
    except (ValueError, OSError, MemoryError) as error:
        print(f"error: {error or 'not enough memory'}", file=sys.stderr)
        return 1
    return 0
