"""Every kernel that this CPU can run gives what the reference interpreter gives: integers exactly, floats to
rounding.
"""

import numpy as np
import pytest

from onebit.format.bits import pack_bits, unpack_bits, words_for
from onebit.format.graph import Graph, InputSpec, Node, validate
from onebit.runtime.engine import Engine, usable_isas
from onebit.runtime.model import Model
from onebit.runtime.parity import check_kernels
from onebit.runtime.reference import ReferenceEngine
from onebit.runtime.selftest import small_network

pytestmark = pytest.mark.parametrize("isa", usable_isas())


def convolution(
    channels: int,
    out: int,
    size: tuple[int, int],
    kernel: tuple[int, int],
    *,
    stride: tuple[int, int] = (1, 1),
    padding: tuple[int, int] = (0, 0),
    dilation: tuple[int, int] = (1, 1),
    groups: int = 1,
    pad_value: int = 0,
    threshold: bool = False,
) -> Graph:
    """image -> bits -> one binary convolution -> its exact integers, or the bits of a threshold as floats again."""
    rng = np.random.default_rng(channels * 1000 + out)
    tensors = {"w": pack_bits(rng.random((out, *kernel, channels // groups)) < 0.5)}
    attrs = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups, "pad_value": pad_value}
    steps: tuple = ({"step": "store", "output": "sums"},)
    if threshold:
        taps = kernel[0] * kernel[1] * channels // groups
        tensors["t"] = rng.integers(-taps // 4, taps // 4 + 1, out).astype(np.int32)
        if out > 1:  # never, and always, below
            tensors["t"][:2] = np.iinfo(np.int32).min, np.iinfo(np.int32).max
        tensors["f"] = pack_bits(rng.random(out) < 0.5)
        steps = ({"step": "threshold", "below": "t", "flip": "f", "output": "bits"},)
    nodes = [
        Node("sign", "elementwise", ("image",), epilogue=({"step": "binarize", "rule": "sign", "output": "b"},)),
        Node("conv", "binary_conv2d", ("b",), attrs, {"weight": "w"}, steps),
    ]
    if threshold:  # a graph ends in floats: pass the bits through a 1x1 convolution
        tensors["one"] = pack_bits(np.zeros((1, 1, 1, out), bool))
        plain = {"stride": (1, 1), "padding": (0, 0), "dilation": (1, 1), "groups": 1, "pad_value": 0}
        nodes.append(
            Node("sum", "binary_conv2d", ("bits",), plain, {"weight": "one"}, ({"step": "store", "output": "sums"},))
        )
    return Graph(
        InputSpec(*size, channels, (0.0,) * channels, (1.0,) * channels, "other"), tuple(nodes), "sums", tensors
    )


def noise(graph: Graph, images: int = 2) -> np.ndarray:
    """Random images with zeros of both signs among them."""
    spec = graph.input
    x = np.random.default_rng(1).standard_normal((images, spec.height, spec.width, spec.channels)).astype(np.float32)
    x.reshape(-1)[::7] = 0.0
    x.reshape(-1)[::11] = -0.0
    return x


def equal(graph: Graph, isa: str, threads: int = 1) -> None:
    x = noise(graph)
    reference = ReferenceEngine(graph)
    want = reference.run(x)
    engine = Engine(graph, threads=threads, isa=isa, keep_values=True)
    assert np.array_equal(engine.run(x), want)
    for name, value in reference.values().items():
        assert np.array_equal(engine.values()[name], value), name


@pytest.mark.parametrize("threshold", [False, True])
@pytest.mark.parametrize("channels", [1, 3, 31, 32, 33, 63, 64, 65, 96, 130])
@pytest.mark.parametrize("out", [1, 31, 32, 33, 64, 100])
def test_channel_counts(isa, channels, out, threshold):
    equal(convolution(channels, out, (5, 6), (3, 3), padding=(1, 1), threshold=threshold), isa)


@pytest.mark.parametrize("pad_value", [-1, 0, 1])
@pytest.mark.parametrize(
    "geometry",
    [
        {"stride": (2, 2), "padding": (1, 1)},
        {"stride": (3, 1), "padding": (2, 0)},
        {"dilation": (2, 3), "padding": (2, 3)},
        {"groups": 2, "padding": (1, 1)},
        {"groups": 11, "padding": (1, 1)},
        {"groups": 66, "padding": (1, 1)},
    ],
    ids=str,
)
@pytest.mark.parametrize("threshold", [False, True])
def test_geometry(isa, geometry, pad_value, threshold):
    equal(convolution(66, 66, (9, 8), (3, 3), pad_value=pad_value, threshold=threshold, **geometry), isa)


@pytest.mark.parametrize("width", range(1, 10))
@pytest.mark.parametrize("height", [1, 2, 7])
def test_small_maps(isa, width, height):
    equal(convolution(64, 64, (height, width), (3, 3), padding=(1, 1), pad_value=-1, threshold=True), isa)


@pytest.mark.parametrize("kernel", [(1, 1), (1, 3), (5, 2), (7, 7)])
def test_kernel_sizes(isa, kernel):
    padding = (kernel[0] // 2, kernel[1] // 2)
    equal(convolution(40, 70, (8, 8), kernel, padding=padding), isa)


def test_long_sums_do_not_overflow_narrow_counters(isa):
    """K = 2048 * 25 products, all equal or all different: the largest counts there are."""
    for low in (False, True):
        graph = convolution(2048, 33, (5, 5), (5, 5))
        weights = np.full((33, 5, 5, 2048), low)
        graph = Graph(graph.input, graph.nodes, graph.output, {**graph.tensors, "w": pack_bits(weights)})
        x = np.ones((1, 5, 5, 2048), np.float32)
        got = Engine(graph, isa=isa).run(x)
        assert (got == (-1 if low else 1) * 2048 * 25).all()


@pytest.mark.parametrize("threads", [2, 3])
def test_results_do_not_depend_on_threads(isa, threads):
    equal(convolution(64, 96, (13, 11), (3, 3), padding=(1, 1), threshold=True), isa, threads)
    graph = small_network()
    x = noise(graph, 5)
    one, many = (Engine(graph, threads=n, isa=isa).run(x) for n in (1, threads))
    assert np.array_equal(one, many)


def test_every_op_and_step(isa):
    rows = {row["isa"]: row for row in check_kernels(small_network(), noise(small_network()))}
    assert rows[isa]["passed"], rows[isa]
    pixels = np.random.default_rng(0).integers(0, 256, (2, 9, 9, 3), dtype=np.uint8)
    rows = {row["isa"]: row for row in check_kernels(small_network(1), pixels)}
    assert rows[isa]["passed"], rows[isa]


def pool(op: str, channels: int, **attrs: object) -> Graph:
    """image -> pool of floats, or of bits which come back as sums."""
    spec = InputSpec(7, 6, channels, (0.0,) * channels, (1.0,) * channels, "other")
    if op != "bit_max_pool2d":
        return Graph(
            spec, (Node("pool", op, ("image",), attrs, epilogue=({"step": "store", "output": "y"},)),), "y", {}
        )
    graph = convolution(channels, 3, (7, 6), (1, 1))
    flip = pack_bits(np.arange(channels) % 3 == 0)
    sign, conv = graph.nodes
    node = Node("pool", op, ("b",), attrs, {"flip": "flip"}, ({"step": "store", "output": "p"},))
    conv = Node("conv", conv.op, ("p",), conv.attrs, conv.tensors, conv.epilogue)
    return Graph(spec, (sign, node, conv), "sums", {**graph.tensors, "flip": flip})


@pytest.mark.parametrize("op", ["max_pool2d", "avg_pool2d", "bit_max_pool2d"])
@pytest.mark.parametrize("channels", [1, 33, 64])
@pytest.mark.parametrize(("kernel", "stride", "padding"), [(2, 2, 0), (3, 2, 1), (3, 1, 1), (6, 6, 0)])
def test_pools(isa, op, channels, kernel, stride, padding):
    attrs: dict = {"kernel": (kernel, kernel), "stride": (stride, stride), "padding": (padding, padding)}
    for include in [True, False] if op == "avg_pool2d" else [None]:
        graph = pool(op, channels, **attrs, **({} if include is None else {"count_include_pad": include}))
        x = noise(graph)
        want = ReferenceEngine(graph).run(x)
        np.testing.assert_allclose(Engine(graph, isa=isa).run(x), want, rtol=1e-6, atol=1e-6)


def test_flatten_and_pad_channels(isa):
    spec = InputSpec(3, 4, 5, (0.0,) * 5, (1.0,) * 5, "other")
    store = ({"step": "store", "output": "y"},)
    for op, attrs in (("flatten", {}), ("pad_channels", {"before": 3, "after": 30})):
        graph = Graph(spec, (Node("n", op, ("image",), attrs, epilogue=store),), "y", {})
        x = noise(graph)
        assert np.array_equal(Engine(graph, isa=isa).run(x), ReferenceEngine(graph).run(x))


@pytest.mark.parametrize("bits", [False, True])
@pytest.mark.parametrize("groups", [1, 2, 6])
@pytest.mark.parametrize(("stride", "dilation", "padding"), [(1, 1, 1), (2, 1, 0), (1, 2, 2)])
def test_real_convolution(isa, bits, groups, stride, dilation, padding):
    rng = np.random.default_rng(0)
    shape = (42, 3, 2, 6 // groups)
    weight = {"w": pack_bits(rng.random(shape) < 0.5) if bits else rng.standard_normal(shape).astype(np.float32)}
    attrs = {"stride": (stride, 1), "padding": (padding, 1), "dilation": (dilation, 1), "groups": groups}
    role = "weight_bits" if bits else "weight"
    node = Node("c", "conv2d", ("image",), attrs, {role: "w"}, ({"step": "store", "output": "y"},))
    graph = Graph(InputSpec(9, 7, 6, (0.0,) * 6, (1.0,) * 6, "other"), (node,), "y", weight)
    validate(graph)
    x = noise(graph)
    np.testing.assert_allclose(Engine(graph, isa=isa).run(x), ReferenceEngine(graph).run(x), rtol=1e-5, atol=1e-5)


def test_levels_and_rules_at_zero(isa):
    """The edges of both rules, in floats and in bits: 0.0, -0.0, the smallest floats, and NaN, which is high."""
    x = np.array([0.0, -0.0, 1e-30, -1e-30, 1e-42, -1e-42, 1.0, -1.0], np.float32).reshape(1, 1, 8, 1)
    for rule, low in (("sign", [0, 0, 0, 1, 0, 1, 0, 1]), ("step", [1, 1, 0, 1, 0, 1, 0, 1])):
        steps = (
            {"step": "binarize", "rule": rule, "output": "b"},
            {"step": "levels", "rule": rule, "low": -3.0, "high": 5.0},
            {"step": "store", "output": "y"},
        )
        graph = Graph(
            InputSpec(1, 8, 1, (0.0,), (1.0,), "L"), (Node("n", "elementwise", ("image",), epilogue=steps),), "y", {}
        )
        engine = Engine(graph, isa=isa, keep_values=True)
        assert engine.run(x).reshape(-1).tolist() == [-3.0 if bit else 5.0 for bit in low]
        assert unpack_bits(engine.values()["b"], 1).reshape(-1).tolist() == [bool(bit) for bit in low]


def test_model_takes_pixels_and_floats_in_every_layout(isa):
    model = Model(small_network(), isa=isa)
    pixels = np.random.default_rng(0).integers(0, 256, (2, 9, 9, 3), dtype=np.uint8)
    floats = (pixels / np.float32(255) - np.float32(0.5)) / np.float32(0.25)
    want = model(pixels)
    for given in (floats, floats.transpose(0, 3, 1, 2), floats.astype(np.float64)):
        np.testing.assert_allclose(model(given), want, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(model(pixels[0]), want[0], rtol=1e-6)
    assert words_for(33) == 2
