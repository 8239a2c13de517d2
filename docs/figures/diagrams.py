"""Diagrams: RBCN's training, what a reshaped point-wise convolution mixes, how a block becomes a packed layer."""

from itertools import pairwise
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from shapes import BLACK, BLUE, GRAY, GREEN, ORANGE, PURPLE, YELLOW, arrow, box, sheet
from torch import nn

from onebit.nn import ReshapedPointwiseConv2d


def rbcn_scheme() -> Figure:
    """Guide above, 1-bit network below, one discriminator between the maps of each supervised layer."""
    canvas, panel = sheet(10.6, 4.7)
    top, bottom, height = 3.45, 0.75, 0.75
    box(panel, 0.1, 2.0, 1.1, 0.9, "images", GRAY)
    columns = (2.9, 5.0, 7.1)
    for y, color, kind in ((top, GREEN, "real layers"), (bottom, BLUE, "rectified\n1-bit layers")):
        previous = 1.2
        for index, x in enumerate(columns, start=1):
            box(panel, x - 0.95, y, 1.3, height, kind, color)
            start = (previous, y + height / 2)
            if index == 1:
                start = (1.2, 2.45)
            arrow(panel, start, (x - 0.95, y + height / 2), color)
            previous = x + 0.35
        arrow(panel, (previous, y + height / 2), (8.15, y + height / 2), color)
    for index, x in enumerate(columns, start=1):
        box(panel, x - 0.05, 2.0, 1.0, 0.9, f"D{index}\nguide's or not?", ORANGE, size=7.5)
        arrow(panel, (x + 0.55, top + height / 2), (x + 0.55, 2.9), GREEN)
        arrow(panel, (x + 0.55, bottom + height / 2), (x + 0.55, 2.0), BLUE)
        panel.text(x + 0.62, 3.1, f"R{index}", fontsize=9, color=GREEN)
        panel.text(x + 0.62, 1.62, f"T{index}", fontsize=9, color=BLUE)
    box(panel, 8.15, top, 2.3, height, "guide: trained before,\nfrozen; left out afterwards", GRAY, size=8)
    box(panel, 8.15, bottom, 2.3, height, "logits → cross-entropy $L_S$", BLUE, size=9)
    panel.text(8.25, 2.62, "D: ascent on log D(R) + log(1 − D(T))", fontsize=8, color=ORANGE)
    panel.text(8.25, 2.17, "network: descent on Σ (1 − D(T))²", fontsize=8, color=BLUE)
    panel.text(
        1.95,
        0.3,
        "in every 1-bit layer:  λ/2 · ‖W − C ⊙ sign(W)‖²  ties the latent weights W and the rectifier C",
        fontsize=9,
        color=BLUE,
    )
    panel.text(1.95, 4.4, "all of this is training; what is packed is the 1-bit network alone", fontsize=9, color=GRAY)
    return canvas


