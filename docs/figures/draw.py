"""Draws the figures of the documentation: ``python docs/figures/draw.py [name ...]`` writes NAME.png beside this file.

The curves come from the layers themselves and the costs from the cost counter, so a figure shows what the code does.
"""

import sys
from pathlib import Path

from costs import costs
from curves import activations, estimators, levels, threshold
from diagrams import folding, rbcn_scheme, rpc_tiles
from latency import latency
from matplotlib.figure import Figure

FOLDER = Path(__file__).parent
FIGURES = {
    "activations": activations,
    "costs": costs,
    "estimators": estimators,
    "folding": folding,
    "latency": latency,
    "levels": levels,
    "rbcn-scheme": rbcn_scheme,
    "rpc-tiles": rpc_tiles,
    "threshold": threshold,
}


def save(canvas: Figure, path: Path) -> None:
    """Write a PNG without a date or a version in it, so that equal figures are equal files."""
    canvas.savefig(path, format="png", dpi=110, metadata={"Software": None})


def main(names: list[str]) -> None:
    """Draw the named figures, or all."""
    unknown = sorted(set(names) - set(FIGURES))
    if unknown:
        raise SystemExit(f"Unknown figures {unknown}; choose from {list(FIGURES)}")
    for name in names or FIGURES:
        save(FIGURES[name](), FOLDER / f"{name}.png")
        print(FOLDER / f"{name}.png")


if __name__ == "__main__":
    main(sys.argv[1:])
