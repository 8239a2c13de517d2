"""The training curve: loss, score and learning rate over the epochs of one run record."""

import io
from typing import Any

from matplotlib.ticker import MaxNLocator

from onebit.report.style import BLUE, ORANGE, figure


def curve_png(record: dict[str, Any], score: str, *, percent: bool) -> bytes:
    """Plot the epochs of a record as a PNG; ValueError for a record without measured epochs.

    Args:
        score: name of the score that is plotted in addition to the loss.
        percent: whether the score is a fraction of 1.
    """
    rows = record["epochs"]
    if all(row[f"test_{score}"] is None for row in rows):
        raise ValueError("this run record has no measured epochs yet")
    canvas, (left, middle, right) = figure(3)
    _draw(left, rows, "loss", 1)
    _draw(middle, rows, score, 100 if percent else 1)
    right.plot([row["epoch"] for row in rows], [row["lr"] for row in rows], color=BLUE)
    left.set(title="loss", xlabel="epoch")
    middle.set(title=score, xlabel="epoch", ylabel="%" if percent else "")
    right.set(title="learning rate at the end of the epoch", xlabel="epoch")
    for axes in (left, middle, right):
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    settings = record["settings"]
    name = record["recipe"] or f"{settings['model']} on {settings['dataset']}"
    last = [row[f"test_{score}"] for row in rows if row[f"test_{score}"] is not None][-1]
    reached = f"{last:.2%}" if percent else f"{score} {last:.4g}"
    canvas.suptitle(f"{name}, {settings['scheme']}, seed {settings['seed']}: {reached} on test images")
    image = io.BytesIO()
    canvas.savefig(image, format="png", dpi=120)
    return image.getvalue()


def _draw(axes: Any, rows: list[dict[str, Any]], name: str, unit: float) -> None:
    """Plot the training and test values of a quantity, whichever exist."""
    for part, color in (("train", BLUE), ("test", ORANGE)):
        points = [(row["epoch"], unit * row[f"{part}_{name}"]) for row in rows if row.get(f"{part}_{name}") is not None]
        if points:
            axes.plot(*zip(*points, strict=True), color=color, label=part)
    axes.legend(frameon=False)
