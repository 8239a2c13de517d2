"""The speed report: a table and a picture from the JSON lines of ``benchmarks/speed.py``."""

import io
from typing import Any

from onebit.engines.timed import warning
from onebit.report.style import BLUE, ORANGE, figure

COLORS = {"avx512": "#2a7f62", "avx512bw": "#7fb8a2", "avx2": BLUE, "portable": ORANGE}


def speed_table(lines: list[dict[str, Any]]) -> str:
    """Markdown: one table of layers, one of networks, under the facts they share; ValueError for no lines."""
    if not lines:
        raise ValueError("there are no measurements to put into a table")
    facts = lines[0]
    noise = warning([line["outside_cores"] for line in lines if "outside_cores" in line])
    text = [
        "# Speed",
        "",
        f"{facts['machine']}; torch {facts['torch']}; commit {facts['commit']}; {facts['date']} UTC; one thread, "
        "batch 1. Median and least of all calls; both sides in turn in one run; made by `make bench`.",
        "",
        *([noise, ""] if noise else []),
        "3x3 binary convolution, stride 1, padding 1: bits in, affine, floats out; torch: fp32, channels_last. The "
        "limit is that of the inner loop's instructions on registers alone, measured in the same run; its shares: of "
        "the whole convolution, and of the shortest time inside its kernel.",
        "",
        "| layer | ISA | ms | least | Tera bit-MAC/s | limit | share | inside the kernel | torch fp32 ms | least | "
        "torch GMAC/s | times faster | calls |",
        "|---" * 13 + "|",
    ]
    for row in lines:
        if row["what"] == "layer":
            text.append(
                f"| {row['name']} | {row['isa']} | {row['median_ms']:.3f} | {row['fastest_ms']:.3f} | "
                f"{row['tera_bit_macs']:.2f} | "
                f"{_limit(row)} | "
                f"{row['torch_median_ms']:.2f} | {row['torch_fastest_ms']:.2f} | "
                f"{row['torch_gmacs']:.0f} | {row['ratio']:.1f} | {row['count']} |"
            )
    text += [
        "",
        "Whole networks on one 32x32 image, from pixels as floats to logits; torch: the same network with real "
        "weights, fp32, channels_last, inference mode.",
        "",
        "| network | ISA | ms | least | 90% | torch fp32 ms | least | times faster | file | float weights | "
        "times smaller |",
        "|---" * 11 + "|",
    ]
    for row in lines:
        if row["what"] == "network":
            text.append(
                f"| {row['name']} | {row['isa']} | {row['median_ms']:.3f} | {row['fastest_ms']:.3f} | "
                f"{row['p90_ms']:.3f} | {row['torch_median_ms']:.2f} | {row['torch_fastest_ms']:.2f} | "
                f"{row['ratio']:.1f} | {row['file_bytes']:,} B | "
                f"{row['float_bytes']:,} B | {row['float_bytes'] / row['file_bytes']:.1f} |"
            )
    return "\n".join([*text, "", "![times faster than torch, and where the time of VGG-Small goes](speed.png)", ""])


def _limit(row: dict[str, Any]) -> str:
    """The limit, the share of the node and that inside the kernel; nothing where no limit is known."""
    if row["limit_share"] is None:
        return "| |"
    return f"{row['limit_tera_bit_macs']:.2f} | {row['limit_share']:.0%} | {row['kernel_limit_share']:.0%}"


def speed_png(lines: list[dict[str, Any]]) -> bytes:
    """Bars: how many times faster than torch; and the time of each node of the first network, on the best ISA."""
    canvas, (left, right) = figure(2)
    names = list(dict.fromkeys(row["name"] for row in lines))
    isas = list(dict.fromkeys(row["isa"] for row in lines))
    for offset, isa in enumerate(isas):
        ratios = {row["name"]: row["ratio"] for row in lines if row["isa"] == isa}
        places = [index + 0.8 * offset / len(isas) for index in range(len(names))]
        bars = left.barh(
            places, [ratios.get(name, 0) for name in names], 0.75 / len(isas), color=COLORS.get(isa, "gray")
        )
        bars.set_label(isa)
        left.bar_label(bars, fmt="%.1f", padding=2, fontsize=8)
    left.set(title="times faster than torch fp32, one thread", yticks=[i + 0.2 for i in range(len(names))])
    left.set_yticklabels(names)
    left.invert_yaxis()
    left.margins(x=0.12)
    left.legend(frameon=False)
    network = next((row for row in lines if row["what"] == "network" and row["isa"] == isas[0]), None)
    if network is not None:
        profile = network["profile"]
        bars = right.barh([row["name"] for row in profile], [1e3 * row["ms"] for row in profile], color=BLUE)
        right.bar_label(bars, fmt="%.0f", padding=2, fontsize=8)
        right.set(title=f"{network['name']}, {isas[0]}: time of each node", xlabel="microseconds")
        right.margins(x=0.12)
        right.invert_yaxis()
    image = io.BytesIO()
    canvas.savefig(image, format="png", dpi=120)
    return image.getvalue()
