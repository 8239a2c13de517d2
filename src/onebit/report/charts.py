"""Charts as inline SVG whose colors are CSS custom properties, so that the page decides them.

Charts hold numbers and our own words alone: titles and legends, which come from files, belong to the page.
"""

import io
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
from markupsafe import Markup
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from onebit.report.style import PALETTE, figure

# Colors that matplotlib draws with, and the custom properties that take their place.
SERIES = tuple(f"#0a0b{index:02x}" for index in range(len(PALETTE)))
INK, GRID = "#0a0c00", "#0a0c01"
_PROPERTIES = {INK: "--ink", GRID: "--grid", **{color: f"--c{index}" for index, color in enumerate(SERIES)}}
DASHES = ("solid", "dashed", "dotted")  # tell series apart that share a color
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",  # text stays text: in the page's font, and found by a search
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "grid.color": GRID,
}


@dataclass(frozen=True)
class Series:
    """A line of a chart: points (x, y), the number of its color and dashes, and whether it is the fainter one of two
    that share them.
    """

    points: Sequence[tuple[float, float]]
    number: int
    faint: bool = False


def line_chart(series: Sequence[Series], *, percent: bool, name: str) -> Markup:
    """Lines over the epochs; ``percent``: the values are shares of 1.  ``name`` is unique on the page."""
    with mpl.rc_context(_STYLE | {"svg.hashsalt": name}):
        canvas, (panel,) = figure(1, width=4.4, height=2.6)
        for each in series:
            style = DASHES[each.number // len(SERIES) % len(DASHES)]
            panel.plot(
                *zip(*each.points, strict=True),
                color=SERIES[each.number % len(SERIES)],
                linestyle=style,
                linewidth=1 if each.faint else 1.8,
                alpha=0.5 if each.faint else 1,
                marker="o" if len(each.points) == 1 else "",
                markersize=4,
            )
        panel.xaxis.set_major_locator(MaxNLocator(integer=True))
        panel.set_xlabel("epoch")
        if percent:
            panel.yaxis.set_major_formatter(PercentFormatter(1))
        return _inline(canvas)


def histogram_chart(counts: Sequence[int], edges: Sequence[float], *, name: str) -> Markup:
    """Counts between ``edges``, in one color below 0 and in another from 0 on; 0 is one of the edges."""
    with mpl.rc_context(_STYLE | {"svg.hashsalt": name}):
        canvas, (panel,) = figure(1, width=2.6, height=1.3)
        middle = list(edges).index(0.0)
        panel.stairs(counts[:middle], edges[: middle + 1], fill=True, color=SERIES[1])
        panel.stairs(counts[middle:], edges[middle:], fill=True, color=SERIES[0])
        panel.set_yticks([])
        panel.spines[["left"]].set_visible(False)
        panel.xaxis.set_major_locator(MaxNLocator(3, symmetric=True))
        panel.grid(visible=False)
        panel.margins(x=0.02)
        return _inline(canvas)


def spark_line(values: Sequence[float | None], top: float) -> Markup:
    """A small line from the first value to the last, between 0 and ``top``, with gaps where there is no value."""
    width, height, margin = 120.0, 24.0, 1.5
    step = (width - 2 * margin) / max(len(values) - 1, 1)
    path, pen = [], "M"
    for place, value in enumerate(values):
        if value is None or not math.isfinite(value):
            pen = "M"
            continue
        y = height - margin - (height - 2 * margin) * min(max(value / (top or 1.0), 0.0), 1.0)
        path.append(f"{pen}{margin + place * step:.1f} {y:.1f}")
        pen = "L"
    drawn = " ".join(path) + (" h1" if len(path) == 1 else "")
    style = f"fill: none; stroke: var({_PROPERTIES[SERIES[0]]}); stroke-width: 1.5"
    line = f'<path d="{drawn}" style="{style}"/>'
    return Markup(f'<svg class="spark" viewBox="0 0 {width:g} {height:g}" aria-hidden="true">{line}</svg>')


def _inline(canvas: Figure) -> Markup:
    """The figure as an SVG element for a page: without header, metadata, size, names that nothing refers to."""
    file = io.StringIO()
    canvas.savefig(file, format="svg", transparent=True, metadata={"Date": None})
    text = file.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r"<style.*?</style>", "", text, flags=re.DOTALL)  # of all elements of the page; the page has its own
    text = re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL)
    text = re.sub(r'(<svg\b[^>]*?) width="[^"]*"', r"\1", text)
    text = re.sub(r'(<svg\b[^>]*?) height="[^"]*"', r"\1", text)
    text = re.sub(r' xmlns(:xlink)?="[^"]*"| version="1.1"', "", text).replace("xlink:href", "href")
    used = set(re.findall(r'(?:url\(#|href="#)([^)"]+)', text))
    text = re.sub(r' id="([^"]*)"', lambda found: found[0] if found[1] in used else "", text)
    for color, name in _PROPERTIES.items():
        text = text.replace(color, f"var({name})")
    text = re.sub(r"\s*\n\s*", "\n", text).replace("<svg", '<svg class="chart" aria-hidden="true"', 1)
    return Markup(text.strip())
