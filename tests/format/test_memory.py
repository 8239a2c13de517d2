"""What loading will take, counted from the graph alone: never less than what the core then takes."""

import numpy as np
import pytest

from onebit.format.errors import FormatError
from onebit.format.graph import HALF, Graph, InputSpec, Node
from onebit.format.memory import bytes_to_load
from onebit.format.ops import OPS
from onebit.format.ops.op import Op
from onebit.runtime.engine import Engine, usable_isas
from onebit.runtime.selftest import block_network, moving_network, pixel_network, small_network

CONV = {"stride": [1, 1], "padding": [0, 0], "dilation": [1, 1], "groups": 1}
SIGN = {"step": "binarize", "rule": "sign", "output": "b"}
STORE = {"step": "store", "output": "y"}


def network(op: str, attrs: dict, tensors: dict, shape: tuple[int, int, int], *steps: dict) -> Graph:
    """A sign of the image, and a node of ``op`` on the image or on that."""
    sign = Node("sign", "elementwise", ("image",), epilogue=(SIGN,))
    node = Node("n", op, ("b" if OPS[op].takes == "bits" else "image",), attrs, {role: role for role in tensors},
                (*steps, STORE))  # fmt: skip
    spec = InputSpec(*shape, (0.0,) * shape[2], (1.0,) * shape[2], "other")
    return Graph(spec, (sign, node), "y", {role: np.zeros(*form) for role, form in tensors.items()})


def words(*sides: int) -> tuple:
    return sides, np.uint32


def floats(*sides: int) -> tuple:
    return sides, np.float32


GRAPHS = {
    "small": small_network(),
    "blocks": block_network(),
    "pixels": pixel_network(),
    "moves": moving_network(),
    "repeated": network("upsample_nearest2d", {"scale": [7, 5]}, {}, (30, 30, 65)),
    "order": network("gather_channels", {}, {"channels": ((500,), np.int32)}, (9, 9, 33)),
    "blocks of pixels": network("space_to_depth", {"block": 8}, {}, (64, 64, 3)),
    "depthwise": network("binary_conv2d", {**CONV, "groups": 200, "pad_value": 1},
                         {"weight": words(200, 3, 3, 1)}, (9, 9, 200)),
    "zeros around": network("binary_conv2d", {**CONV, "padding": [40, 40], "pad_value": 0},
                            {"weight": words(3, 80, 80, 1)}, (80, 80, 20)),
    "strided": network("conv2d", {**CONV, "stride": [2, 2], "padding": [3, 3]},
                       {"weight": floats(17, 7, 7, 3)}, (64, 64, 3)),
    "one row": network("conv2d", {**CONV, "padding": [1, 1]}, {"weight": floats(65, 3, 3, 3)}, (3, 500, 3)),
    "bits for floats": network("conv2d", CONV, {"weight_bits": words(100, 1, 1, 32)}, (1, 1, 1024)),
    "large pool": network("max_pool2d", {"kernel": [50, 50], "stride": [1, 1], "padding": [25, 25]}, {}, (60, 60, 3)),
    "flat": network("flatten", {}, {}, (30, 30, 65)),
    "halves": network("rpc2d", {"block": 4, "upscale": 2, "roll": 0}, {"weight": floats(40, 4, 4, 33)}, (31, 31, 33),
                      {"step": "store", "output": "h", "type": HALF}),
}  # fmt: skip


@pytest.mark.parametrize("name", GRAPHS)
def test_never_less_than_the_core_takes(name):
    graph = GRAPHS[name]
    for isa in usable_isas():
        for threads in (1, 3):
            taken = sum(Engine(graph, threads=threads, isa=isa)._core.memory.values())
            assert taken <= bytes_to_load(graph, threads) <= 12 * taken


def test_nodes_that_share_a_tensor_share_what_is_made_of_it():
    """One weight of 4 MB that 400 nodes name: not 400 times 4 MB."""
    weight, steps = np.zeros((1024, 1, 1, 1024), np.float32), []
    for i in range(400):
        store = {"step": "store", "output": f"v{i + 1}"}
        steps.append(Node(f"n{i}", "conv2d", (f"v{i}" if i else "image",), CONV, {"weight": "w"}, epilogue=(store,)))
    spec = InputSpec(1, 1, 1024, (0.0,) * 1024, (1.0,) * 1024, "other")
    one, all = (Graph(spec, tuple(steps[:count]), f"v{count}", {"w": weight}) for count in (1, 400))
    assert weight.nbytes < bytes_to_load(one) < 3 * weight.nbytes
    assert bytes_to_load(all) < bytes_to_load(one) + weight.nbytes / 4


def test_files_that_take_much_more_than_they_hold_are_told_by_their_size():
    """Bits that become floats, sums for each place at a border, tables of many steps, maps that all must live."""
    bits = GRAPHS["bits for floats"]
    assert bytes_to_load(bits) > 32 * bits.tensors["weight_bits"].nbytes
    borders = GRAPHS["zeros around"]
    assert bytes_to_load(borders) > 4 * 3 * 81 * 81
    spec = InputSpec(1024, 1024, 1, (0.0,), (1.0,), "other")
    maps = [Node(f"n{i}", "elementwise", ("image",), epilogue=({**STORE, "output": f"v{i}"},)) for i in range(100)]
    adds = ({"step": "add", "input": f"v{i}"} for i in range(100))
    total = Node("sum", "elementwise", ("image",), epilogue=(*adds, STORE))
    assert bytes_to_load(Graph(spec, (*maps, total), "y", {})) > 101 * 2**22
    chain = [
        Node(f"n{i}", "elementwise", (f"v{i}" if i else "image",), epilogue=({**STORE, "output": f"v{i + 1}"},))
        for i in range(100)
    ]
    assert bytes_to_load(Graph(spec, tuple(chain), "v100", {})) < 4 * 2**22


def test_every_op_that_needs_more_than_its_values_says_so():
    assert {op for op, row in OPS.items() if row.memory is Op.__dataclass_fields__["memory"].default} == {"elementwise"}


def test_invalid_graphs_are_refused():
    with pytest.raises(FormatError):
        bytes_to_load(Graph(InputSpec(0, 1, 1, (0.0,), (1.0,)), (), "y", {}))
