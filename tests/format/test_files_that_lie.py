"""Files that lie about sizes are refused before their memory is taken: each is read in a process that may take no more
than a little.
"""

import json
import os
import resource
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from onebit.format.errors import FormatError
from onebit.format.file import load_graph
from onebit.format.graph import Graph, InputSpec, Node
from onebit.runtime.engine import Engine
from onebit.runtime.model import Model
from onebit.runtime.selftest import small_network

HUGE = 2**40
MARGIN = 1 << 28  # bytes that a lie may take; the least of them asks for much more
CONV = {"stride": [1, 1], "padding": [0, 0], "dilation": [1, 1], "groups": 1}
BITS = Node("bits", "elementwise", ("image",), epilogue=({"step": "binarize", "rule": "sign", "output": "b"},))


def store(output: str) -> dict:
    return {"step": "store", "output": output}


def network(
    op: str,
    attrs: dict,
    weight: np.ndarray | None = None,
    sides: tuple[int, int, int] = (1, 1, 1),
    role: str = "weight",
) -> Graph:
    """A network of one op, behind a sign where it takes bits."""
    first = (BITS,) if op == "binary_conv2d" else ()
    roles, tensors = ({role: "w"}, {"w": weight}) if weight is not None else ({}, {})
    node = Node("n", op, ("b",) if first else ("image",), attrs, roles, (store("y"),))
    return Graph(InputSpec(*sides, (0.0,), (1.0,), "other"), (*first, node), "y", tensors)


def conv(**attrs: object) -> Graph:
    return network("conv2d", {**CONV, **attrs}, np.zeros((1, 1, 1, 1), np.float32))


def binary_conv(kernel: tuple[int, int], **attrs: object) -> Graph:
    return network("binary_conv2d", {**CONV, "pad_value": 0, **attrs}, np.zeros((1, *kernel, 1), np.uint32))


def pool(kernel: list[int], stride: list[int], padding: list[int], height: int = 1) -> Graph:
    return network("max_pool2d", {"kernel": kernel, "stride": stride, "padding": padding}, sides=(height, 1, 1))


def pixels(**attrs: object) -> Graph:
    tensors = {"w": np.zeros((1, 1, 1, 1), np.int8), "z": np.zeros(1, np.int32), "s": np.zeros(1, np.float32)}
    roles = {"weight": "w", "zero": "z", "scale": "s"}
    node = Node("n", "int8_conv2d", ("image",), {**CONV, **attrs}, roles, (store("y"),))
    return Graph(InputSpec(1, 1, 1, (0.0,), (1.0,), "other", type="uint8"), (node,), "y", tensors)


def rpc(block: int, height: int = 1, width: int = 1) -> Graph:
    attrs = {"block": block, "upscale": 1, "roll": 0}
    return network("rpc2d", attrs, np.zeros((1, 1, 1, 1), np.float32), (height, width, 1))


GRAPHS = {
    "input channels": network("elementwise", {}, sides=(1, 1, HUGE)),
    "input elements": network("elementwise", {}, sides=(65536, 65536, 1)),
    "stride": conv(stride=[HUGE, 1]),
    "groups": conv(groups=HUGE),
    "padded result": conv(padding=[65536, 65536]),
    "padded map": conv(padding=[65536, 65536], stride=[65536, 65536]),
    "padded map of bits": binary_conv((1, 1), padding=[65536, 65536], stride=[65536, 65536]),
    "padded map of pixels": pixels(padding=[65536, 65536], stride=[65536, 65536]),
    "groups of pixels": pixels(groups=HUGE),
    "table of borders": binary_conv((2000, 2000), padding=[2000, 2000]),
    "taps of a pool": pool([65536, 65536], [1, 1], [32768, 32768]),
    "padded map of a pool": pool([1, 65536], [1, 65536], [0, 32768], height=65536),
    "padded map of blocks": rpc(1, 65536, 4096),
    "block": rpc(HUGE),
    "channels put before": network("pad_channels", {"before": 65536, "after": 0}, sides=(64, 65, 1)),
    "flattened channels": network("flatten", {}, sides=(300, 300, 1)),
    "a slice of nothing": network("slice2d", {"rows": [3, 1, 1], "columns": [0, None, 1], "channels": [0, None, 1]}),
    "a slice from afar": network("slice2d", {"rows": [-HUGE, None, 1], "columns": [0, None, 1], "channels": [0, 1, 1]}),
    "a border": network("pad2d", {"padding": [65536, 0, 0, 0], "mode": "replicate", "value": 0.0}),
    "a reflected border": network("pad2d", {"padding": [0, 0, 9, 0], "mode": "reflect", "value": 0.0}),
    "repeated pixels": network("upsample_nearest2d", {"scale": [65536, 65536]}, sides=(9, 9, 1)),
    "other channels": network("gather_channels", {}, np.array([1], np.int32), role="channels"),
    "blocks to pixels": network("depth_to_space", {"block": HUGE}),
    "blocks from pixels": network("space_to_depth", {"block": 2}, sides=(3, 3, 1)),
    "shuffled groups": network("shuffle_channels", {"groups": HUGE}),
}


