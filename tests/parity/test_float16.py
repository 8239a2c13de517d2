"""Values of float16: every instruction set rounds and widens as IEEE 754 says, and values of either type may take
each other's place.
"""

import itertools

import numpy as np
import pytest

from onebit.format.bits import pack_bits
from onebit.format.graph import FLOATS, HALF, Graph, InputSpec, Node
from onebit.runtime.engine import Engine, usable_isas
from onebit.runtime.parity import check_kernels
from onebit.runtime.reference import ReferenceEngine

HALVES = np.arange(65536, dtype=np.uint16).view(np.float16)
WIDTHS = (1, 37, 64)  # channels: parts of vectors, and whole ones


def store(output, type=HALF):
    return {"step": "store", "output": output, **({"type": type} if type == HALF else {})}


def network(channels, pixels):
    """Rounds the image, reads what it rounded to in every way, and gives that as floats."""
    nodes = (
        Node("round", "elementwise", ("image",), epilogue=(store("half"),)),
        Node("read", "elementwise", ("half",), epilogue=(store("float", "float32"),)),
        Node("join", "concat", ("half", "image"), epilogue=(store("joined", "float32"),)),
        Node("mix", "shuffle_channels", ("half",), {"groups": 1}, epilogue=(store("mixed", "float32"),)),
        Node(
            "pool",
            "max_pool2d",
            ("half",),
            {"kernel": (1, 1), "stride": (1, 1), "padding": (0, 0)},
            epilogue=(store("pooled", "float32"),),
        ),
    )
    return Graph(InputSpec(1, pixels, channels, (0.0,) * channels, (1.0,) * channels, "other"), nodes, "float", {})


def patterns():
    """Floats around every half and every border between two, and any others."""
    size = np.append(HALVES[:0x7C00].astype(np.float32), np.float32(65536))  # in order, from 0 on
    finite = np.concatenate([size, -size])
    borders = np.concatenate([(size[1:] + size[:-1]) / 2, (size[1:] + size[:-1]) / -2])
    near = [np.nextafter(x, np.float32(to)) for x in (finite, borders) for to in (np.inf, -np.inf)]
    any = np.random.default_rng(0).integers(0, 2**32, 2**18, dtype=np.uint32).view(np.float32)
    return np.concatenate([HALVES.astype(np.float32), borders, *near, any])


def run(floats, isa, channels):
    """What the network makes of ``floats``, by value, and the map of float16 that NumPy makes of them."""
    padded = np.resize(floats, (len(floats) // channels + 1) * channels)
    pieces = padded.reshape(-1, channels)
    got = {}
    for part in np.array_split(pieces, -(-len(pieces) // 65536)):
        engine = Engine(network(channels, len(part)), isa=isa, keep_values=True)
        engine.run(part.reshape(1, 1, -1, channels))
        for name, value in engine.values().items():
            got.setdefault(name, []).append(value.reshape(len(part), -1))
    with np.errstate(over="ignore", invalid="ignore"):
        return {name: np.concatenate(parts) for name, parts in got.items()}, pieces.astype(np.float16)


def check(floats, isa, channels):
    got, want = run(floats, isa, channels)
    nan = np.isnan(want)
    assert np.array_equal(np.isnan(got["half"]), nan)
    assert np.array_equal(got["half"].view(np.uint16)[~nan], want.view(np.uint16)[~nan])  # of zeros the sign, too
    for name in ("float", "mixed", "pooled"):
        assert np.array_equal(got[name], want.astype(np.float32), equal_nan=True), name
    assert np.array_equal(got["joined"][:, :channels], want.astype(np.float32), equal_nan=True)


@pytest.mark.parametrize("isa", usable_isas())
@pytest.mark.parametrize("channels", WIDTHS)
def test_every_half_is_read_exactly_and_every_float_rounds_to_the_nearest(isa, channels):
    check(patterns(), isa, channels)


@pytest.mark.parametrize("isa", usable_isas())
def test_flushing_of_denormals_changes_nothing(isa):
    torch = pytest.importorskip("torch")
    if not torch.set_flush_denormal(True):
        pytest.skip("this CPU cannot flush denormals")
    try:
        check(HALVES.astype(np.float32), isa, 64)
    finally:
        torch.set_flush_denormal(False)


def residual(types, channels):
    """A chain of sums, each of which may take the place of the one before, stored as ``types``."""
    rng = np.random.default_rng(1)
    tensors = {"scale": rng.standard_normal(channels).astype(np.float32), "bias": np.ones(channels, np.float32)}
    affine = {"step": "affine", "scale": "scale", "bias": "bias"}
    nodes = [
        Node(
            "start",
            "elementwise",
            ("image",),
            epilogue=(affine, store("v0", types[0]), {"step": "binarize", "rule": "sign", "output": "b0"}),
        )
    ]
    for i, type in enumerate(types[1:], 1):
        tensors[f"w{i}"] = pack_bits(rng.random((channels, 3, 3, channels)) < 0.5)
        epilogue = (
            affine,
            {"step": "add", "input": f"v{i - 1}"},
            store(f"v{i}", type),
            {"step": "binarize", "rule": "sign", "output": f"b{i}"},
        )
        attrs = {"stride": (1, 1), "padding": (1, 1), "dilation": (1, 1), "groups": 1, "pad_value": 0}
        nodes.append(Node(f"node{i}", "binary_conv2d", (f"b{i - 1}",), attrs, {"weight": f"w{i}"}, epilogue))
    nodes.append(Node("end", "elementwise", (f"v{len(types) - 1}",), epilogue=(store("end", "float32"),)))
    spec = InputSpec(9, 7, channels, (0.0,) * channels, (1.0,) * channels, "other")
    return Graph(spec, tuple(nodes), "end", tensors)


@pytest.mark.parametrize("isa", usable_isas())
@pytest.mark.parametrize("channels", [20, 64, 100])
@pytest.mark.parametrize("types", list(itertools.product(FLOATS, repeat=3)), ids="-".join)
def test_sums_of_either_type_in_the_place_of_others(isa, channels, types):
    graph = residual(types, channels)
    images = np.random.default_rng(2).standard_normal((2, 9, 7, channels)).astype(np.float32)
    want = ReferenceEngine(graph).run(images)
    for threads in (1, 3):
        assert np.array_equal(Engine(graph, threads=threads, isa=isa).run(images), want)


def test_halves_take_half_the_memory():
    floats, halves = (Engine(residual((type,) * 3, 64), isa="portable", keep_values=True) for type in FLOATS)
    assert floats.memory - halves.memory == 3 * 2 * 9 * 7 * 64


def test_a_sum_that_rounds_to_the_half_beside_it_is_explained_and_others_are_not(monkeypatch):
    """A float convolution may round its sums in another order, and then be stored as the next half."""
    graph = residual((HALF, HALF), 64)
    images = np.random.default_rng(3).standard_normal((1, 9, 7, 64)).astype(np.float32)
    values = Engine.values

    def moved(steps):
        def changed(self):
            got = dict(values(self))
            bits = got["v1"].view(np.uint16).copy()
            bits.flat[np.abs(got["v1"]).argmax()] += steps
            moved = bits.view(np.float16)
            return {**got, "v1": moved, "end": moved.astype(np.float32)}

        monkeypatch.setattr(Engine, "values", changed)
        return all(row["passed"] for row in check_kernels(graph, images))

    assert moved(0)
    assert moved(1)
    assert not moved(8)
