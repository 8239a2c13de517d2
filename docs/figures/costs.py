"""Bars: where the multiply-accumulates of the networks for 224x224 images are."""

import torch
from matplotlib.figure import Figure
from shapes import BLUE, GRAY, GREEN, ORANGE, PURPLE

from onebit.models import MODELS
from onebit.nn.cost import Cost, count_cost
from onebit.report.style import figure

# Label, model, options
BARS: list[tuple[str, str, dict[str, object]]] = [
    ("ResNet-18, real 1×1 shortcuts\n(ftbnn-18-baseline)", "ftbnn-18-baseline", {}),
    ("free shortcuts", "ftbnn-18-baseline", {"downsample": "duplicate"}),
    ("and a 3×3 stem: purified\n(ftbnn-18)", "ftbnn-18", {}),
    ("2× as wide in 4 groups\n(ftbnn-18-k2-g4)", "ftbnn-18-k2-g4", {}),
    ("2× as wide in 2 groups\n(ftbnn-18-k2-g2)", "ftbnn-18-k2-g2", {}),
    ("RPC, RPC stem\n(rb-net-18-rpc-stem)", "rb-net-18-rpc-stem", {}),
    ("RPC, 1.25× as wide\n(rb-net-18-wide)", "rb-net-18-wide", {}),
    ("ReActNet-A\n(reactnet-a)", "reactnet-a", {}),
]
PARTS = (("stem, real", ORANGE), ("shortcuts, real", PURPLE), ("classifier, real", GREEN), ("binary, BOPs / 64", BLUE))


def parts_of(cost: Cost) -> tuple[float, float, float, float]:
    """Millions of OPs in the stem, the real shortcuts, the classifier, and all binary layers."""
    stem = sum(row.flops for row in cost.rows if row.name.startswith("stem"))
    last = sum(row.flops for row in cost.rows if row.name.startswith("classifier"))
    return stem / 1e6, (cost.flops - stem - last) / 1e6, last / 1e6, cost.bops / 64 / 1e6


def costs() -> Figure:
    """Stacked bars of OPs = FLOPs + BOPs/64 at 224x224."""
    canvas, (panel,) = figure(1)
    canvas.set_size_inches(9.2, 4.6)
    for row, (_, name, options) in enumerate(BARS):
        with torch.device("meta"):
            model = MODELS[name](input_size=224, num_classes=1000, **options)
        left = 0.0
        for part, (_, color) in zip(parts_of(count_cost(model, (3, 224, 224))), PARTS, strict=True):
            panel.barh(row, part, left=left, color=color, height=0.62)
            left += part
        panel.text(left + 1.5, row, f"{left:.1f}M", va="center", fontsize=9)
    panel.set_yticks(range(len(BARS)), [label for label, _, _ in BARS], fontsize=8)
    panel.invert_yaxis()
    panel.grid(axis="y", visible=False)
    panel.axvline(52, color=GRAY, lw=0.8, ls="--")
    panel.set(xlabel="million OPs for one 224×224 image (dashed: 52M)", xlim=(0, 182))
    for label, color in PARTS:
        panel.barh(0, 0, color=color, label=label)
    panel.legend(frameon=False, fontsize=9, loc="lower right")
    return canvas
