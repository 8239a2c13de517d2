"""What the figures share: colors by name, panels in rows, boxes and arrows."""

from typing import Any

from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from onebit.report.style import PALETTE

BLUE, ORANGE, GREEN, PURPLE, SKY, YELLOW, BLACK, GRAY = PALETTE


def grid(columns: int, rows: int) -> tuple[Figure, list[Any]]:
    """As ``onebit.report.style.figure``, in several rows; the panels row by row."""
    canvas = Figure(figsize=(4.2 * columns, 2.9 * rows), layout="constrained")
    axes = [canvas.add_subplot(rows, columns, index + 1) for index in range(columns * rows)]
    for panel in axes:
        panel.spines[["top", "right"]].set_visible(False)
        panel.grid(alpha=0.25)
    return canvas, axes


def sheet(width: float, height: float) -> tuple[Figure, Any]:
    """An empty sheet for a diagram; its coordinates are inches."""
    canvas = Figure(figsize=(width, height))
    panel = canvas.add_axes((0, 0, 1, 1))
    panel.set(xlim=(0, width), ylim=(0, height))
    panel.axis("off")
    return canvas, panel


def box(
    panel: Any, x: float, y: float, width: float, height: float, text: str, color: str = BLUE, size: float = 9
) -> None:
    """A rounded box with its lower left corner at (x, y), a pale filling and a text in the middle."""
    for filling in (True, False):
        panel.add_patch(
            FancyBboxPatch(
                (x + 0.05, y + 0.05),
                width - 0.1,
                height - 0.1,
                boxstyle="round,pad=0.05",
                facecolor=color if filling else "none",
                edgecolor="none" if filling else color,
                alpha=0.16 if filling else 1,
                linewidth=1.2,
            )
        )
    panel.text(x + width / 2, y + height / 2, text, ha="center", va="center", fontsize=size)


def arrow(
    panel: Any, start: tuple[float, float], end: tuple[float, float], color: str = BLACK, style: str = "-"
) -> None:
    """A straight arrow."""
    panel.add_patch(
        FancyArrowPatch(
            start,
            end,
            arrowstyle="-|>",
            mutation_scale=10,
            color=color,
            linestyle=style,
            linewidth=1.1,
            shrinkA=0,
            shrinkB=0,
        )
    )
