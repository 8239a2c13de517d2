"""Work at load grows with what the file holds, and nothing is done twice: counted, not timed."""

import sys
from collections import Counter

import numpy as np
import pytest

import onebit
from onebit.format import graph as graph_module
from onebit.format.file import load_graph, save_graph
from onebit.format.graph import Graph, InputSpec, Node, validate
from onebit.format.summary import summarize
from onebit.format.tensors import TensorSpec
from onebit.runtime.parity import check_kernels
from onebit.runtime.selftest import small_network


@pytest.fixture
def counts(monkeypatch):
    """How often a graph was walked and a tensor was looked at."""
    found: Counter[str] = Counter()

    def counted(owner: type, name: str, key: str) -> None:
        original = getattr(owner, name)

        def call(self, *args):
            found[key] += 1
            return original(self, *args)

        monkeypatch.setattr(owner, name, call)

    counted(graph_module._Walk, "run", "walks")
    counted(TensorSpec, "check", "tensors")
    return found


def test_a_graph_is_validated_once(tmp_path, counts):
    save_graph(small_network(), tmp_path / "a.onebit")
    counts.clear()
    for backend in ("native", "reference"):
        model = onebit.load(tmp_path / "a.onebit", backend=backend)
        model(np.zeros((9, 9, 3), np.uint8))
        summarize(model.graph, 1000)
        validate(model.graph)
    check_kernels(model.graph, np.zeros((1, 9, 9, 3), np.uint8))
    assert counts["walks"] == 2  # two files were read


def chain(count: int, tensors: int = 1) -> Graph:
    """Convolutions behind each other that share weights and tables."""
    attrs = {"stride": [1, 1], "padding": [0, 0], "dilation": [1, 1], "groups": 1}
    weights = {f"w{i}": np.full((32, 1, 1, 32), i, np.float32) for i in range(tensors)}
    nodes = [
        Node(
            f"n{i}", "conv2d", (f"v{i}" if i else "image",), attrs, {"weight": f"w{i % tensors}"},
            (
                {"step": "affine", "scale": "t", "bias": "t"},
                {"step": "binarize", "rule": "sign", "threshold": "t", "output": f"b{i}"},
                {"step": "store", "output": f"v{i + 1}"},
            ),
        )
        for i in range(count)
    ]  # fmt: skip
    spec = InputSpec(1, 1, 32, (0.0,) * 32, (1.0,) * 32, "other")
    return Graph(spec, tuple(nodes), f"v{count}", {"t": np.ones(32, np.float32), **weights})


def test_a_shared_tensor_is_checked_once_for_each_role(counts):
    validate(chain(300, tensors=3))
    assert counts == {"walks": 1, "tensors": 4}


def test_the_same_tensor_in_other_roles_is_checked_for_each(counts):
    """Words of 33 channels may not be those of 34."""
    bits = Node("bits", "elementwise", ("image",), epilogue=({"step": "binarize", "rule": "sign", "output": "b"},))
    pool = {"kernel": [1, 1], "stride": [1, 1], "padding": [0, 0]}
    wide = Node(
        "wide", "pad_channels", ("image",), {"before": 0, "after": 1},
        epilogue=({"step": "binarize", "rule": "sign", "output": "c"}, {"step": "store", "output": "y"}),
    )  # fmt: skip
    pools = [
        Node(name, "bit_max_pool2d", (name[0],), pool, {"flip": "f"}, ({"step": "store", "output": f"{name}!"},))
        for name in ("b", "c", "b2", "c2")
    ]
    spec = InputSpec(1, 1, 33, (0.0,) * 33, (1.0,) * 33, "other")
    graph = Graph(spec, (bits, wide, *pools), "y", {"f": np.array([5, 1], np.uint32)})
    validate(graph)
    assert counts["tensors"] == 2
    lie = Graph(spec, (bits, wide, *pools), "y", {"f": np.array([5, 2], np.uint32)})
    with pytest.raises(onebit.FormatError, match=r"nodes\[2\] \(b\).tensors.flip .*: found '1 in an unused bit'"):
        validate(lie)


def calls(work) -> int:
    """How many functions are called while ``work`` runs."""
    count = 0

    def count_call(frame, event, arg):
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(count_call)
    try:
        work()
    finally:
        sys.setprofile(None)
    return count


def test_reading_takes_as_many_steps_as_there_are_nodes(tmp_path):
    made = []
    for count in (100, 200, 400):
        path = tmp_path / f"{count}.onebit"
        save_graph(chain(count), path)
        made.append(calls(lambda path=path: summarize(load_graph(path), 0)))
    first, second = np.diff(made)
    assert first > 1000
    assert second == pytest.approx(2 * first, rel=0.02)
