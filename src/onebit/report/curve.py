"""The training curve: loss, accuracy and learning rate over the epochs of one run record."""

import io
from typing import Any

from matplotlib.ticker import MaxNLocator

from onebit.report.style import BLUE, ORANGE, figure


def curve_png(record: dict[str, Any]) -> bytes:
    """A record's epochs as a PNG; ValueError for a record without measured epochs."""
    rows = record["epochs"]
    epochs = [row["epoch"] for row in rows]
    measured = [row for row in rows if row["test_accuracy"] is not None]
    if not measured:
        raise ValueError("this run record has no measured epochs yet")
    canvas, (left, middle, right) = figure(3)
    left.plot(epochs, [row["train_loss"] for row in rows], color=BLUE, label="train")
    left.plot([row["epoch"] for row in measured], [row["test_loss"] for row in measured], color=ORANGE, label="test")
    left.set(title="loss", xlabel="epoch", ylabel="nats per image")
    middle.plot(epochs, [100 * row["train_accuracy"] for row in rows], color=BLUE, label="train")
    middle.plot(
        [row["epoch"] for row in measured],
        [100 * row["test_accuracy"] for row in measured],
        color=ORANGE,
        label="test",
    )
    middle.set(title="accuracy", xlabel="epoch", ylabel="%")
    right.plot(epochs, [row["lr"] for row in rows], color=BLUE)
    right.set(title="learning rate at the end of the epoch", xlabel="epoch")
    for axes in (left, middle, right):
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    for axes in (left, middle):
        axes.legend(frameon=False)
    settings = record["settings"]
    name = record["recipe"] or f"{settings['model']} on {settings['dataset']}"
    canvas.suptitle(
        f"{name}, {settings['scheme']}, seed {settings['seed']}: {measured[-1]['test_accuracy']:.2%} on test images"
    )
    image = io.BytesIO()
    canvas.savefig(image, format="png", dpi=120)
    return image.getvalue()
