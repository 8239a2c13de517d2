"""The int8 convolution: the reference is its definition, every kernel gives the same numbers, mistakes are named."""

from dataclasses import replace

import numpy as np
import pytest

import onebit
from onebit.format.file import load_graph, save_graph
from onebit.format.graph import Graph, InputSpec, Node, validate
from onebit.format.summary import summarize
from onebit.runtime.engine import Engine, usable_isas
from onebit.runtime.images import as_input, normalize, to_pixels
from onebit.runtime.model import Model
from onebit.runtime.parity import check_kernels
from onebit.runtime.reference import ReferenceEngine
from onebit.runtime.selftest import pixel_network

STORE = ({"step": "store", "output": "y"},)


def stem(channels, out, size, kernel, *, stride=(1, 1), padding=(0, 0), dilation=(1, 1), groups=1, scale=None):
    """A network of one int8 convolution, its scales 1 unless given: it gives its exact integers."""
    rng = np.random.default_rng(100 * channels + out)
    tensors = {
        "w": rng.integers(-127, 128, (out, *kernel, channels // groups)).astype(np.int8),
        "z": rng.integers(0, 255 * 256 + 1, channels).astype(np.int32),
        "s": np.ones(out, np.float32) if scale is None else scale,
    }
    attrs = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    node = Node("c", "int8_conv2d", ("image",), attrs, {"weight": "w", "zero": "z", "scale": "s"}, STORE)
    spec = InputSpec(*size, channels, (0.5,) * channels, (0.25,) * channels, "other", type="uint8")
    return Graph(spec, (node,), "y", tensors)


def pixels_for(graph, images=2):
    spec = graph.input
    return np.random.default_rng(2).integers(0, 256, (images, spec.height, spec.width, spec.channels), dtype=np.uint8)


def by_loops(graph, image_HWC):
    """The definition in docs/format.md, product by product, in Python's integers."""
    (node,) = graph.nodes
    attrs, w_OKLC = node.attrs, graph.tensors["w"]
    height, width, out = validate(graph)["y"].shape
    group_out, depth = out // attrs["groups"], w_OKLC.shape[3]
    y_HWO = np.zeros((height, width, out), object)
    for row, column, o in np.ndindex(y_HWO.shape):
        pixels = zeros = 0
        for k, l, c in np.ndindex(w_OKLC.shape[1:]):  # noqa: E741
            i = row * attrs["stride"][0] + k * attrs["dilation"][0] - attrs["padding"][0]
            j = column * attrs["stride"][1] + l * attrs["dilation"][1] - attrs["padding"][1]
            if 0 <= i < image_HWC.shape[0] and 0 <= j < image_HWC.shape[1]:
                channel, weight = o // group_out * depth + c, int(w_OKLC[o, k, l, c])
                pixels += weight * int(image_HWC[i, j, channel])
                zeros += weight * int(graph.tensors["z"][channel])
        y_HWO[row, column, o] = pixels - (zeros + 128) // 256
    return y_HWO.astype(np.int64)


GEOMETRIES = [
    (3, 5, (5, 6), (3, 3), {"padding": (1, 1)}),
    (1, 4, (6, 5), (5, 5), {"padding": (2, 2), "stride": (2, 2)}),
    (4, 6, (5, 5), (2, 3), {"groups": 2, "padding": (1, 2), "stride": (1, 2)}),
    (3, 3, (6, 6), (3, 3), {"groups": 3, "dilation": (2, 1), "padding": (2, 0)}),
    (2, 3, (2, 3), (3, 3), {"padding": (4, 3)}),
]


@pytest.mark.parametrize(("channels", "out", "size", "kernel", "options"), GEOMETRIES)
def test_reference_is_the_definition(channels, out, size, kernel, options):
    graph = stem(channels, out, size, kernel, **options)
    images = pixels_for(graph)
    want = np.stack([by_loops(graph, image) for image in images])
    assert np.array_equal(ReferenceEngine(graph).run(images), want)


@pytest.mark.parametrize("isa", usable_isas())
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("out", [1, 33, 70])
@pytest.mark.parametrize(
    ("size", "kernel", "options"),
    [
        ((17, 23), (7, 7), {"stride": (2, 2), "padding": (3, 3)}),
        ((9, 8), (3, 3), {"stride": (2, 1), "padding": (1, 1)}),
        ((5, 7), (3, 3), {"padding": (1, 1)}),
        ((4, 4), (1, 1), {}),
        ((6, 9), (2, 5), {"dilation": (3, 1), "padding": (3, 9)}),
    ],
)
def test_kernels_equal_the_reference(isa, channels, out, size, kernel, options):
    scale = np.random.default_rng(0).standard_normal(out).astype(np.float32)
    for one_scale in (None, scale):
        graph = stem(channels, out, size, kernel, scale=one_scale, **options)
        images = pixels_for(graph)
        want = ReferenceEngine(graph).run(images)
        for threads in (1, 3):
            assert np.array_equal(Engine(graph, isa=isa, threads=threads).run(images), want)


@pytest.mark.parametrize("isa", usable_isas())
@pytest.mark.parametrize("sign", [-1, 1])
def test_the_largest_sums_there_can_be(isa, sign):
    graph = stem(128, 17, (16, 16), (16, 16))
    graph.tensors["w"][:] = 127 * sign
    graph.tensors["z"][:] = 0
    images = np.full((1, 16, 16, 128), 255, np.uint8)
    want = np.float32(sign * 255 * 127 * 128 * 256)
    assert (Engine(graph, isa=isa).run(images) == want).all()
    graph.tensors["z"][:] = 255 * 256
    assert (Engine(graph, isa=isa).run(0 * images) == -want).all()


@pytest.mark.parametrize("isa", usable_isas())
def test_a_network_of_pixels(isa, tmp_path):
    """Pixels, the floats that they were normalized to, and the file give the same; parity is exact behind integers."""
    graph = pixel_network()
    images = pixels_for(graph)
    floats = normalize(images, graph.input.mean, graph.input.std)
    want = Model(graph, isa=isa)(images)
    assert np.array_equal(Model(graph, isa=isa)(floats), want)
    assert np.array_equal(Model(graph, isa=isa)(floats.transpose(0, 3, 1, 2)), want)
    assert np.array_equal(Engine(graph, isa=isa).run(floats), Engine(graph, isa=isa).run(images))
    assert np.array_equal(ReferenceEngine(graph).run(floats), ReferenceEngine(graph).run(images))
    save_graph(graph, tmp_path / "a.onebit")
    assert load_graph(tmp_path / "a.onebit").input.type == "uint8"
    assert np.array_equal(onebit.load(tmp_path / "a.onebit", isa=isa)(images), want)
    (row,) = (row for row in check_kernels(graph, images) if row["isa"] == isa)
    assert row["passed"]
    assert row["bits"] > 0


def test_parity_is_exact_behind_the_integers(monkeypatch):
    """A float that is off by its last bit fails, though it is far within the tolerance of real layers."""
    graph = pixel_network()
    good = Engine.values

    def off(self):
        values = dict(good(self))
        values["b"] = np.nextafter(values["b"], np.float32(np.inf))
        return values

    monkeypatch.setattr(Engine, "values", off)
    assert all(not row["passed"] and row["where"] == "stem (b)" for row in check_kernels(graph, pixels_for(graph)))


@pytest.mark.parametrize("std", [0.003, 0.25, 1.0, 7.0])
@pytest.mark.parametrize("mean", [0.0, 0.4465, 1.0])
def test_every_pixel_comes_back_from_its_float(mean, std):
    spec = InputSpec(16, 16, 1, (mean,), (std,), "L", type="uint8")
    pixels = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1)
    assert np.array_equal(as_input(normalize(pixels, (mean,), (std,)), spec), pixels)


def test_floats_that_are_no_pixels_are_refused():
    graph = pixel_network()
    x = np.full((1, 9, 11, 3), 2.5, np.float32)
    for run in (Model(graph), Engine(graph).run, ReferenceEngine(graph).run):
        with pytest.raises(
            ValueError, match=r"from \[-2.0, -2.0, -2.0\] to \[2.0, 2.0, 2.0\].*give raw pixels as uint8"
        ):
            run(x)
    assert to_pixels(np.full((1, 1, 1, 3), 2.001, np.float32), graph.input).max() == 255
    with pytest.raises(ValueError, match="images must be"):
        Engine(graph).run(np.zeros((1, 9, 11, 4), np.float32))


def test_it_is_counted_as_int8():
    rows = summarize(pixel_network(), 10_000).rows
    assert (rows[0].runs_as, rows[0].weight_bits, rows[0].weights) == ("int8", 8, 40 * 75)
    assert rows[0].bytes == 40 * 75 + 4 * (3 + 40) + 8 * 40  # weights, zeros and scales, the affine step
    assert (rows[0].macs, rows[0].bops) == (5 * 6 * 3000, 0)


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        (
            {"w": np.zeros((5, 3, 3, 3), np.float32)},
            r"weight \(tensor w\): found 'float32 \[5, 3, 3, 3\]'; allowed: int8",
        ),
        (
            {"w": np.full((5, 3, 3, 3), -128, np.int8)},
            r"weight \(tensor w\): found -128; allowed: numbers from -127 to 127",
        ),
        ({"w": np.zeros((5, 17, 1, 3), np.int8)}, "kernel sides up to 16"),
        ({"z": np.full(3, 65281, np.int32)}, r"zero \(tensor z\): found 65281; allowed: numbers from 0 to 65280"),
        ({"z": np.full(3, -1, np.int32)}, r"zero \(tensor z\): found -1"),
        ({"z": np.zeros(2, np.int32)}, r"zero \(tensor z\): found 'int32 \[2\]'"),
        ({"s": np.full(5, np.nan, np.float32)}, "NaN or infinity"),
        ({"s": np.ones(4, np.float32)}, r"scale \(tensor s\): found 'float32 \[4\]'; allowed: float32 \[5\]"),
    ],
)
def test_tensors_out_of_range(tensors, message):
    graph = stem(3, 5, (20, 9), (3, 3))
    validate(graph)
    with pytest.raises(onebit.FormatError, match=message):
        validate(replace(graph, tensors={**graph.tensors, **tensors}))


def test_wires_of_pixels():
    graph = stem(3, 5, (5, 6), (3, 3))
    floats = replace(graph, input=replace(graph.input, type="float32"))
    with pytest.raises(onebit.FormatError, match="image of type float32'; allowed: a value of type uint8"):
        validate(floats)
    other = Node("e", "elementwise", ("image",), epilogue=({"step": "store", "output": "z"},))
    with pytest.raises(onebit.FormatError, match="image of type uint8'; allowed: a value of type float32"):
        validate(replace(graph, nodes=(*graph.nodes, other)))
    with pytest.raises(onebit.FormatError, match=r"input\.type: found 'int8'; allowed: 'float32' or 'uint8'"):
        validate(replace(graph, input=replace(graph.input, type="int8")))
    wide = stem(129, 1, (16, 16), (16, 16))
    with pytest.raises(onebit.FormatError, match="at most 32768 weights for each output channel"):
        validate(wide)
    step = {"step": "threshold", "below": "z", "flip": "z", "output": "y"}
    low = replace(graph, nodes=(replace(graph.nodes[0], epilogue=(step,)),))
    with pytest.raises(onebit.FormatError, match="only after"):
        validate(low)
