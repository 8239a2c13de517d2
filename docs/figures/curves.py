"""Curves: surrogate derivatives, levels of activations, slopes, and the integer threshold of a packed channel."""

import numpy as np
import torch
from matplotlib.figure import Figure
from shapes import BLUE, GRAY, GREEN, ORANGE, PURPLE, grid
from torch import nn

from onebit.binarize import ESTIMATORS
from onebit.nn import INPUT_BINARIZERS, FPReLU, InputBinarizer, RPReLU
from onebit.report.style import figure

COLORS = (BLUE, ORANGE, GREEN, PURPLE)

# Panel -> its curves: name of the estimator, progress of the training, label
GROUPS: dict[str, list[tuple[str, float, str]]] = {
    "straight through": [("identity", 0, "identity"), ("clipped-identity", 0, "clipped-identity")],
    "piecewise linear": [
        ("polynomial", 0, "polynomial"),
        ("higher-order", 0, "higher-order"),
        ("long-tailed-higher-order", 0, "long-tailed-higher-order"),
    ],
    "smooth": [("swish", 0, "swish"), ("tanh", 0, "tanh")],
    "sharper with progress p": [
        ("error-decay", 0.5, "error-decay, p = 0.5"),
        ("error-decay", 0.8, "error-decay, p = 0.8"),
        ("power", 0.0, "power, p = 0"),
        ("power", 1.0, "power, p = 1"),
    ],
}


