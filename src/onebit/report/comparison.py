"""The picture of a study: the score of every row over the epochs, and after the last one."""

import io
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.ticker import MaxNLocator

from onebit.report.style import PALETTE, figure

_STYLES = ("-", "--", ":", "-.")


@dataclass(frozen=True)
class Line:
    """A row of a study: for each of its runs the (epoch, score) that were measured, never empty."""

    label: str
    runs: Sequence[Sequence[tuple[int, float]]]

    @property
    def last(self) -> list[float]:
        """The score of each run after its last epoch."""
        return [points[-1][1] for points in self.runs]


def comparison_png(lines: Sequence[Line], score: str, *, percent: bool) -> bytes:
    """Plot the rows of a study as a PNG.

    Left the score on the test images over the epochs, one line per run; right the mean after the last epoch, with the
    sample standard deviation where a row has several runs.

    Args:
        score: name of the score.
        percent: whether it is a share of 1.
    """
    unit = 100.0 if percent else 1.0
    canvas, (left, right) = figure(2)
    canvas.set_size_inches(11, 0.32 * len(lines) + 2.8)
    for index, line in enumerate(lines):
        color, style = PALETTE[index % len(PALETTE)], _STYLES[index // len(PALETTE) % len(_STYLES)]
        for points in line.runs:
            left.plot([epoch for epoch, _ in points], [unit * value for _, value in points], style, color=color, lw=1.2)
        mean = unit * statistics.fmean(line.last)
        spread = unit * statistics.stdev(line.last) if len(line.runs) > 1 else None
        right.barh(index, mean, color=color, height=0.7, xerr=spread, ecolor="#444444")
        text = f"{mean:.2f}" + ("" if spread is None else f" ± {spread:.2f}")
        right.annotate(text, (mean + (spread or 0), index), (4, 0), textcoords="offset points", va="center", fontsize=8)
    suffix = ", %" if percent else ""
    left.set(title=f"{score} on the test images", xlabel="epoch", ylabel=f"{score}{suffix}")
    left.xaxis.set_major_locator(MaxNLocator(integer=True))
    values = [unit * value for line in lines for value in line.last]
    margin = max((max(values) - min(values)) * 0.25, 0.02 * max(map(abs, values)))
    low = max(0.0, min(values) - margin) if min(values) >= 0 else min(values) - margin
    right.set(title="after the last epoch", xlabel=f"{score}{suffix}", xlim=(low, max(values) + 1.6 * margin))
    right.set_xticks([tick for tick in right.get_xticks() if low <= tick <= (100 if percent else math.inf)])
    right.set_yticks(range(len(lines)), [line.label for line in lines], fontsize=8)
    right.invert_yaxis()
    image = io.BytesIO()
    canvas.savefig(image, format="png", dpi=120)
    return image.getvalue()
