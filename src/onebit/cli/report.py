"""``onebit report``: runs as one HTML page that needs no network."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from onebit.cli.base import Failure, share_cores, verb_parser
from onebit.text import format_bytes, printable, text_table

if TYPE_CHECKING:
    from jsonargparse import Namespace

    from onebit.report.facts import StudyTable

DESCRIPTION = """\
Write one HTML page about one or several runs, finished or not, that needs no network and no other file.

It holds the runs in one table, the settings that differ, the curves of all runs, and for each run its layers, latent
weights, latency, and its answers to the test images, where the data set is found.

A study file (.yaml) stands for its runs that lie in the folder --study_runs, and puts its table in front."""


def parse(argv: list[str]) -> "Namespace":
    """Read the command line."""
    share_cores()
    parser = verb_parser("report", DESCRIPTION, "onebit report runs/float runs/digits --out report.html")
    parser.add_argument("runs", metavar="RUN", nargs="+", type=Path, help="folder of a run, or one study file (.yaml)")
    parser.add_argument("--study_runs", type=Path, help="folder of the study's runs (default: runs/NAME_OF_THE_FILE)")
    parser.add_argument("--out", type=Path, default=Path("report.html"), help="the page")
    parser.add_argument("--data_dir", type=Path, help="folder of the data set (default: the environment's ONEBIT_DATA)")
    parser.add_argument("--limit", type=int, default=None, help="answer only so many test images")
    parser.add_argument("--samples", type=int, default=12, help="right and wrong answers to show, so many of each")
    parser.add_argument("--seconds", type=float, default=2.0, help="duration of timing, all runs together; 0: none")
    args = parser.parse_args(argv)
    if len([path for path in args.runs if _is_study(path)]) > 1:
        raise ValueError("name one study file; a page has one table")
    if args.study_runs is not None and not any(map(_is_study, args.runs)):
        raise ValueError("--study_runs is the folder of a study's runs; name the study file, too")
    if args.limit is not None and args.limit < 1:
        raise ValueError(f"--limit must be at least 1, got {args.limit}")
    if args.samples < 0:
        raise ValueError(f"--samples must be at least 0, got {args.samples}")
    if not 0 <= args.seconds < math.inf:
        raise ValueError(f"--seconds must be a number from 0, got {args.seconds}")
    if args.out.suffix != ".html":
        raise ValueError(f"--out must name a file that ends with .html, got {str(args.out)!r}")
    return args


def _is_study(path: Path) -> bool:
    return path.suffix in (".yaml", ".yml")


def _folders(args: "Namespace") -> "tuple[list[Path], StudyTable | None]":
    """The folders of all runs, and the table of the study among them."""
    folders: list[Path] = []
    table = None
    for path in args.runs:
        if not _is_study(path):
            folders.append(path)
            continue
        from onebit.study import read_study, study_rows
        from onebit.study.results import page_table
        from onebit.train.record import RECORD

        study = read_study(path)
        where = args.study_runs or Path("runs") / study.name
        begun = [where / planned.key for planned in study if (where / planned.key / RECORD).is_file()]
        if not begun:
            raise Failure(
                f"no run of {str(path)!r} lies in {str(where)!r}; name the folder with --study_runs, "
                f"or train them: onebit study {path}"
            )
        folders += begun
        table = page_table(study, study_rows(study, where))
    return folders, table


def run(args: "Namespace") -> dict[str, Any]:
    """{out, bytes, machine, runs: [...]}; each run with what its row of the page's first table says, and its notes."""
    import os
    import sys

    import onebit
    from onebit.files import write_atomic
    from onebit.report.page import render
    from onebit.runtime.cpu import describe
    from onebit.train.examine import examine_runs

    folder = args.out.parent
    if not folder.is_dir():
        raise Failure(f"--out: there is no folder {str(folder)!r}; make it, or name another file")
    if not os.access(folder, os.W_OK):
        raise Failure(f"--out: the folder {str(folder)!r} cannot be written to; name another file")
    if args.out.is_dir():
        raise Failure(f"--out: {str(args.out)!r} is a folder; name a file")
    folders, study = _folders(args)
    runs = examine_runs(
        folders,
        data_dir=args.data_dir,
        limit=args.limit,
        samples=args.samples,
        seconds=args.seconds,
        say=lambda line: print(printable(line), file=sys.stderr, flush=True),
    )
    machine = describe()
    page = render(runs, machine=machine, version=onebit.__version__, study=study).encode()
    write_atomic(args.out, page)
    rows = [
        {
            "name": facts.name,
            "folder": facts.folder,
            "recipe": facts.recipe,
            **{name: facts.settings[name] for name in ("model", "scheme", "dataset")},
            "epochs": facts.done,
            "planned_epochs": facts.epochs,
            "score": facts.score,
            f"test_{facts.score}": facts.last_score,
            "test_images": facts.test_images,
            "file_bytes": facts.file_bytes,
            "ops": facts.ops,
            "parameters": facts.parameters,
            "median_ms": facts.latency.median_ms if facts.latency else None,
            "least_ms": facts.latency.least_ms if facts.latency else None,
            "answered": facts.answers.images if facts.answers else 0,
            "packed_accuracy": facts.answers.accuracy if facts.answers else None,
            "health": None if facts.health is None else [finding.as_json() for finding in facts.health],
            "notes": list(facts.notes),
        }
        for facts in runs
    ]
    return {"out": args.out, "bytes": len(page), "machine": machine, "runs": rows}


def show(result: dict[str, Any]) -> None:
    """Print one line per run, what is wrong with its training, what could not be shown, and the name of the page."""
    from onebit.report.health import Finding, in_words

    rows = []
    for row in result["runs"]:
        value = row[f"test_{row['score']}"]
        rows.append(
            (
                row["name"],
                f"{row['epochs']} of {row['planned_epochs']}",
                "" if value is None else f"{row['score']} {value:.4f}",
                "" if row["file_bytes"] is None else format_bytes(row["file_bytes"]),
                "" if row["median_ms"] is None else f"{row['median_ms']:.3f} ms",
            )
        )
    print(text_table(rows, header=("run", "epochs", "test", "file", "latency")))
    for row in result["runs"]:
        for line in in_words([Finding(**finding) for finding in row["health"] or ()]):
            print(printable(f"{row['name']}: {line}", limit=500))
        for note in row["notes"]:
            print(printable(f"{row['name']}: {note}", limit=500))
    print(f"{printable(result['out'])}: {format_bytes(result['bytes'])}")
