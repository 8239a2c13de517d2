"""The roofline report: what share of the core's limits every layer of our networks reaches."""

import io
from typing import Any

from onebit.report.profile import COLORS
from onebit.report.style import figure
from onebit.runtime.profile import Profile

Line = dict[str, Any]

HEAD = ["network", "what", "layers", "ms", "% of the time", "GMAC/s", "limit", "% of limit", "lowest", "highest"]


def profiled(lines: list[Line]) -> dict[str, Profile]:
    """Network and engine -> the profile of its line, where it has one."""
    return {f"{line['network']}: {line['engine']}": Profile(line["profile"]) for line in lines if line.get("profile")}


def roofline_rows(lines: list[Line]) -> list[list[str]]:
    """Cells below ``HEAD``: a row for each network and kind of number, of its layers that multiply and accumulate, and
    one of all that do not.
    """
    rows = []
    for title, profile in profiled(lines).items():
        busy = Profile(row for row in profile if row["limit_share"] is not None)
        for kind in busy.sums()[:-1]:
            shares = [row["limit_share"] for row in busy if row["runs_as"] == kind["name"]]
            rate = kind["gops"] / 2
            rows.append(
                [
                    title,
                    kind["name"],
                    str(len(shares)),
                    f"{kind['ms']:.3f}",
                    f"{kind['share']:.0%}",
                    f"{rate:.0f}",
                    f"{rate / kind['limit_share']:.0f}",
                    *(f"{share:.0%}" for share in (kind["limit_share"], min(shares), max(shares))),
                ]
            )
        rest = [row for row in profile if row["limit_share"] is None]
        if rest:
            spent = [sum(row[key] for row in rest) for key in ("ms", "share")]
            rows.append([title, "no products", str(len(rest)), f"{spent[0]:.3f}", f"{spent[1]:.0%}", *[""] * 5])
    return rows


def roofline_table(lines: list[Line]) -> str:
    """Markdown: the whole profile of every network that has one; ValueError where none has."""
    found = profiled(lines)
    if not found:
        raise ValueError("there are no profiles to put into a table")
    facts = lines[0]
    text = [
        "# Layer by layer against the limits",
        "",
        f"{facts['machine']}; commit {facts['commit']}; {facts['date']} UTC; one thread, one image; medians. A limit "
        "is what the instructions of the inner loop reach on registers alone, measured in the same process: XOR, "
        "population count and addition of bits, fused multiply-additions of floats, int8 products. Everything that a "
        "layer does is in its time, its epilogue too. Made by `make bench`.",
        "",
        "![share of the limit over time](networks-roofline.png)",
        "",
    ]
    for title, profile in found.items():
        header, rows, sums = profile.cells()
        text += [f"## {title}", "", f"| {' | '.join(header)} |", "|---" * len(header) + "|"]
        text += [f"| {' | '.join(row)} |" for row in [*rows, *sums]] + [""]
    return "\n".join(text)


def roofline_png(lines: list[Line]) -> bytes:
    """A panel for each network: a bar for each layer in the order in which they run, as wide as it takes long and as
    high as its share of the limit; ValueError where no line has a profile.
    """
    found = profiled(lines)
    if not found:
        raise ValueError("there are no profiles to draw")
    canvas, panels = figure(len(found), width=4.6, height=2.0, columns=2)
    drawn: dict[str, Any] = {}
    for panel, (title, profile) in zip(panels, found.items(), strict=True):
        at = 0.0
        for row in profile:
            share = row["limit_share"]
            kind, height = ("no products", 1.0) if share is None else (row["runs_as"], share)
            color = "#eeeeee" if share is None else COLORS[kind]
            bars = panel.bar(at, height, row["ms"], align="edge", color=color, edgecolor="white", linewidth=0.3)
            drawn.setdefault(kind, bars)
            at += row["ms"]
        panel.set_title(f"{title}, {at:.2f} ms", fontsize=9)
        highest = max(row["limit_share"] or 1.0 for row in profile)
        panel.set(ylim=(0, max(1.0, highest)), xlim=(0, at), xlabel="ms", ylabel="share of limit")
        panel.grid(visible=False, axis="x")
    canvas.legend(drawn.values(), drawn.keys(), loc="outside lower center", ncols=len(drawn), frameon=False)
    image = io.BytesIO()
    canvas.savefig(image, format="png", dpi=120)
    return image.getvalue()
