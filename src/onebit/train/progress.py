"""What a run shows while it works, on standard error: a bar on a terminal, a line per epoch elsewhere."""

import sys
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn


class Display:
    """Context that follows a run of ``steps`` steps; ``enabled`` False shows nothing."""

    def __init__(self, steps: int, done: int, epochs: int, enabled: bool) -> None:
        self.epochs = epochs
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
        """``done`` optimizer steps are behind us."""
        self._bar.update(self._task, completed=done)

    def epoch(self, row: dict[str, Any]) -> None:
        """An epoch is over; ``row`` is its line of the record."""
        score = "" if row["test_accuracy"] is None else f"  test {row['test_accuracy']:.2%}"
        numbers = f"loss {row['train_loss']:.3f}  train {row['train_accuracy']:.2%}{score}"
        self._bar.update(self._task, description=f"epoch {row['epoch']}/{self.epochs}", numbers=numbers)
        if self._lines:
            print(f"epoch {row['epoch']}/{self.epochs}  {numbers}  {row['seconds']:.1f} s", file=sys.stderr, flush=True)

    def note(self, text: str) -> None:
        """One line of its own."""
        if self.enabled:
            self._bar.console.print(text, highlight=False, soft_wrap=True)
