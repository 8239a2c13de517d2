"""Costs of a packed network per layer: bits, bytes, MACs, BOPs, OPs.

``OPs = MACs + BOPs/64``: MACs are multiply-accumulates of floats or int8, BOPs those of bits.  Norms, activations,
additions and pools are not counted, as in the literature.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from onebit.format.graph import Graph, Node, validate
from onebit.format.ops import OPS, WEIGHT_ROLES
from onebit.text import text_table


@dataclass(frozen=True)
class Row:
    """One node: its op, its size, its costs, and how it runs."""

    name: str
    layer: str
    shape: tuple[int, int, int]  # of the result: height, width, channels
    weights: int
    weight_bits: int  # bits per weight: 1, 8, 32, or 0 without weights
    bytes: int  # of its tensors in the file
    macs: int
    bops: int
    runs_as: str
    note: str

    @property
    def ops(self) -> float:
        """``MACs + BOPs/64``."""
        return self.macs + self.bops / 64


@dataclass(frozen=True)
class Summary:
    """All rows and the size of the file; ``str()`` returns the table."""

    rows: tuple[Row, ...]
    header_bytes: int
    file_bytes: int

    @property
    def macs(self) -> int:
        """Multiply-accumulates of real numbers."""
        return sum(row.macs for row in self.rows)

    @property
    def bops(self) -> int:
        """Multiply-accumulates of binary numbers."""
        return sum(row.bops for row in self.rows)

    @property
    def ops(self) -> float:
        """``MACs + BOPs/64``."""
        return self.macs + self.bops / 64

    @property
    def float_bytes(self) -> int:
        """Bytes of the same weights as 32-bit floats."""
        return sum(4 * row.weights for row in self.rows)

    def as_dict(self) -> dict[str, Any]:
        """Plain values for ``--json``."""
        totals = {
            name: getattr(self, name) for name in ("macs", "bops", "ops", "header_bytes", "file_bytes", "float_bytes")
        }
        return {"layers": [{**asdict(row), "ops": row.ops} for row in self.rows], "total": totals}

    def __str__(self) -> str:
        header = ("layer", "type", "shape", "weights", "bits", "bytes", "MACs", "BOPs", "OPs", "runs as", "note")
        body = [
            (
                row.name,
                row.layer,
                "x".join(map(str, row.shape)),
                str(row.weights or ""),
                str(row.weight_bits or ""),
                str(row.bytes or ""),
                short(row.macs),
                short(row.bops),
                short(row.ops),
                row.runs_as,
                row.note,
            )
            for row in self.rows
        ]
        header_row = ("header", "", "", "", "", str(self.header_bytes), "", "", "", "", "names, wiring, provenance")
        weights = sum(row.weights for row in self.rows)
        totals = (short(self.macs), short(self.bops), short(self.ops))
        ratio = f"{self.float_bytes / self.file_bytes:.1f}x smaller than its weights as floats"
        total_row = ("total", "", "", str(weights), "", str(self.file_bytes), *totals, "", ratio)
        return text_table([*body, header_row], header=header, sums=[total_row])


def short(count: float) -> str:
    """1234567 -> "1.23M"; nothing for 0."""
    for limit, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if count >= limit:
            return f"{count / limit:.3g}{unit}"
    return f"{count:.3g}" if count else ""


def summarize(graph: Graph, file_bytes: int) -> Summary:
    """The costs of ``graph``, whose file has ``file_bytes`` bytes; FormatError if it is not valid."""
    validate(graph)
    counted: set[str] = set()  # a tensor that several nodes share counts for the first
    rows = tuple(_row(graph, node, counted) for node in graph.nodes)
    return Summary(rows, file_bytes - sum(row.bytes for row in rows), file_bytes)


def _row(graph: Graph, node: Node, counted: set[str]) -> Row:
    op, use = OPS[node.op], graph.use(node)
    named = set(node.tensor_names())
    size = sum(graph.tensors[name].nbytes for name in named - counted)
    counted |= named
    weights = [spec for role, spec in op.tensors(use).items() if role in WEIGHT_ROLES]
    products = op.products(use)
    macs, bops = (0, products) if op.runs_as == "1-bit" else (products, 0)
    return Row(
        name=node.name,
        layer=node.source or node.op,
        shape=op.shape(use),
        weights=sum(spec.entries for spec in weights),
        weight_bits=max((spec.entry_bits for spec in weights), default=0),
        bytes=size,
        macs=macs,
        bops=bops,
        runs_as=op.runs_as,
        note=node.note,
    )
