"""The picture of how linear the layers and blocks of one or several networks are."""

import io
from collections.abc import Mapping, Sequence

from onebit.report.style import PALETTE, figure


def linearity_png(networks: Mapping[str, Sequence[tuple[str, float]]], title: str = "") -> bytes:
    """Lines of R^2 over the layers, one per network, as a PNG.

    Args:
        networks: label -> (layer, R^2) in the order of the network; the layers may differ in number.
    """
    if not networks or not all(networks.values()):
        raise ValueError("linearity_png needs at least one network with at least one measured layer")
    canvas, (axes,) = figure(1)
    canvas.set_size_inches(7, 4)
    for index, (label, rows) in enumerate(networks.items()):
        mean = sum(r2 for _, r2 in rows) / len(rows)
        axes.plot(
            range(1, len(rows) + 1),
            [r2 for _, r2 in rows],
            color=PALETTE[index % len(PALETTE)],
            marker="o",
            markersize=3,
            label=f"{label} (mean {mean:.2f})",
        )
    axes.set(title=title or "share explained by a linear map", xlabel="layer", ylabel="$R^2$", ylim=(-0.02, 1.02))
    axes.legend(frameon=False, fontsize=8)
    image = io.BytesIO()
    canvas.savefig(image, format="png", dpi=120)
    return image.getvalue()
