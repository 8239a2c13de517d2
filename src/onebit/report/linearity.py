"""Plot of the linearity of layers and blocks of one or several networks."""

import io
from collections.abc import Mapping, Sequence

from onebit.report.style import PALETTE, figure


def linearity_png(
    networks: Mapping[str, Sequence[tuple[str, float]]], accuracies: Mapping[str, float] | None = None, title: str = ""
) -> bytes:
    """R^2 over the layers, one line per network, as a PNG; with accuracies also those against the mean R^2.

    Args:
        networks: label -> (layer, R^2) in the order of the network; the layers may differ in number.
        accuracies: label -> share of 1.
    """
    if not networks or not all(networks.values()):
        raise ValueError("linearity_png needs at least one network with at least one measured layer")
    canvas, axes = figure(1 if accuracies is None else 2)
    canvas.set_size_inches(7 if accuracies is None else 11, 4.4)
    for index, (label, rows) in enumerate(networks.items()):
        mean = sum(r2 for _, r2 in rows) / len(rows)
        color, style = PALETTE[index % len(PALETTE)], "-" if index < len(PALETTE) else "--"
        places = range(1, len(rows) + 1)
        axes[0].plot(places, [r2 for _, r2 in rows], style, color=color, marker="o", markersize=3, label=label)
        if accuracies is not None:
            axes[1].plot(mean, 100 * accuracies[label], "o" if index < len(PALETTE) else "s", color=color)
            axes[1].annotate(f" {label}", (mean, 100 * accuracies[label]), fontsize=7, va="center")
    axes[0].set(title=title or "share explained by a linear map", xlabel="layer", ylabel="$R^2$", ylim=(-0.02, 1.02))
    axes[0].legend(frameon=False, fontsize=7)
    if accuracies is not None:
        axes[1].set(title="accuracy against linearity", xlabel="mean $R^2$", ylabel="test accuracy, %")
        axes[1].margins(x=0.25)
    image = io.BytesIO()
    canvas.savefig(image, format="png", dpi=120)
    return image.getvalue()
