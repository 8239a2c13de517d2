"""The comparison of methods: a table and a picture from the JSON lines of ``benchmarks/methods.py``."""

import io
from typing import Any

from matplotlib.ticker import MaxNLocator

from onebit.engines.timed import warning
from onebit.report.style import PALETTE, figure

_TRAINING = (
    "How the trainings went: share of the latent weights whose sign changed within each epoch, norm of the gradient, "
    "and what the discriminators of the guided runs answer to maps of the guide and of the 1-bit network (0.5: they "
    "cannot tell):\n\n![flip rate, gradient norm, discriminators](methods-training.png)"
)
_LINEARITY = (
    "Share of the variance of a block's output that a linear map of its input explains (`probe_linearity`):\n\n"
    "![linearity of the blocks, and accuracy against it](methods-linearity.png)"
)


def methods_table(lines: list[dict[str, Any]]) -> str:
    """Markdown: one row per run under the settings they share; ValueError for no lines."""
    if not lines:
        raise ValueError("there are no runs to put into a table")
    facts, settings = lines[0], lines[0]["settings"]
    text = [
        "# Methods side by side",
        "",
        f"{settings['model']} on {settings['dataset']}, {settings['epochs']} epochs, batch {settings['batch_size']}, "
        f"{settings['optimizer']}, peak learning rate {settings['lr']:g}, precision {settings['precision']}, seed "
        f"{settings['seed']}: far from converged, "
        "one run each, so differences below half a point say little. "
        f"Accuracy on all {facts['images']:,} test images after the last epoch, in torch and packed; latency: the "
        f"packed network, one image, one thread, {facts['timed_on']}, all in turn in one process, medians and least of "
        f"{facts['count']} calls. "
        "Seconds per step come from the training itself, on shared cores. Made by `benchmarks/methods.py`.",
        "",
        *([noise, ""] if (noise := warning([facts["outside_cores"]])) else []),
        "| method | torch % | packed % | other class | s per step | latency ms | least | file kB | M FLOPs | M BOPs "
        "| M OPs |",
        "|---" * 11 + "|",
    ]
    for row in lines:
        text.append(
            f"| {row['label']} | {row['torch_accuracy']:.2%} | {row['packed_accuracy']:.2%} | {row['other_class']} | "
            f"{row['seconds_per_step']:.2f} | {row['median_ms']:.3f} | {row['fastest_ms']:.3f} | "
            f"{row['file_bytes'] / 1e3:.1f} | {row['flops'] / 1e6:.2f} | {row['bops'] / 1e6:.1f} | "
            f"{row['ops'] / 1e6:.2f} |"
        )
    return "\n".join(
        [*text, "", "![test accuracy over the epochs, and at the end](methods.png)", "", _TRAINING, "", _LINEARITY, ""]
    )


def methods_png(lines: list[dict[str, Any]]) -> bytes:
    """Test accuracy over the epochs of every run, and bars of the last."""
    canvas, (left, right) = figure(2)
    canvas.set_size_inches(11, 0.32 * len(lines) + 2.4)
    for index, row in enumerate(lines):
        color = PALETTE[index % len(PALETTE)]
        style = "-" if index < len(PALETTE) else "--"
        epochs = [e for e in row["epochs"] if e["test_accuracy"] is not None]
        left.plot([e["epoch"] for e in epochs], [100 * e["test_accuracy"] for e in epochs], style, color=color)
        right.barh(index, 100 * row["packed_accuracy"], color=color, height=0.7)
        right.annotate(f" {row['packed_accuracy']:.1%}", (100 * row["packed_accuracy"], index), va="center", fontsize=8)
    left.set(title="test accuracy", xlabel="epoch", ylabel="%")
    left.xaxis.set_major_locator(MaxNLocator(integer=True))
    lowest = min(100 * row["packed_accuracy"] for row in lines)
    right.set(
        title="packed, after the last epoch", xlabel="%", xlim=(max(0, lowest - 8), 100), yticks=range(len(lines))
    )
    right.set_yticklabels([row["label"] for row in lines], fontsize=8)
    right.invert_yaxis()
    image = io.BytesIO()
    canvas.savefig(image, format="png", dpi=120)
    return image.getvalue()


def training_png(lines: list[dict[str, Any]]) -> bytes:
    """Flip rate, gradient norm and discriminators' answers over the epochs, for the runs whose records have them."""
    canvas, (flips, norms, answers) = figure(3)
    canvas.set_size_inches(13, 4)
    for index, row in enumerate(lines):
        color, style = PALETTE[index % len(PALETTE)], "-" if index < len(PALETTE) else "--"
        for axes, name in ((flips, "flip_rate"), (norms, "gradient_norm")):
            points = [(e["epoch"], e[name]) for e in row["epochs"] if e.get(name) is not None]
            if points:
                axes.plot(*zip(*points, strict=True), style, color=color, marker="o", markersize=3, label=row["label"])
        for name, mark in (("discriminator_real", "^"), ("discriminator_false", "v")):
            points = [(e["epoch"], e[name]) for e in row["epochs"] if name in e]
            if points:
                label = f"{row['label']}, {'guide' if mark == '^' else '1-bit'}"
                answers.plot(*zip(*points, strict=True), style, color=color, marker=mark, markersize=5, label=label)
    flips.set(title="signs that change in an epoch", xlabel="epoch", ylabel="share of latent weights", yscale="log")
    norms.set(title="norm of the gradient", xlabel="epoch")
    answers.set(title="discriminators: probability of 'guide'", xlabel="epoch", ylim=(0, 1))
    for axes in (flips, norms, answers):
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        if axes.lines:
            axes.legend(frameon=False, fontsize=6)
    image = io.BytesIO()
    canvas.savefig(image, format="png", dpi=120)
    return image.getvalue()
