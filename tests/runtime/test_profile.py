"""Profiles: what their numbers mean, checked on times that are given, and that every node of a real run has a row."""

import numpy as np
import pytest

from onebit.format.graph import Graph, InputSpec, Node
from onebit.runtime.engine import Engine
from onebit.runtime.limits import Limits
from onebit.runtime.model import Model
from onebit.runtime.profile import make_profile
from onebit.runtime.selftest import block_network, small_network

NODES = [
    ("stem", "conv2d", (8, 8, 16), "float_conv", 1000),
    ("body", "binary_conv2d", (8, 8, 64), "binary_conv", 30_000),
    ("join", "concat", (8, 8, 128), "epilogue", 0),
    ("tail", "binary_rpc2d", (8, 8, 64), "binary_conv", 10_000),
]
LIMITS = Limits(binary=4e9, float32=1e9, int8=2e9)


def test_shares_of_the_limit_count_images_and_threads():
    """2,000 products of the stem at 2e9 a second take 0.001 ms, 60,000 of the body at 8e9 a second 0.0075 ms."""
    profile = make_profile(NODES, [0.004, 0.010, 0.001, 0.005], 2, 2, LIMITS)
    stem, body, join, tail = profile
    assert stem["limit_ms"] == pytest.approx(0.001)
    assert stem["limit_share"] == pytest.approx(0.25)
    assert body["limit_share"] == pytest.approx(0.75)
    assert tail["limit_share"] == pytest.approx(0.5)
    assert join["limit_ms"] is join["limit_share"] is None
    assert body["gops"] == pytest.approx(2 * 60_000 / 10_000)  # operations in 10,000 ns
    assert [row["share"] for row in profile] == pytest.approx([0.2, 0.5, 0.05, 0.25])
    assert [row["runs_as"] for row in profile] == ["float", "1-bit", "moves data", "1-bit"]


def test_sums():
    floats, bits, moves, total = make_profile(NODES, [0.004, 0.010, 0.001, 0.005], 2, 2, LIMITS).sums()
    assert [row["name"] for row in (floats, bits, moves, total)] == ["float", "1-bit", "moves data", "total"]
    assert bits["ms"] == pytest.approx(0.015)
    assert bits["limit_share"] == pytest.approx(0.01 / 0.015)
    assert bits["gops"] == pytest.approx(2 * 80_000 / 15_000)
    assert moves["limit_share"] is None
    assert total["share"] == pytest.approx(1)
    assert total["macs"] == 41_000
    assert total["limit_share"] == pytest.approx(0.011 / 0.020)


def test_no_limit_known_leaves_it_blank():
    profile = make_profile(NODES, [1.0] * 4, 1, 1, Limits(0.0, 0.0, 0.0))
    assert {row["limit_share"] for row in [*profile, *profile.sums()]} == {None}
    assert "%" not in str(profile).splitlines()[2].split("%", 1)[1]  # one share, no second


def test_an_int8_stem_has_its_own_limit():
    (stem,) = make_profile([("stem", "int8_conv2d", (8, 8, 16), "int8_conv", 1000)], [0.002], 1, 1, LIMITS)
    assert (stem["runs_as"], stem["limit_share"]) == ("int8", pytest.approx(1000 / 2e9 / 2e-6))


def test_table():
    lines = str(make_profile(NODES, [0.004, 0.010, 0.001, 0.005], 2, 2, LIMITS)).splitlines()
    assert lines[0].split("  ")[0] == "name"
    assert lines[0].endswith("% of limit")
    assert lines[3].split() == [
        "body",
        "binary_conv2d",
        "8x8x64",
        "1-bit",
        "binary_conv",
        "0.0100",
        "50.0%",
        "12.0",
        "75%",
    ]
    assert lines[-1].split() == ["total", "0.0200", "100.0%", "8.2", "55%"]


@pytest.mark.parametrize("graph", [small_network(), block_network()], ids=["plain", "blocks"])
def test_a_row_for_every_node(graph):
    model = Model(graph)
    spec = graph.input
    profile = model.profile(np.zeros((2, spec.height, spec.width, spec.channels), np.uint8), repeats=3)
    assert [row["name"] for row in profile] == [node.name for node in graph.nodes]
    assert sum(row["share"] for row in profile) == pytest.approx(1)
    known = model.engine.isa != "portable"
    assert all((row["limit_share"] is not None) == (known and row["macs"] > 0) for row in profile)
    assert all(row["kernel"] and row["ms"] > 0 for row in profile)


def test_a_pool_in_one_pass_with_its_convolution_has_its_time_there():
    tensors = {"w": np.ones((64, 3, 3, 3), np.float32)}
    conv = {"stride": (1, 1), "padding": (1, 1), "dilation": (1, 1), "groups": 1}
    pool = {"kernel": (3, 3), "stride": (2, 2), "padding": (1, 1)}
    nodes = (
        Node("conv", "conv2d", ("image",), conv, {"weight": "w"}, ({"step": "store", "output": "map"},)),
        Node("pool", "max_pool2d", ("map",), pool, {}, ({"step": "store", "output": "y"},)),
    )
    graph = Graph(InputSpec(64, 64, 3, (0.0,) * 3, (1.0,) * 3, "other"), nodes, "y", tensors)
    profile = Model(graph).profile(np.zeros((1, 64, 64, 3), np.uint8), repeats=3)
    conv_row, pool_row = profile
    assert conv_row["kernel"].startswith("float_")
    assert pool_row["kernel"] == "with conv"
    assert pool_row["ms"] < conv_row["ms"] / 10
    assert pool_row["limit_share"] is None
    assert "with conv" in str(profile)


def test_mistakes():
    graph = small_network()
    with pytest.raises(ValueError, match="repeats must be at least 1, got 0"):
        Engine(graph).profile(np.zeros((1, 9, 9, 3), np.uint8), repeats=0)
    with pytest.raises(ValueError, match="profile needs backend='native'"):
        Model(graph, backend="reference").profile(np.zeros((9, 9, 3), np.uint8))
