"""``onebit eval``: scores of a trained run, a checkpoint or a packed file on the test images of a data set."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from onebit.cli.base import (
    Failure,
    add_max_memory,
    add_zoo_folder,
    max_memory_of,
    packed_file_of,
    share_cores,
    verb_parser,
)
from onebit.text import printable, text_table

if TYPE_CHECKING:
    from jsonargparse import Namespace

    from onebit.tasks import Scores, Task

DESCRIPTION = """\
Measure a network on the test images of a data set: the accuracy, where it was trained to tell classes apart.

MODEL is the folder of a run, one of its checkpoints, a packed .onebit file, or zoo:NAME for one that 'onebit zoo
trained' lists.  A run knows its data set; a packed file needs --dataset unless it was packed from a run.  Classes are
matched by name, in any order: a data set with a class that the network does not know is refused; one that has only some
of the network's classes is not."""


def parse(argv: list[str]) -> "Namespace":
    """Read the command line."""
    share_cores()
    parser = verb_parser("eval", DESCRIPTION, "onebit eval runs/vgg-small-digits --json")
    parser.add_argument(
        "model", metavar="MODEL", type=Path, help="folder of a run, checkpoint, .onebit file, or zoo:NAME"
    )
    add_zoo_folder(parser)
    parser.add_argument("--dataset", type=str | None, help="data set (default: the one it was trained on)")
    parser.add_argument("--data_dir", type=Path, help="folder of the data set (default: the environment's ONEBIT_DATA)")
    parser.add_argument("--batch_size", type=int, default=500, help="images at a time; no score depends on it")
    add_max_memory(parser)
    args = parser.parse_args(argv)
    args.model = Path(packed_file_of(args, "model"))
    args.max_memory = max_memory_of(args)
    if args.batch_size < 1:
        raise ValueError(f"--batch_size must be at least 1, got {args.batch_size}")
    return args


def run(args: "Namespace") -> dict[str, Any]:
    """Measure; {model, dataset, contents, task, images, the scores by name, and what the task tells besides}."""
    if not args.model.exists():
        raise Failure(f"there is no model {str(args.model)!r}")
    return {"model": str(args.model), **(_packed(args) if args.model.suffix == ".onebit" else _trained(args))}


def _trained(args: "Namespace") -> dict[str, Any]:
    from onebit.train import load_trained, task_of

    model, meta = load_trained(args.model)
    task = task_of(meta)
    dataset = _dataset(args, meta["provenance"])
    data = task.load_for(meta, dataset, args.data_dir)
    return _told(task, meta["task"], dataset, data, task.evaluate(model, data, meta, args.batch_size))


def _packed(args: "Namespace") -> dict[str, Any]:
    import os

    import onebit
    from onebit.train import task_of

    model = onebit.load(args.model, threads=os.cpu_count() or 1, max_memory=args.max_memory)
    facts = {"task": "classification", "task_options": {}, **model.graph.provenance}
    task = task_of(facts)
    description = task.description_of(model.graph)
    dataset = _dataset(args, facts)
    data = task.load_for(description, dataset, args.data_dir)
    return _told(task, facts["task"], dataset, data, task.evaluate_packed(model, data, description, args.batch_size))


def _told(task: "Task", name: str, dataset: str, data: Any, scores: "Scores") -> dict[str, Any]:
    from dataclasses import asdict

    told = {"dataset": dataset, "contents": asdict(task.contents(data)), "task": name, "images": scores.examples}
    return {**told, "score": task.main, **scores.values, **scores.details}


def _dataset(args: "Namespace", provenance: dict[str, Any]) -> str:
    name = args.dataset or provenance.get("dataset")
    if name is None:
        raise Failure(f"{str(args.model)!r} does not say what it was trained on; name a data set with --dataset")
    return name


def show(result: dict[str, Any]) -> None:
    """Print what the data set holds, the main score, the others, and tables that are short."""
    from onebit.data import Contents
    from onebit.tasks import TASKS

    print(printable(Contents(**result["contents"])))
    task = TASKS[result["task"]]
    main, *others = sorted(task.metrics, key=lambda metric: metric.name != result["score"])
    told = "".join(f", {metric.name} {metric.text(result[metric.name])}" for metric in others)
    what = main.text(result[main.name]) + (" of" if main.share else f" {main.name} on")
    print(f"{printable(result['dataset'])}: {what} {result['images']} test images{told}")
    for table in (value for name, value in result.items() if isinstance(value, dict) and name != "contents"):
        if len(table) <= 20:
            rows = [(name, "no images" if value is None else f"{main.text(value):>7}") for name, value in table.items()]
            print(text_table(rows, indent="  "))