def container(shape: list[int], end: int, length: int | None = None) -> bytes:
    """A safetensors file of four bytes of data whose header says something else."""
    tensor = {"dtype": "F32", "shape": shape, "data_offsets": [0, end]}
    header = json.dumps({"__metadata__": {"onebit": "{}"}, "w": tensor}).encode()
    return struct.pack("<Q", len(header) if length is None else length) + header + bytes(4)


CONTAINERS = {
    "data past the end": container([HUGE], 4 * HUGE),
    "more elements than data": container([65536, 65536, 65536], 4),
    "elements that overflow": container([2**32, 2**32], 4),
    "negative": container([-1], 4),
    "header past the end": container([1], 4, HUGE),
    "header of all there is": container([1], 4, 2**64 - 1),
    "header past its limit": container([1], 4, 2**23 + 1) + bytes(2**23),
}


def many_values(count: int) -> Graph:
    """`count` maps of 1 GiB that are all needed at the end."""
    nodes = [Node(f"n{i}", "elementwise", ("image",), epilogue=(store(f"v{i}"),)) for i in range(count)]
    adds = tuple({"step": "add", "input": f"v{i}"} for i in range(count))
    nodes.append(Node("sum", "elementwise", ("image",), epilogue=(*adds, store("y"))))
    return Graph(InputSpec(16384, 16384, 1, (0.0,), (1.0,), "other"), tuple(nodes), "y", {})


def answers() -> dict[str, str]:
    """What each lie is answered with where hardly any memory is left."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + MARGIN,) * 2)
    found = {}

    def attempt(name: str, work: object) -> None:
        try:
            work()
            found[name] = "accepted"
        except Exception as error:
            found[name] = f"{type(error).__name__}: {error}"

    for name, graph in GRAPHS.items():
        attempt(name, lambda graph=graph: Engine(graph))
    attempt("memory of values", lambda: Model(many_values(12)))
    attempt("stacks of threads", lambda: Engine(small_network(), threads=1024))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "lie.onebit")
        for name, data in CONTAINERS.items():
            path.write_bytes(data)
            attempt(name, lambda: load_graph(path))
        path.write_bytes(container([4 * MARGIN], 16 * MARGIN))
        os.truncate(path, path.stat().st_size - 4 + 16 * MARGIN)  # no lie, but more than there is
        attempt("tensor past the memory", lambda: load_graph(path))
    return found


def test_lies_are_refused_before_their_memory_is_taken():
    done = subprocess.run([sys.executable, __file__], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    memory = found.pop("memory of values")
    assert memory.startswith("ValueError: the network takes "), memory
    assert memory.endswith("more than max_memory = 2147483648"), memory
    threads = found.pop("stacks of threads")
    assert threads.startswith("ValueError: threads: 1024 are more than the "), threads
    tensor = found.pop("tensor past the memory")
    assert "MemoryError: Unable to allocate 4.00 GiB" in tensor, tensor
    assert set(found) == {*GRAPHS, *CONTAINERS}
    assert {name: answer for name, answer in found.items() if not answer.startswith(FormatError.__name__)} == {}


if __name__ == "__main__":
    print(json.dumps(answers()))