def _tiles(panel: Any, x: float, y: float, side: int, cell: float, shift: int, colors: tuple[str, ...]) -> None:
    """A map of side x side pixels with its top left corner at (x, y), colored by 2x2 tile; tiles are shifted."""
    for row in range(side):
        for column in range(side):
            tile_row, tile_column = ((row - shift) % side) // 2, ((column - shift) % side) // 2
            color = colors[(tile_row * (side // 2) + tile_column) % len(colors)]
            corner = (x + column * cell, y - (row + 1) * cell)
            panel.add_patch(Rectangle(corner, cell, cell, facecolor=color, alpha=0.35, edgecolor="white", linewidth=1))


def _reach(rolls: tuple[int, ...], side: int, pixel: tuple[int, int]) -> np.ndarray:
    """Which inputs of a chain of stride-1 layers, rolled or not, one output pixel depends on: (side, side) booleans."""
    layers = [ReshapedPointwiseConv2d(1, 1, roll=roll, weight_binarizer=None, input_binarizer=None) for roll in rolls]
    for layer in layers:
        nn.init.ones_(layer.weight)
    x = torch.zeros(1, 1, side, side, requires_grad=True)
    out = nn.Sequential(*layers)(x)
    (grad,) = torch.autograd.grad(out[0, 0, pixel[0], pixel[1]], x)
    return grad[0, 0].numpy() > 0


def rpc_tiles() -> Figure:
    """The operator on a 4x4 map, and the inputs that one pixel depends on behind several layers."""
    canvas, panel = sheet(11.2, 5.5)
    colors = (BLUE, ORANGE, GREEN, PURPLE)
    panel.text(0.2, 5.2, "One layer at stride 1", fontsize=11)
    _tiles(panel, 0.3, 5.0, 4, 0.4, 0, colors)
    panel.text(1.1, 3.15, "map: 4×4 pixels,\nC channels", ha="center", va="top", fontsize=8.5)
    arrow(panel, (2.05, 4.2), (3.2, 4.2))
    panel.text(2.62, 4.3, "space to\ndepth", ha="center", fontsize=8.5)
    for depth in range(4):
        _tiles_one(panel, 3.35 + 0.09 * depth, 4.62 + 0.09 * depth, 0.4, colors)
    panel.text(3.9, 3.15, "2×2 positions, 4C channels:\na tile became a position", ha="center", va="top", fontsize=8.5)
    arrow(panel, (4.65, 4.2), (5.85, 4.2))
    panel.text(5.25, 4.3, "binary 1×1\nconvolution", ha="center", fontsize=8.5)
    for depth in range(4):
        _tiles_one(panel, 6.0 + 0.09 * depth, 4.62 + 0.09 * depth, 0.4, colors)
    panel.text(6.5, 3.15, "2×2 positions,\n4·O channels", ha="center", va="top", fontsize=8.5)
    arrow(panel, (7.3, 4.2), (8.4, 4.2))
    panel.text(7.85, 4.3, "depth to\nspace", ha="center", fontsize=8.5)
    _tiles(panel, 8.6, 5.0, 4, 0.4, 0, colors)
    panel.text(9.4, 3.15, "map: 4×4 pixels, O channels;\nno tile has met another", ha="center", va="top", fontsize=8.5)

    panel.text(0.2, 2.2, "What one output pixel (black) depends on, behind layers of stride 1", fontsize=11)
    cases = (
        ("2 layers", (0, 0)),
        ("4 layers", (0,) * 4),
        ("2 layers, second rolled", (0, 1)),
        ("4 layers, every second rolled", (0, 1, 0, 1)),
        ("4 convolutions 3×3, to compare", ()),
    )
    side, cell, pixel = 12, 0.125, (5, 5)
    for index, (title, rolls) in enumerate(cases):
        x, y = 0.35 + 2.2 * index, 1.9
        if rolls:
            reach = _reach(rolls, side, pixel)
        else:
            reach = np.zeros((side, side), bool)
            reach[max(0, pixel[0] - 4) : pixel[0] + 5, max(0, pixel[1] - 4) : pixel[1] + 5] = True
        for row in range(side):
            for column in range(side):
                corner = (x + column * cell, y - (row + 1) * cell)
                filling = BLACK if (row, column) == pixel else YELLOW if reach[row, column] else "#eeeeee"
                panel.add_patch(Rectangle(corner, cell, cell, facecolor=filling, edgecolor="white", linewidth=0.6))
        panel.text(x + side * cell / 2, 0.3, f"{title}\n{int(reach.sum())} pixels", ha="center", va="top", fontsize=8)
    return canvas


def _tiles_one(panel: Any, x: float, y: float, cell: float, colors: tuple[str, ...]) -> None:
    """A 2x2 map, one color each, with its top left corner at (x, y)."""
    for index, color in enumerate(colors):
        corner = (x + (index % 2) * cell, y - (index // 2 + 1) * cell)
        panel.add_patch(Rectangle(corner, cell, cell, facecolor="white", edgecolor="white"))
        panel.add_patch(Rectangle(corner, cell, cell, facecolor=color, alpha=0.35, edgecolor="white", linewidth=1))


def folding() -> Figure:
    """The chain of a block as it is trained, and the one packed node that it becomes."""
    canvas, panel = sheet(10.4, 4.5)

    def chain(y: float, height: float, parts: list[tuple[str, float, str]], start: float) -> list[tuple[float, float]]:
        x, spans = start, []
        for text, width, color in parts:
            box(panel, x, y, width, height, text, color, size=8.5)
            spans.append((x, x + width))
            x += width + 0.3
        for (_, left), (right, _) in pairwise(spans):
            arrow(panel, (left, y + height / 2), (right, y + height / 2))
        return spans

    panel.text(0.1, 4.2, "as trained (torch)", fontsize=11)
    trained = [
        ("binarize\nθ, β", 0.95, ORANGE),
        ("convolve\nlevels and signs", 1.35, BLUE),
        ("· α β, + b", 0.85, GREEN),
        ("batch norm", 0.95, GREEN),
        ("+ shortcut", 0.9, GREEN),
        ("FPReLU,\nRPReLU, ...", 1.0, GREEN),
        ("binarize of the\nnext layer", 1.25, ORANGE),
    ]
    chain(3.2, 0.75, trained, 1.0)
    panel.text(0.85, 3.57, "real →", ha="right", va="center", fontsize=8.5)
    panel.text(0.1, 2.72, "as packed, with a shortcut: one node", fontsize=11)
    packed = [
        ("XOR, count bits:\nexact integer", 1.6, BLUE),
        ("affine: α, β, b\nand the norm in one", 1.75, GREEN),
        ("add", 0.6, GREEN),
        ("slopes,\nshifts", 0.9, GREEN),
        ("binarize,\nthresholds θ", 1.15, ORANGE),
        ("store the map for\nthe next shortcut", 1.45, GRAY),
    ]
    spans = chain(1.75, 0.75, packed, 1.0)
    panel.text(0.85, 2.12, "bits →", ha="right", va="center", fontsize=8.5)
    panel.plot([spans[1][0], spans[-1][1]], [1.66, 1.66], color=GREEN, lw=1)
    panel.text(
        (spans[1][0] + spans[-1][1]) / 2, 1.58, "epilogue: one pass over registers", ha="center", va="top", fontsize=8.5
    )
    panel.text(0.1, 1.02, "as packed, where only bits are wanted: one node", fontsize=11)
    chain(
        0.15,
        0.6,
        [("XOR, count bits: exact integer", 2.35, BLUE), ("sum < threshold of the channel, xor flip", 3.1, ORANGE)],
        1.0,
    )
    panel.text(0.85, 0.45, "bits →", ha="right", va="center", fontsize=8.5)
    panel.text(6.9, 0.45, "→ bits", va="center", fontsize=8.5)
    return canvas
