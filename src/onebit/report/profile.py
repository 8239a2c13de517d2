"""Plot of a profile: one bar per node, with its latency as length, colored by what it computes with."""

import io
from typing import Any

from onebit.report.style import PALETTE, figure
from onebit.text import printable

COLORS = {"1-bit": PALETTE[0], "float": PALETTE[1], "int8": PALETTE[2], "moves data": PALETTE[7]}


def profile_png(rows: list[dict[str, Any]], title: str) -> bytes:
    """Plot the rows of ``Model.profile`` as a PNG, with the share of the limit at each bar; ValueError for no rows."""
    if not rows:
        raise ValueError("there are no rows to draw")
    canvas, (panel,) = figure(1, width=9.0, height=1.6 + 0.22 * len(rows))
    for kind in dict.fromkeys(row["runs_as"] for row in rows):
        of_kind = [(place, row) for place, row in enumerate(rows) if row["runs_as"] == kind]
        total = sum(row["ms"] for _, row in of_kind)
        bars = panel.barh([place for place, _ in of_kind], [row["ms"] for _, row in of_kind], color=COLORS[kind])
        bars.set_label(f"{kind}: {total:.3f} ms")
        panel.bar_label(bars, labels=[_label(row) for _, row in of_kind], padding=3, fontsize=8)
    # Names come from a file: a dollar sign in one starts no formula.
    names = [printable(row["name"], limit=60) for row in rows]
    panel.set_yticks(range(len(rows)), names, fontsize=8, parse_math=False)
    panel.set_title(printable(title), parse_math=False)
    panel.set(xlabel="ms; at each bar: share of the limit", ylim=(len(rows) - 0.4, -0.6))
    panel.margins(x=0.1)
    panel.grid(visible=False, axis="y")
    canvas.legend(loc="outside lower center", ncols=len(COLORS), frameon=False)
    image = io.BytesIO()
    canvas.savefig(image, format="png", dpi=120)
    return image.getvalue()


def _label(row: dict[str, Any]) -> str:
    return "" if row["limit_share"] is None else f"{row['limit_share']:.0%}"
