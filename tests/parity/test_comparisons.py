"""Comparisons themselves: NaN and infinity never pass, whichever side has them."""

import math

import numpy as np
import pytest

from onebit.format.graph import HALF, Graph, InputSpec, Node
from onebit.runtime import parity
from onebit.runtime.engine import Engine
from onebit.runtime.parity import check_kernels, not_finite, output_error
from onebit.runtime.selftest import small_network

NAN, INF = math.nan, math.inf


class TestOutputError:
    def test_is_the_median_over_the_images_relative_to_the_largest(self):
        want = [[1.0, -4.0], [2.0, 0.0], [1.0, 1.0]]
        got = [[1.0, -3.0], [2.0, 0.0], [1.0, 3.0]]
        assert output_error(want, got) == 0.25

    def test_of_maps_and_another_norm(self):
        want, got = np.zeros((1, 2, 1, 2)), np.zeros((1, 2, 1, 2))
        want[0, :, 0, 0] = 3, 4
        got[0, :, 0, 0] = 3, 3
        assert output_error(want, got, norm=2) == pytest.approx(1 / 5)

    def test_of_zeros(self):
        assert output_error(np.zeros((2, 3)), np.zeros((2, 3))) == 0

    @pytest.mark.parametrize("bad", [NAN, INF, -INF])
    @pytest.mark.parametrize("where", ["want", "got", "both"])
    def test_one_image_that_is_not_finite_is_enough(self, bad, where):
        sides = {"want": np.ones((5, 3)), "got": np.ones((5, 3))}
        for name in ("want", "got") if where == "both" else (where,):
            sides[name][2, 1] = bad
        assert output_error(**sides) == INF
        assert not output_error(**sides) <= 1e-4
        assert max(map(not_finite, sides.values())) == 1

    def test_other_shapes_are_refused(self):
        with pytest.raises(ValueError, match=r"shape \(1, 2\) cannot be compared with outputs of \(1, 3\)"):
            output_error(np.zeros((1, 2)), np.zeros((1, 3)))


def rows_with(monkeypatch, change):
    """The rows of a right network where ``change`` alters what the core is said to have computed."""
    values = Engine.values
    monkeypatch.setattr(Engine, "values", lambda engine: change({k: v.copy() for k, v in values(engine).items()}))
    graph = small_network()
    return check_kernels(graph, np.random.default_rng(0).integers(0, 256, (1, 9, 9, 3), np.uint8))


@pytest.mark.parametrize("bad", [NAN, INF, -INF])
def test_a_core_that_gives_no_numbers_fails(monkeypatch, bad):
    def change(values):
        values["h"][:] = bad
        return values

    for row in rows_with(monkeypatch, change):
        assert not row["passed"]
        assert row["not_finite"] == 5
        assert row["where"] == "head (h)"


def test_a_reference_that_gives_no_numbers_fails(monkeypatch):
    run_node = parity.run_node

    def broken(graph, node, values, margins):
        run_node(graph, node, values, margins)
        if node.name == "head":
            values["h"] = np.full_like(values["h"], NAN)

    monkeypatch.setattr(parity, "run_node", broken)
    assert not any(row["passed"] for row in rows_with(monkeypatch, dict))


def test_a_wrong_float_is_named(monkeypatch):
    def change(values):
        values["h"][0, 0, 0, 1] += 1 + abs(values["h"]).max()
        return values

    for row in rows_with(monkeypatch, change):
        assert (row["passed"], row["not_finite"], row["where"]) == (False, 0, "head (h)")


def chain(*steps, type="float32"):
    """image -> steps -> a stored map -> bits of it -> numbers again."""
    tensors = {"big": np.float32([1e30]), "zero": np.float32([0]), "one": np.float32([1])}
    nodes = (
        Node("first", "elementwise", ("image",), epilogue=(*steps, {"step": "store", "output": "a", "type": type})),
        Node("second", "elementwise", ("a",),
             epilogue=({"step": "levels", "rule": "sign", "low": -1.0, "high": 1.0}, {"step": "store", "output": "y"})),
    )  # fmt: skip
    used = {step[role] for step in steps for role in ("scale", "bias")}
    kept = {name: tensor for name, tensor in tensors.items() if name in used}
    return Graph(InputSpec(1, 1, 1, (0.0,), (1.0,), "other"), nodes, "y", kept)


GROW = {"step": "affine", "scale": "big", "bias": "zero"}


@pytest.mark.parametrize("steps", [(GROW, GROW), (GROW, GROW, {"step": "affine", "scale": "zero", "bias": "one"})],
                         ids=["infinity", "NaN"])  # fmt: skip
def test_a_network_whose_numbers_overflow_fails_though_both_sides_agree(steps):
    for row in check_kernels(chain(*steps), np.float32([[[[1.0]]]])):
        assert (row["passed"], row["not_finite"], row["where"]) == (False, 1, "first (a)")


@pytest.mark.parametrize("x", [1e6, -1e6, 65519.0, 65520.0])
def test_float16_has_an_infinity_that_is_part_of_the_format(x):
    for row in check_kernels(chain(type=HALF), np.float32([[[[x]]]])):
        assert (row["passed"], row["not_finite"], row["float_error"]) == (True, 0, 0)


@pytest.mark.parametrize(("got", "passed"), [(65504.0, True), (65472.0, False), (-INF, False), (NAN, False)])
def test_beside_the_infinity_of_float16_lies_the_largest_number(monkeypatch, got, passed):
    def change(values):
        values["a"][:] = got
        values["y"][:] = 1 if got > 0 or math.isnan(got) else -1
        return values

    values = Engine.values
    monkeypatch.setattr(Engine, "values", lambda engine: change(dict(values(engine))))
    for row in check_kernels(chain(type=HALF), np.float32([[[[65520.0]]]])):
        assert row["passed"] == passed


def test_bits_made_from_nan_do_not_pass():
    steps = (GROW, GROW, {"step": "affine", "scale": "zero", "bias": "one"})
    binarize = {"step": "binarize", "rule": "sign", "output": "bits"}
    graph = chain(*steps)
    nodes = (
        Node("first", "elementwise", ("image",), epilogue=(*steps, binarize)),
        Node("second", "elementwise", ("image",), epilogue=({"step": "store", "output": "y"},)),
    )
    for row in check_kernels(Graph(graph.input, nodes, "y", graph.tensors), np.float32([[[[1.0]]]])):
        assert (row["passed"], row["not_finite"]) == (False, 1)
