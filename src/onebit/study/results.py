"""What a study leaves: its table, its picture, its page, and copies of its runs without their weights."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import onebit
from onebit.files import write_atomic
from onebit.report.comparison import Line, comparison_png
from onebit.report.facts import StudyTable
from onebit.report.page import render
from onebit.runtime.cpu import describe
from onebit.study.plan import Study
from onebit.study.runner import is_done
from onebit.study.table import HEADER, cells, study_rows, study_table
from onebit.study.worker import MEASURED, MODEL
from onebit.tasks import TASKS
from onebit.train.examine import examine_runs
from onebit.train.files import prepare_folder, read_json, write_json
from onebit.train.record import PACKED, RECORD

TABLE, PICTURE, PAGE = "table.md", "scores.png", "report.html"


def copy_results(study: Study, runs: Path, to: Path) -> None:
    """Copy the finished runs of ``study`` from ``runs`` to ``to``, each without weights and checkpoints.

    Table, picture and page can be made from the copies; no run can start from one or have one as its teacher.  Where a
    record names the folder of another run of the study, its copy has that run's key.
    """
    if runs.resolve() == to.resolve():
        raise ValueError(f"{str(to)!r} is the folder of the runs; name another one for the copies")
    for run in study:
        if is_done(run, runs):
            prepare_folder(to / run.key, 0)
            for name in (MODEL, MEASURED, PACKED):
                write_atomic(to / run.key / name, (runs / run.key / name).read_bytes())
            record = read_json(runs / run.key / RECORD)
            others = {role: value for role, value in run.settings.as_json().items() if value in run.needs}
            write_json(to / run.key / RECORD, {**record, "settings": {**record["settings"], **others}})


def write_results(
    study: Study,
    runs: Path,
    *,
    data_dir: Path | None = None,
    seconds: float = 2.0,
    say: Callable[[str], object] = lambda line: None,
) -> list[Path]:
    """Write table, picture and page of the finished runs of ``study`` into their folder ``runs``.

    Args:
        data_dir: folder of the data sets, for the answers that the page shows.
        seconds: of timing for the page, for all runs together; 0 for none.
        say: takes a line about what is being done.

    Returns:
        The files; none where no run is finished.
    """
    rows = study_rows(study, runs)
    if not rows:
        return []
    write_atomic(runs / TABLE, study_table(study, rows).encode())
    files = [runs / TABLE]
    if len({(row["task"], row["score"]) for row in rows}) == 1:
        metric = TASKS[rows[0]["task"]].metric(rows[0]["score"])
        lines = _lines(study, runs, metric.name)
        write_atomic(runs / PICTURE, comparison_png(lines, metric.name, percent=metric.share))
        files.append(runs / PICTURE)
    done = [run.key for run in study if is_done(run, runs)]
    facts = examine_runs([runs / key for key in done], data_dir=data_dir, seconds=seconds, say=say)
    facts = [replace(each, name=key) for each, key in zip(facts, done, strict=True)]
    page = render(facts, machine=describe(), version=onebit.__version__, study=page_table(study, rows))
    write_atomic(runs / PAGE, page.encode())
    return [*files, runs / PAGE]


def page_table(study: Study, rows: list[dict[str, Any]]) -> StudyTable:
    """The table of ``rows`` for a page."""
    return StudyTable(study.title, HEADER, [cells(row) for row in rows])


def _lines(study: Study, runs: Path, score: str) -> list[Line]:
    lines = []
    for planned in study.rows().values():
        records = [read_json(runs / run.key / RECORD) for run in planned if is_done(run, runs)]
        measured = [
            [(row["epoch"], value) for row in record["epochs"] if (value := row[f"test_{score}"]) is not None]
            for record in records
        ]
        if measured:
            lines.append(Line(planned[0].label, measured))
    return lines
