"""Style of all plots; figures are created without pyplot, so no global state or display is involved."""

from typing import Any

from matplotlib.figure import Figure

BLUE = "#0072b2"  # the Okabe-Ito palette: told apart by color-blind readers too
ORANGE = "#d55e00"
PALETTE = (BLUE, ORANGE, "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#000000", "#999999")


def figure(
    panels: int, width: float = 4.2, height: float = 3.6, columns: int | None = None
) -> tuple[Figure, list[Any]]:
    """A figure with a number of panels of ``width`` x ``height`` inches, in ``columns`` or side by side: no top and
    right spine, a light grid.
    """
    columns = min(columns or panels, panels)
    rows = -(-panels // columns)
    canvas = Figure(figsize=(width * columns, height * rows), layout="constrained")
    axes = [canvas.add_subplot(rows, columns, index + 1) for index in range(panels)]
    for panel in axes:
        panel.spines[["top", "right"]].set_visible(False)
        panel.grid(alpha=0.25)
    return canvas, axes