def estimators() -> Figure:
    """Each estimator's derivative, and below it the function that has this derivative."""
    canvas, axes = grid(len(GROUPS), rows=2)
    x = torch.linspace(-2, 2, 4001)
    for column, (title, curves) in enumerate(GROUPS.items()):
        above, below = axes[column], axes[column + len(GROUPS)]
        below.plot([-2, 0, 0, 2], [-1, -1, 1, 1], color=GRAY, lw=1, ls="--", label="sign")
        for (name, progress, label), color in zip(curves, COLORS, strict=False):
            derivative = ESTIMATORS[name](x, torch.tensor(progress)).numpy()
            total = np.concatenate([[0], np.cumsum((derivative[1:] + derivative[:-1]) / 2)]) * float(x[1] - x[0])
            above.plot(x, derivative, color=color, label=label)
            below.plot(x, total - total[len(total) // 2], color=color)
        above.set(title=title, ylim=(-0.9, 5.3) if title == "smooth" else (-0.2, 3.2))
        below.set(xlabel="value before the sign", ylim=(-1.9, 1.9))
        above.legend(frameon=False, fontsize=8, loc="upper right")
    axes[0].set_ylabel("derivative on the way back")
    axes[len(GROUPS)].set_ylabel("its integral (dashed: the sign)")
    return canvas


def _binarizer(name: str, **values: float) -> InputBinarizer:
    """An input binarizer of one channel with these values for its learned parameters."""
    binarizer = INPUT_BINARIZERS[name]()  # type: ignore[call-arg]
    binarizer.attach(1, spatial=2)
    with torch.no_grad():
        for parameter, value in values.items():
            getattr(binarizer, parameter).fill_(value)
    return binarizer


def levels() -> Figure:
    """What each input binarizer makes of a real activation: its levels, scale and offset included."""
    panels: list[tuple[str, list[tuple[str, str, dict[str, float]]]]] = [
        ("sign", [("sign(x)", "sign", {})]),
        (
            "shifted-sign: a threshold per channel",
            [(f"shift {shift:+g}", "shifted-sign", {"shift": shift}) for shift in (0.6, 0.0, -0.9)],
        ),
        (
            "balanced-sign: threshold, scale, offset",
            [
                ("θ 0, s 1, b 0", "balanced-sign", {}),
                ("θ 0.5, s 0.7, b 0.4", "balanced-sign", {"theta": 0.5, "s": 0.7, "b": 0.4}),
            ],
        ),
        (
            "step and trained-step: {0, β}",
            [("step(x)", "step", {}), ("β = 0.6", "trained-step", {"beta": 0.6})],
        ),
    ]
    canvas, axes = figure(len(panels))
    x = torch.linspace(-2, 2, 2001)
    for panel, (title, curves) in zip(axes, panels, strict=True):
        for (label, name, values), color in zip(curves, COLORS, strict=False):
            binarizer = _binarizer(name, **values)
            with torch.no_grad():
                bits, scale = binarizer(x.reshape(-1, 1, 1, 1))
                offset = binarizer.offset()
                y = bits * (1 if scale is None else scale) + (0 if offset is None else offset)
            panel.plot(x, y.flatten(), color=color, label=label, lw=1.8)
        panel.set(title=title, xlabel="real activation", ylim=(-1.4, 1.9))
        panel.legend(frameon=False, fontsize=8, loc="upper left")
    axes[0].set_ylabel("what the convolution sees")
    return canvas


def activations() -> Figure:
    """PReLU, FPReLU and RPReLU, with slopes and shifts of several channels."""
    canvas, axes = figure(3)
    x = torch.linspace(-2, 2, 801)

    def draw(panel: object, module: nn.Module, label: str, color: str) -> None:
        with torch.no_grad():
            y = module(x.reshape(-1, 1, 1, 1)).flatten()
        panel.plot(x, y, color=color, label=label)  # type: ignore[attr-defined]

    def filled(module: nn.Module, **values: float) -> nn.Module:
        with torch.no_grad():
            for name, value in values.items():
                getattr(module, name).fill_(value)
        return module

    left, middle, right = axes
    for slope, color in zip((0.25, 0.6, -0.3), COLORS, strict=False):
        draw(left, nn.PReLU(1, slope), f"slope {slope:g}", color)
    for (a, b), color in zip(((1.0, 0.25), (0.5, 0.8), (1.4, -0.3)), COLORS, strict=False):
        draw(middle, filled(FPReLU(1), positive=a, negative=b), f"a {a:g}, b {b:g}", color)
    for (before, negative, after), color in zip(
        ((0.0, 0.25, 0.0), (0.7, 0.25, -0.5), (-0.8, 0.5, 0.4)), COLORS, strict=False
    ):
        module = filled(RPReLU(1), before=before, negative=negative, after=after)
        draw(right, module, f"before {before:g}, slope {negative:g}, after {after:g}", color)
    left.set_title("PReLU: x, or slope · x below 0")
    middle.set_title("FPReLU: a · x above 0, b · x below")
    right.set_title("RPReLU: PReLU(x + before) + after")
    for panel in axes:
        panel.axhline(0, color=GRAY, lw=0.6)
        panel.axvline(0, color=GRAY, lw=0.6)
        panel.set(xlabel="x", ylim=(-1.6, 2.9))
        panel.legend(frameon=False, fontsize=8, loc="upper left")
    return canvas


def threshold() -> Figure:
    """A channel's chain from integer sum to sign, and the one integer that replaces it."""
    canvas, axes = figure(2)
    sums = np.arange(-18, 19)
    cases = [("γ > 0: low below the threshold", 0.07, 0.34), ("γ < 0: flipped, low from the threshold on", -0.07, 0.34)]
    for panel, (title, scale, bias) in zip(axes, cases, strict=True):
        y = scale * sums + bias
        y = np.where(y < 0, 0.25 * y, y)  # PReLU
        low = y < 0
        first = int(sums[np.argmax(low != low[0])])
        panel.axhline(0, color=GRAY, lw=0.8)
        panel.axvline(first - 0.5, color=GRAY, lw=0.8, ls="--")
        panel.scatter(sums[~low], y[~low], s=16, color=BLUE, label="bit 0: +1")
        panel.scatter(sums[low], y[low], s=16, color=ORANGE, label="bit 1: −1")
        panel.set(title=title, xlabel="integer sum of the binary convolution", ylim=(-0.7, 2.0))
        panel.annotate(f"threshold {first}", (first - 0.2, 1.25), fontsize=9)
        panel.legend(frameon=False, fontsize=8, loc="upper left" if scale > 0 else "upper right", title="sign")
    axes[0].set_ylabel("behind scale, norm and PReLU")
    return canvas
