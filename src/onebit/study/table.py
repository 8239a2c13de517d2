"""The table of a study: one line per row, the mean over its seeds and how far they spread."""

import statistics
from pathlib import Path
from typing import Any

from onebit.study.plan import Study
from onebit.study.runner import is_done
from onebit.study.worker import MEASURED
from onebit.tasks import TASKS
from onebit.train.files import read_json
from onebit.train.record import RECORD


def study_rows(study: Study, folder: Path | str) -> list[dict[str, Any]]:
    """One row of plain values per row of the study that has a finished run, in the order of the file.

    Each has row, label, task, seeds, n, missing (seeds that are not finished), epochs, score (the task's main one) and,
    of the last epoch on all test examples, mean and spread (standard deviation of a sample, None for one run) in torch,
    packed_mean, other and images (examples that torch and the packed networks answer differently, of so many), passed;
    file_bytes, flops, bops, ops of one network; seconds of training, the mean.
    """
    folder = Path(folder)
    rows = []
    for name, runs in study.rows().items():
        done = [run for run in runs if is_done(run, folder)]
        if not done:
            continue
        records = [read_json(folder / run.key / RECORD) for run in done]
        measured = [read_json(folder / run.key / MEASURED) for run in done]
        task = done[0].settings.task
        score = TASKS[task].metric().name
        values = [record["epochs"][-1][f"test_{score}"] for record in records]
        rows.append(
            {
                "row": name,
                "label": done[0].label,
                "task": task,
                "seeds": [run.settings.seed for run in done],
                "n": len(done),
                "missing": [run.settings.seed for run in runs if run not in done],
                "epochs": done[0].settings.epochs,
                "score": score,
                "mean": statistics.fmean(values),
                "spread": statistics.stdev(values) if len(values) > 1 else None,
                "packed_mean": statistics.fmean(each["scores"]["packed"][score] for each in measured),
                "other": sum(each["other"] for each in measured),
                "images": sum(each["images"] for each in measured),
                "passed": all(each["passed"] for each in measured),
                **{key: measured[0][key] for key in ("file_bytes", "flops", "bops", "ops")},
                "seconds": statistics.fmean(record["seconds"] for record in records),
            }
        )
    return rows


HEADER = ("row", "runs", "epochs", "torch", "packed", "differ", "file kB", "M FLOPs", "M BOPs", "M OPs", "hours")


def cells(row: dict[str, Any]) -> tuple[str, ...]:
    """A row as texts under ``HEADER``."""
    metric = TASKS[row["task"]].metric(row["score"])
    value = metric.text(row["mean"])
    if row["spread"] is not None:
        value += f" ± {100 * row['spread']:.2f}" if metric.share else f" ± {row['spread']:.2g}"
    return (
        row["label"],
        "one run" if row["n"] == 1 else f"n = {row['n']}",
        str(row["epochs"]),
        value,
        metric.text(row["packed_mean"]),
        f"{row['other']} of {row['images']}",
        f"{row['file_bytes'] / 1e3:.1f}",
        f"{row['flops'] / 1e6:.2f}",
        f"{row['bops'] / 1e6:.1f}",
        f"{row['ops'] / 1e6:.2f}",
        f"{row['seconds'] / 3600:.2f}",
    )


def study_table(study: Study, rows: list[dict[str, Any]]) -> str:
    """The table as Markdown."""
    lines = [f"| {' | '.join(HEADER)} |", f"|{'---|' * len(HEADER)}"]
    lines += [f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells(row))} |" for row in rows]
    return f"# {study.title}\n\n" + "\n".join(lines) + "\n"
