"""``onebit study``: many runs from one file, those that are missing trained, all of them in one table."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from onebit.cli.base import share_cores, verb_parser
from onebit.text import text_table

if TYPE_CHECKING:
    from jsonargparse import Namespace

DESCRIPTION = """\
Train and measure the runs that a study file lists, each in a folder of its own below --runs, and print one table.

Finished runs stay as they are, those that were interrupted or killed go on where they stopped.  A run that needs
another one, such as its teacher, waits for it.  The table, a picture and a page about all runs (see 'onebit report')
are written to --runs as well.  The file is YAML:

  recipe: resnet20-cifar10-short      # of all runs, unless they name another
  settings: {epochs: 12}              # changes of all runs
  seeds: [0, 1]
  runs:
    float: {settings: {scheme: float}}
    distilled:
      label: Bi-Real + distillation
      settings: {scheme: bireal, method: distillation, teacher: "run:float"}"""


def parse(argv: list[str]) -> "Namespace":
    """Read the command line."""
    share_cores()
    from jsonargparse import Namespace

    parser = verb_parser("study", DESCRIPTION, "onebit study studies/methods.yaml --data_dir data --jobs 2")
    parser.add_argument("file", type=Path, help="study file (YAML)")
    parser.add_argument("--runs", type=Path, default=None, help="folder of the runs (default: runs/NAME_OF_THE_FILE)")
    parser.add_argument("--data_dir", type=Path, default=None, help="folder of the data set (default: ONEBIT_DATA)")
    parser.add_argument("--jobs", type=int, default=1, help="runs at once")
    parser.add_argument(
        "--ray",
        type=str | None,
        default=None,
        metavar="ADDRESS",
        help="train on a Ray cluster: local, auto, HOST:PORT or ray://HOST:PORT (pip install 'onebit[ray]')",
    )
    parser.add_argument("--dry_run", action="store_true", help="say what would be trained and how long it takes")
    parser.add_argument("--report", action="store_true", help="train nothing; report the runs that are finished")
    parser.add_argument(
        "--to",
        type=Path,
        default=None,
        metavar="FOLDER",
        help="copy the finished runs without their weights to FOLDER, and write table, picture and page there",
    )
    parser.add_argument("--seconds", type=float, default=2.0, help="duration of timing for the page; 0: none")
    args = parser.parse_args(argv)
    assert isinstance(args, Namespace)
    if args.jobs < 1:
        raise ValueError(f"--jobs must be at least 1, got {args.jobs}")
    if args.dry_run and args.report:
        raise ValueError("--dry_run says what would be trained and --report trains nothing; give one of them")
    if args.dry_run and args.to is not None:
        raise ValueError("--dry_run writes nothing; leave out --to")
    if not 0 <= args.seconds < math.inf:
        raise ValueError(f"--seconds must be a number from 0, got {args.seconds}")
    return args


def run(args: "Namespace") -> dict[str, Any]:
    """{study, runs, finished, unfinished: {key: hours or null}, rows: [...], files}; rows as in ``study_rows``."""
    import sys

    from onebit.study import read_study, run_study, study_rows
    from onebit.study.estimate import estimate_hours
    from onebit.study.results import copy_results, write_results
    from onebit.study.runner import check_folder, is_done

    study = read_study(args.file)
    folder = args.runs or Path("runs") / study.name
    say = partial(print, file=sys.stderr, flush=True)
    hours: dict[str, float] = {}
    files: list[Path] = []
    check_folder(study, folder)
    if args.dry_run:
        hours = estimate_hours(study, folder, args.data_dir)
    else:
        if not args.report:
            with _cluster(args.ray) as where:
                run_study(study, folder, data_dir=args.data_dir, jobs=args.jobs, say=say, **where)
        if args.to is not None:
            copy_results(study, folder, args.to)
        files = write_results(study, args.to or folder, data_dir=args.data_dir, seconds=args.seconds, say=say)
    left = {run.key: hours.get(run.key) for run in study.in_order() if not is_done(run, folder)}
    return {
        "study": study.name,
        "runs": str(folder),
        "finished": len(study.runs) - len(left),
        "unfinished": left,
        "jobs": args.jobs,
        "rows": study_rows(study, folder),
        "files": files,
    }


@contextmanager
def _cluster(address: str | None) -> Iterator[dict[str, Any]]:
    """Where runs are started: further arguments of ``run_study``, for the cluster at ``address`` if there is one."""
    if address is None:
        yield {}
        return
    from onebit.study.on_ray import RayTask, connect, disconnect

    cpus, gpus = connect(address)
    try:
        yield {"cores": cpus, "start": partial(RayTask, gpus=min(gpus, 1))}
    finally:
        disconnect()


def show(result: dict[str, Any]) -> None:
    """The table, then what is not finished."""
    from onebit.study.table import HEADER, cells

    if result["rows"]:
        print(text_table([cells(row) for row in result["rows"]], header=HEADER))
    left = result["unfinished"]
    print(f"{result['finished']} of {result['finished'] + len(left)} runs are finished in {result['runs']}")
    for key, hours in left.items():
        print(f"  {key}" + (f"  {_duration(hours)}" if hours is not None else ""))
    for file in result["files"]:
        print(file)
    if any(hours is not None for hours in left.values()):
        print(f"{_duration(sum(left.values()))} of training on this machine, one run at a time")


def _duration(hours: float) -> str:
    return f"{hours:.1f} hours" if hours >= 1 else f"{60 * hours:.1f} minutes"
