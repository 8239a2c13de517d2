"""What a run shows while it works, on standard error: a bar on a terminal, a line per epoch elsewhere."""

import sys
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from onebit.tasks import Metric, Task


class Display:
    """Context that follows a run of ``steps`` steps; ``enabled`` False shows nothing.

    Args:
        score: the one of the test images that is shown.
    """

    def __init__(self, task: Task, score: Metric, steps: int, done: int, epochs: int, enabled: bool) -> None:
        self.task, self.score, self.epochs = task, score, epochs
        self.enabled = enabled
        console = Console(stderr=True)
        self._bar = Progress(
            TextColumn("[bold]{task.description}"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TextColumn("{task.fields[numbers]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console,
            disable=not (enabled and console.is_terminal),
        )
        self._task = self._bar.add_task("training", total=steps, completed=done, numbers="")
        self._lines = enabled and not console.is_terminal

    def __enter__(self) -> "Display":
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def step(self, done: int) -> None:
        """``done`` optimizer steps have been taken."""
        self._bar.update(self._task, completed=done)

    def epoch(self, row: dict[str, Any]) -> None:
        """An epoch is over; ``row`` is its line of the record."""
        numbers = f"loss {row['train_loss']:.3f}"
        for metric in self.task.metrics:
            if (value := row.get(f"train_{metric.name}")) is not None and metric.name != "loss":
                numbers += f"  train {metric.text(value)}"
        if (value := row[f"test_{self.score.name}"]) is not None:
            numbers += f"  test {self.score.text(value)}"
        self._bar.update(self._task, description=f"epoch {row['epoch']}/{self.epochs}", numbers=numbers)
        if self._lines:
            print(f"epoch {row['epoch']}/{self.epochs}  {numbers}  {row['seconds']:.1f} s", file=sys.stderr, flush=True)

    def note(self, text: str) -> None:
        """One line of its own."""
        if self.enabled:
            self._bar.console.print(text, highlight=False, soft_wrap=True)
