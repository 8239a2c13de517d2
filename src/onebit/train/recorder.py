"""What a run writes: history, record, curve, checkpoints, logs; and what it shows."""

from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from lightning.fabric.loggers import TensorBoardLogger

from onebit.data import Contents
from onebit.files import write_atomic
from onebit.report.curve import curve_png
from onebit.report.health import Course, findings, in_words, new_findings
from onebit.tasks import Scores, Task
from onebit.train.artifact import FORMAT as MODEL_FORMAT
from onebit.train.artifact import save_trained
from onebit.train.checkpoint import load_checkpoint, save_checkpoint, trained_weights
from onebit.train.progress import Display
from onebit.train.record import CURVE, new_record, write_record
from onebit.train.state import State

CHECKPOINTS = "checkpoints"
LAST = "last.ckpt"
BEST = "best.ckpt"


@dataclass(frozen=True)
class Result:
    """What a finished run gave.

    Attributes:
        score: name of the score that "best" is judged by.
        scores: of the model that was kept, on the test images, by name.
        last, best: the same of the last epoch and of the best one.
        contents: what was taken of the data set, and what was not.
        health: what the rules of :mod:`onebit.report.health` find: {layer, rule, value, epochs, text} each.
    """

    out: str
    score: str
    scores: dict[str, float]
    last: dict[str, float]
    best: dict[str, float]
    best_epoch: int
    epochs: int
    steps: int
    seconds: float
    compiled: bool
    contents: dict[str, Any]
    health: list[dict[str, Any]]

    def as_json(self) -> dict[str, Any]:
        """Plain values; scores under their names, ``last_NAME`` and ``best_NAME``."""
        return {
            "score": self.score,
            **self.scores,
            **{f"last_{name}": value for name, value in self.last.items()},
            **{f"best_{name}": value for name, value in self.best.items()},
            "best_epoch": self.best_epoch,
            "epochs": self.epochs,
            "steps": self.steps,
            "seconds": self.seconds,
            "compiled": self.compiled,
            "contents": self.contents,
            "health": self.health,
        }


class Recorder:
    """Context that follows the run of ``state`` in the folder ``out``.

    Args:
        description: the task's, of the run's networks.
        steps: at which the run ends.
        guide: scores of the teacher on the test images, by name; None without a teacher.
        start: what the run started from, as ``start_from`` tells; None if from random weights.
    """

    def __init__(
        self,
        state: State,
        task: Task,
        description: dict[str, Any],
        out: Path,
        *,
        recipe: str | None,
        dataset: str,
        contents: Contents,
        guide: dict[str, float] | None,
        steps: int,
        show: bool,
        start: dict[str, Any] | None,
    ) -> None:
        self.state, self.task, self.description, self.out = state, task, description, out
        self.recipe, self.dataset, self.contents = recipe, dataset, contents
        settings = state.settings
        self.metric = task.metric(settings.best_by)
        self.record = new_record(recipe, settings.as_json())
        self.record |= {"score": self.metric.name, "data": state.data, "compiled": state.compiled, "guide": guide}
        self.display = Display(task, self.metric, steps, state.step, settings.epochs, show)
        if start is not None:
            self.record["start"] = start

    def __enter__(self) -> "Recorder":
        write_record(self.out, self._current())
        self._logger = TensorBoardLogger(self.out, name="tensorboard", version="")
        self.display.__enter__()
        self.display.note(str(self.contents))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.display.__exit__(kind, error, trace)
        self._logger.finalize("success" if kind is None else "aborted")

    def epoch(self, row: dict[str, Any], scores: Scores | None) -> None:
        """An epoch is over: write its checkpoint, then its row of the record."""
        history = self.state.history
        history.append(row)
        self.checkpoint(best=scores is not None and self._best() is row)
        write_record(self.out, self._current())
        self._logger.log_metrics({k: v for k, v in row.items() if v is not None and k != "step"}, step=row["step"])
        self.display.epoch(row)
        for line in in_words(new_findings(self._course())):
            self.display.note(line)

    def checkpoint(self, best: bool = False) -> None:
        """Write the checkpoints: best before last, so that last never refers to a best that has not been written."""
        folder, history = self.out / CHECKPOINTS, self.state.history
        state = self.state.checkpoint(self._meta(history[-1] if history else None))
        save_checkpoint(state, *([folder / BEST] if best else []), folder / LAST)

    def finish(self) -> Result:
        """Write the trained model, the record's result and the curve."""
        state = self.state
        last, best = state.history[-1], self._best()
        kept = best if state.settings.keep == "best" else last
        weights = state.measured.state_dict()
        if kept is not last:
            weights = trained_weights(load_checkpoint(self.out / CHECKPOINTS / BEST))
        save_trained(self.out, weights, self._meta(kept))
        result = Result(
            out=str(self.out),
            score=self.metric.name,
            scores=self._scores(kept),
            last=self._scores(last),
            best=self._scores(best),
            best_epoch=best["epoch"],
            epochs=last["epoch"],
            steps=state.step,
            seconds=round(state.seconds, 3),
            compiled=state.compiled,
            contents=asdict(self.contents),
            health=self._health(),
        )
        record = {**self._current(), "result": result.as_json()}
        write_record(self.out, record)
        write_atomic(self.out / CURVE, curve_png(record, self.metric.name, percent=self.metric.share))
        return result

    def _best(self) -> dict[str, Any]:
        """The row of the first epoch with the best score, of the stage that the run has reached."""
        history, name = self.state.history, f"test_{self.metric.name}"
        best, *later = [row for row in history if row["stage"] == history[-1]["stage"] and row[name] is not None]
        for row in later:
            if self.metric.better(row[name], best[name]):
                best = row
        return best

    def _scores(self, row: dict[str, Any]) -> dict[str, float]:
        return {metric.name: row[f"test_{metric.name}"] for metric in self.task.metrics}

    def _meta(self, row: dict[str, Any] | None) -> dict[str, Any]:
        """The description of the model as it was after the epoch of ``row``."""
        settings = self.state.settings
        return {
            "format": MODEL_FORMAT,
            "task": settings.task,
            "task_options": settings.task_options,
            "model": settings.model,
            "options": settings.model_options,
            "scheme": settings.scheme,
            "scheme_options": settings.scheme_options,
            **self.description,
            "provenance": {
                "recipe": self.recipe,
                "dataset": self.dataset,
                "seed": settings.seed,
                "epoch": row["epoch"] if row else 0,
                **(self._scores(row) if row else {}),
                "commit": self.record["commit"],
                "versions": self.record["versions"],
            },
        }

    def _current(self) -> dict[str, Any]:
        return {
            **self.record,
            "epochs": self.state.history,
            "layers": self.state.layers.as_json(),
            "health": self._health(),
            "seconds": round(self.state.seconds, 3),
        }

    def _health(self) -> list[dict[str, Any]]:
        return [finding.as_json() for finding in findings(self._course())]

    def _course(self) -> Course:
        """The run so far, for the rules of its health."""
        metric, guide = self.task.metric(), self.record["guide"] or {}
        return Course(
            history=self.state.history,
            numbers=self.state.layers,
            planned=self.state.settings.epochs,
            score=metric.name,
            share=metric.share,
            guide=guide.get(metric.name),
        )
