"""Profile of a packed network: the latency of each node, relative to the throughput limit of the CPU."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from onebit.format.ops import OPS
from onebit.runtime.limits import Limits
from onebit.text import text_table

LIMIT_OF = {"1-bit": "binary", "float": "float32", "int8": "int8"}  # runs as -> field of Limits

Row = dict[str, Any]


class Profile(list[Row]):
    """One row per node, in execution order; ``str()`` returns a table.

    A row has: name, op, shape (of the op's result: height, width, channels), runs_as, kernel ("with NODE" if it runs in
    one pass with that node, whose ms include it), macs (multiply-accumulates of one image), ms (of one call), share (of
    the total), gops (2 * multiply-accumulates per nanosecond), limit_ms (time of the multiply-accumulates at the
    throughput limit of all threads) and limit_share (limit_ms/ms).  The last two are None without multiply-accumulates
    or a known limit.
    """

    def sums(self) -> list[Row]:
        """The sums of the nodes of each kind, and of the whole network, named "total"."""
        kinds = list(dict.fromkeys(row["runs_as"] for row in self))
        groups = [(kind, [row for row in self if row["runs_as"] == kind]) for kind in kinds]
        return [_sum(name, rows) for name, rows in [*groups, ("total", list(self))]]

    def cells(self) -> tuple[tuple[str, ...], list[tuple[str, ...]], list[tuple[str, ...]]]:
        """The cells of the table: header, rows, sums."""
        header = ("name", "op", "shape", "runs as", "kernel", "ms", "share", "Gop/s", "% of limit")
        return header, [_cells(row) for row in self], [_cells(row) for row in self.sums()]

    def __str__(self) -> str:
        header, body, sums = self.cells()
        return text_table(body, header=header, sums=sums)


def make_profile(
    nodes: Iterable[tuple[str, str, tuple[int, int, int], str, int]],
    times_ms: Iterable[float],
    images: int,
    threads: int,
    limits: Limits,
) -> Profile:
    """The profile of ``nodes`` (name, op, shape, kernel, macs) that took ``times_ms`` for ``images`` images."""
    rows: list[Row] = []
    for (name, op, shape, kernel, macs), ms in zip(nodes, times_ms, strict=True):
        kind = OPS[op].runs_as
        limit = threads * getattr(limits, LIMIT_OF[kind]) if macs and kind in LIMIT_OF else 0.0
        limit_ms = 1e3 * macs * images / limit if limit else None
        facts = {"name": name, "op": op, "shape": shape, "runs_as": kind, "kernel": kernel, "macs": macs}
        rows.append({**facts, "ms": ms, "gops": 2e-6 * macs * images / ms if ms else 0.0, "limit_ms": limit_ms})
    total = sum(row["ms"] for row in rows)
    return Profile(_with_shares(row, total) for row in rows)


def _with_shares(row: Mapping[str, Any], total_ms: float) -> Row:
    ms, limit_ms = row["ms"], row["limit_ms"]
    shares = {"share": ms / total_ms if total_ms else 0.0, "limit_share": limit_ms / ms if limit_ms and ms else None}
    return {**row, **shares}


def _sum(name: str, rows: list[Row]) -> Row:
    total = {key: sum(row[key] for row in rows) for key in ("macs", "ms", "share")}
    work = sum(row["gops"] * row["ms"] for row in rows)
    limits = [row["limit_ms"] for row in rows if row["limit_ms"] is not None]
    limit_ms = sum(limits) if limits else None
    share = limit_ms / total["ms"] if limit_ms and total["ms"] else None
    gops = work / total["ms"] if total["ms"] else 0.0
    return {"name": name, **total, "gops": gops, "limit_ms": limit_ms, "limit_share": share}


def _cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    return (
        row["name"],
        row.get("op", ""),
        "x".join(map(str, row.get("shape", ()))),
        row.get("runs_as", ""),
        row.get("kernel", ""),
        f"{row['ms']:.4f}",
        f"{row['share']:.1%}",
        f"{row['gops']:.1f}" if row["macs"] else "",
        "" if row["limit_share"] is None else f"{row['limit_share']:.0%}",
    )
