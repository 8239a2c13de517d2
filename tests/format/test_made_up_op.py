"""A made-up op, whose row stands in this test alone: all that does not compute in C++ knows it at once.

The places that CONTRIBUTING.md counts for an op are its row, docs/format.md, and the core and its bindings; what is
tried here are all the others.
"""

import numpy as np
import pytest

import onebit
from onebit.export.draft import Draft, DraftNode
from onebit.export.fuse import fuse
from onebit.format.checks import whole
from onebit.format.errors import FormatError
from onebit.format.file import load_graph, save_graph, to_bytes
from onebit.format.graph import BITS, Graph, InputSpec, Node, validate
from onebit.format.ops import OPS, Op, Use
from onebit.format.summary import summarize
from onebit.format.tensors import TensorSpec, packed
from onebit.runtime.reference import ReferenceEngine


def _lag(x, *, weight, by):
    """``weight[c] x[h, w] - x[h, w - by]``, columns counted cyclically."""
    return weight * x - np.roll(x, by, axis=2)


def _agreements(x, *, weight):
    """How many channels have the sign of ``weight``, less those that have not: one exact integer per pixel."""
    return np.where(x == weight, 1.0, -1.0).sum(axis=3, keepdims=True)


def _products(use: Use) -> int:
    height, width, channels = use.shape
    return height * width * channels


LAG = Op(
    takes="float32",
    attrs={"by": whole(1)},
    roles=(frozenset({"weight"}),),
    tensors=lambda use: {"weight": TensorSpec("float32", (use.shape[2],))},
    products=_products,
    add_rank=1,
    reference=_lag,
)
AGREEMENTS = Op(
    takes=BITS,
    roles=(frozenset({"weight"}),),
    tensors=lambda use: {"weight": packed(bits=use.shape[2])},
    shape=lambda use: (*use.shape[:2], 1),
    products=_products,
    runs_as="1-bit",
    exact=True,
    reference=_agreements,
)


@pytest.fixture(autouse=True)
def rows(monkeypatch):
    monkeypatch.setitem(OPS, "lag", LAG)
    monkeypatch.setitem(OPS, "agreements", AGREEMENTS)


def network(**attrs: object) -> Graph:
    rng = np.random.default_rng(0)
    tensors = {
        "w": rng.standard_normal(40).astype(np.float32),
        "b": rng.integers(0, 2**32, 2, np.uint32) & np.array([2**32 - 1, 2**8 - 1], np.uint32),
        "below": np.array([3], np.int32),
        "flip": np.array([1], np.uint32),
    }
    nodes = (
        Node(
            "lag", "lag", ("image",), {"by": 2, **attrs}, {"weight": "w"},
            ({"step": "store", "output": "y"}, {"step": "binarize", "rule": "sign", "output": "bits"}),
        ),
        Node("sums", "agreements", ("bits",), {}, {"weight": "b"}, ({"step": "store", "output": "sums"},)),
        Node(
            "low", "agreements", ("bits",), {}, {"weight": "b"},
            ({"step": "threshold", "below": "below", "flip": "flip", "output": "low"},),
        ),
    )  # fmt: skip
    return Graph(InputSpec(5, 7, 40, (0.0,) * 40, (1.0,) * 40, "other"), nodes, "sums", tensors)


def test_it_is_validated():
    values = validate(network())
    assert values["y"].shape == (5, 7, 40)
    assert (values["low"].type, values["low"].shape) == (BITS, (5, 7, 1))
    with pytest.raises(FormatError, match=r"nodes\[0\] \(lag\).attrs.by: found 0; allowed: an integer from 1"):
        validate(network(by=0))
    with pytest.raises(FormatError, match=r"attrs: found \['far'\]; allowed: only the fields by"):
        validate(network(far=1))
    graph = network()
    graph.tensors["w"] = np.zeros(41, np.float32)
    with pytest.raises(FormatError, match=r"weight \(tensor w\): found 'float32 \[41\]'; allowed: float32 \[40\]"):
        validate(graph)
    with pytest.raises(FormatError, match="'threshold' only after agreements or binary_conv2d or binary_rpc2d"):
        validate(Graph(graph.input, (Node("n", "elementwise", ("image",), epilogue=graph.nodes[2].epilogue),), "y", {}))


def test_it_is_summarized():
    lag, sums, _ = summarize(network(), 1000).rows
    assert (lag.weights, lag.weight_bits, lag.bytes, lag.macs, lag.bops, lag.runs_as) == (40, 32, 160, 1400, 0, "float")
    assert (sums.weights, sums.weight_bits, sums.bytes, sums.macs, sums.bops, sums.runs_as) == (
        40, 1, 8, 0, 1400, "1-bit",
    )  # fmt: skip


def test_the_reference_runs_it():
    graph = network()
    x = np.random.default_rng(1).standard_normal((2, 5, 7, 40)).astype(np.float32)
    engine = ReferenceEngine(graph)
    got = engine.run(x)
    y = graph.tensors["w"] * x - np.roll(x, 2, axis=2)
    assert np.array_equal(engine.values()["y"], y)
    low = np.array([graph.tensors["b"][c // 32] >> np.uint32(c % 32) & 1 for c in range(40)], bool)
    want = 40 - 2 * ((y < 0) != low).sum(axis=3, keepdims=True)
    assert np.array_equal(got, want)
    assert np.array_equal(engine.signs("low"), np.where((want < 3) ^ True, -1, 1))


def test_it_is_saved_and_loaded(tmp_path):
    graph = network()
    save_graph(graph, tmp_path / "made-up.onebit")
    assert to_bytes(load_graph(tmp_path / "made-up.onebit")) == to_bytes(graph)
    model = onebit.load(tmp_path / "made-up.onebit", backend="reference")
    x = np.random.default_rng(2).standard_normal((5, 7, 40)).astype(np.float32)
    assert np.array_equal(model(x).reshape(-1), ReferenceEngine(graph).run(x[None]).reshape(-1))


def test_the_passes_of_packing_take_it_as_they_find_it():
    """A norm behind it moves into its epilogue, an addition goes to it rather than to an op that hosts none."""
    weight, one = np.full(3, 2, np.float32), np.ones(3, np.float32)
    norm = {"step": "affine", "scale": 3 * one, "bias": one}
    nodes = [
        DraftNode("pad", "pad_channels", ["image"], {"before": 0, "after": 0}, {}, [{"step": "store", "output": "p"}]),
        DraftNode("lag", "lag", ["image"], {"by": 1}, {"weight": weight}, [{"step": "store", "output": "y"}]),
        DraftNode("norm", "elementwise", ["y"], epilogue=[norm, {"step": "store", "output": "n"}]),
        DraftNode(
            "sum", "elementwise", ["p"], epilogue=[{"step": "add", "input": "n"}, {"step": "store", "output": "z"}]
        ),
    ]
    graph = fuse(Draft(nodes, "z")).finish(InputSpec(2, 3, 3, (0.0,) * 3, (1.0,) * 3), None, {})
    assert [(node.op, [step["step"] for step in node.epilogue]) for node in graph.nodes] == [
        ("pad_channels", ["store"]),
        ("lag", ["affine", "add", "store"]),
    ]
    x = np.arange(18, dtype=np.float32).reshape(1, 2, 3, 3)
    assert np.array_equal(ReferenceEngine(graph).run(x), 3 * (2 * x - np.roll(x, 1, axis=2)) + 1 + x)
