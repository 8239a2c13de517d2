"""What a loaded network may take: counted before it is taken, and bounded in proportion to its file."""

import pickle
import re

import numpy as np
import pytest

import onebit
from onebit.cli.main import main
from onebit.format.file import save_graph
from onebit.format.graph import Graph, InputSpec, Node
from onebit.runtime.engine import default_max_memory
from onebit.runtime.parity import check_kernels
from onebit.runtime.selftest import small_network

MIB = 1 << 20


def bits_in_float(megabytes: int = 1) -> Graph:
    """Weights of bits that compute in float, and so take 32 times what they take in the file."""
    tensors = {"w": np.zeros((1024 * megabytes, 1, 1, 256), np.uint32)}
    attrs = {"stride": (1, 1), "padding": (0, 0), "dilation": (1, 1), "groups": 1}
    channels = 32 * 256
    node = Node("wide", "conv2d", ("image",), attrs, {"weight_bits": "w"}, ({"step": "store", "output": "y"},))
    return Graph(InputSpec(1, 1, channels, (0.0,) * channels, (1.0,) * channels, "other"), (node,), "y", tensors)


def big_maps(count: int, side: int) -> Graph:
    """So many maps of ``side`` x ``side`` floats that are all needed at the end."""
    nodes = [
        Node(f"n{i}", "elementwise", ("image",), epilogue=({"step": "store", "output": f"v{i}"},)) for i in range(count)
    ]
    adds = tuple({"step": "add", "input": f"v{i}"} for i in range(count))
    nodes.append(Node("sum", "elementwise", ("image",), epilogue=(*adds, {"step": "store", "output": "y"})))
    return Graph(InputSpec(side, side, 1, (0.0,), (1.0,), "other"), tuple(nodes), "y", {})


@pytest.fixture(scope="module")
def wide(tmp_path_factory):
    path = tmp_path_factory.mktemp("memory") / "wide.onebit"
    save_graph(bits_in_float(), path)
    return path


def test_the_default_is_in_proportion_to_the_file_and_one_image():
    assert default_max_memory(small_network()) < 258 * MIB
    assert default_max_memory(bits_in_float()) == (256 + 64 + 2) * MIB + 64 * 4 * 32 * 256
    huge = Graph(InputSpec(16384, 16384, 1, (0.0,), (1.0,)), (), "", {"w": np.broadcast_to(np.uint32(0), 1 << 28)})
    assert default_max_memory(huge) == (2 << 30) + (2 << 30)


def test_a_file_within_the_limit_loads_and_one_past_it_is_refused_by_layer(wide):
    model = onebit.load(wide, max_memory=60 * MIB)  # 32 MiB of floats
    assert model(np.ones((32 * 256, 1, 1), np.float32))[0] == 32 * 256
    with pytest.raises(ValueError, match="wide: up to here weights and tables take more than max_memory = 20971520"):
        onebit.load(wide, max_memory=20 * MIB)


def test_a_small_file_of_huge_maps_is_refused_unless_the_user_allows_it():
    graph = big_maps(40, 2048)  # 640 MiB, of images of 16
    assert default_max_memory(graph) == (256 + 64 * 16) * MIB
    refused = big_maps(100, 2048)
    with pytest.raises(ValueError, match=r"the network takes \d+ bytes .* more than max_memory = 1342177280"):
        onebit.Model(refused)


def test_checks_of_kernels_are_bounded_too():
    with pytest.raises(ValueError, match="more than max_memory = 1342177280"):
        check_kernels(big_maps(100, 2048), np.zeros((1, 2048, 2048, 1), np.uint8))


def test_copies_keep_the_limit(wide):
    model = onebit.load(wide, max_memory=60 * MIB)
    model._options["max_memory"] = 20 * MIB
    with pytest.raises(ValueError, match="max_memory = 20971520"):
        pickle.loads(pickle.dumps(model))


@pytest.mark.parametrize("limit", [0, -1, 1.5, True, "2GiB"])
def test_other_limits_are_no_numbers_of_bytes(wide, limit):
    with pytest.raises(ValueError, match=re.escape(f"max_memory must be a positive integer (bytes), got {limit!r}")):
        onebit.load(wide, max_memory=limit)


@pytest.mark.parametrize("verb", ["run", "bench", "verify"])
def test_the_command_line_names_its_flag(wide, tmp_path, capsys, verb):
    np.save(tmp_path / "image.npy", np.zeros((32 * 256, 1, 1), np.float32))
    more = [str(tmp_path / "image.npy")] if verb == "run" else []
    assert main([verb, str(wide), *more, "--max_memory", "20 MiB"]) == 1
    printed = capsys.readouterr().err
    assert printed == (
        "onebit: error: wide: up to here weights and tables take more than --max_memory = 20971520 bytes\n"
    )


@pytest.mark.parametrize(
    ("size", "message"), [("lots", "--max_memory: a size must be a number of bytes"), ("0", "must be at least 1 byte")]
)
def test_a_size_that_is_none_is_wrong_usage(wide, capsys, size, message):
    assert main(["verify", str(wide), "--max_memory", size]) == 2
    assert message in capsys.readouterr().err
