"""Concatenation, shuffles and reshaped point-wise convolutions in the file: what they compute, what is refused."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from onebit.format.bits import pack_bits
from onebit.format.errors import FormatError
from onebit.format.graph import Graph, InputSpec, Node, validate
from onebit.format.summary import summarize
from onebit.runtime.reference import ReferenceEngine

STORE = {"step": "store", "output": "y"}
BITS = Node("bits", "elementwise", ("image",), epilogue=({"step": "binarize", "rule": "sign", "output": "b"},))


def network(nodes, tensors, height=5, width=7, channels=6, output="y"):
    spec = InputSpec(height, width, channels, (0.0,) * channels, (1.0,) * channels, "other")
    return Graph(spec, tuple(nodes), output, tensors)


def noise(graph, images=2):
    spec = graph.input
    return np.random.default_rng(3).standard_normal((images, spec.height, spec.width, spec.channels), np.float32)


def run(graph):
    return ReferenceEngine(graph).run(noise(graph))


def torch_map(x_NHWC):
    return torch.from_numpy(np.ascontiguousarray(x_NHWC)).permute(0, 3, 1, 2)


def rpc(block, upscale, roll, out, *, steps=(STORE,), binary=True, pad_value=1, channels=6, height=5, width=7, **more):
    """A network of one such convolution on bits or on floats, and its weights as [O, r, r, C] numbers."""
    rng = np.random.default_rng(block * 100 + out)
    weight = rng.standard_normal((out, block, block, channels)).astype(np.float32)
    attrs = {"block": block, "upscale": upscale, "roll": roll}
    if not binary:
        node = Node("c", "rpc2d", ("image",), attrs, {"weight": "w"}, steps)
        return network([node], {"w": weight, **more}, height, width, channels), weight
    attrs["pad_value"] = pad_value
    node = Node("c", "binary_rpc2d", ("b",), attrs, {"weight": "w"}, steps)
    tensors = {"w": pack_bits(weight < 0), **more}
    return network([BITS, node], tensors, height, width, channels), np.where(weight < 0, -1, 1).astype(np.float32)


def by_torch(x_NHWC, weight_OKLC, block, upscale, roll, fill, between=lambda y: y):
    """The operator as torch writes it; ``between`` works on its (B, O, ...) map, channels in torch's order."""
    x = torch.roll(torch_map(x_NHWC), (-roll, -roll), (2, 3))
    height, width = x.shape[2:]
    x = F.pixel_unshuffle(F.pad(x, (0, -width % block, 0, -height % block), value=fill), block)
    out = len(weight_OKLC)
    order = np.arange(out).reshape(upscale**2, -1).T.reshape(-1)  # torch's channel c*u*u + p is p*C + c of the file
    weight = torch.from_numpy(weight_OKLC[order]).permute(0, 3, 1, 2).reshape(out, -1, 1, 1)
    y = F.pixel_shuffle(between(F.conv2d(x, weight)), upscale)
    y = y[:, :, : -(-height * upscale // block), : -(-width * upscale // block)]
    return torch.roll(y, (roll, roll), (2, 3)).permute(0, 2, 3, 1).numpy()


SHAPES = [(1, 1, 0), (2, 1, 0), (2, 2, 0), (2, 2, 1), (3, 1, 0), (3, 2, 0), (4, 2, 0), (8, 2, 0), (16, 1, 0), (1, 1, 1)]


@pytest.mark.parametrize(("block", "upscale", "roll"), SHAPES)
@pytest.mark.parametrize("pad_value", [-1, 1])
@pytest.mark.parametrize(("height", "width", "channels"), [(5, 7, 6), (4, 8, 33), (1, 1, 1)])
def test_binary_rpc_is_torchs_operator_exactly(block, upscale, roll, pad_value, height, width, channels):
    graph, signs = rpc(block, upscale, roll, 12, pad_value=pad_value, channels=channels, height=height, width=width)
    x = np.where(noise(graph) < 0, -1, 1).astype(np.float32)
    got = run(graph)
    assert got.shape[1:] == validate(graph)["y"].shape
    assert np.array_equal(got, by_torch(x, signs, block, upscale, roll, float(pad_value)))


@pytest.mark.parametrize(("block", "upscale", "roll"), SHAPES)
def test_real_rpc(block, upscale, roll):
    graph, weight = rpc(block, upscale, roll, 8, binary=False)
    want = by_torch(noise(graph), weight, block, upscale, roll, 0.0)
    np.testing.assert_allclose(run(graph), want, rtol=0, atol=1e-5 * np.abs(want).max())


@pytest.mark.parametrize("roll", [0, 1])
def test_tables_behind_an_rpc_follow_the_position(roll):
    """Per-position scales, slopes, thresholds and flips are what torch computes before it restores the map."""
    rng = np.random.default_rng(0)
    names = ("scale", "bias", "positive", "negative", "limit")
    tables = {name: rng.standard_normal(12).astype(np.float32) for name in names}
    tables["bias"] *= 5
    steps = (
        {"step": "affine", "scale": "scale", "bias": "bias"},
        {"step": "slopes", "positive": "positive", "negative": "negative"},
        STORE,
        {"step": "binarize", "rule": "sign", "threshold": "limit", "output": "low"},
    )
    graph, signs = rpc(2, 2, roll, 12, steps=steps, **tables)
    order = np.arange(12).reshape(4, 3).T.reshape(-1)
    t = {name: torch.from_numpy(table[order]).reshape(-1, 1, 1) for name, table in tables.items()}

    def between(y):
        y = t["scale"] * y + t["bias"]
        return t["positive"] * y.clamp_min(0) + t["negative"] * y.clamp_max(0)

    x = np.where(noise(graph) < 0, -1, 1).astype(np.float32)
    engine = ReferenceEngine(graph)
    got = engine.run(noise(graph))
    want = by_torch(x, signs, 2, 2, roll, 1.0, between)
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)
    below = by_torch(x, signs, 2, 2, roll, 1.0, lambda y: 1 - 2 * (between(y) < t["limit"]).float())
    assert np.array_equal(engine.signs("low"), below)


@pytest.mark.parametrize(("upscale", "out"), [(1, 33), (2, 132)])
def test_integer_thresholds_behind_an_rpc(upscale, out):
    """Words of ``flip`` start anew at each position."""
    rng = np.random.default_rng(1)
    positions, channels = upscale**2, out // upscale**2
    flips = rng.random(out) < 0.5
    more = {
        "below": rng.integers(-6, 7, out).astype(np.int32),
        "flip": pack_bits(flips.reshape(positions, channels)).reshape(-1),
        "one": pack_bits(np.zeros((1, 1, 1, channels), bool)),
    }
    steps = ({"step": "threshold", "below": "below", "flip": "flip", "output": "low"},)
    graph, signs = rpc(2, upscale, upscale - 1, out, steps=steps, **more)
    plain = {"stride": [1, 1], "padding": [0, 0], "dilation": [1, 1], "groups": 1, "pad_value": 0}
    head = Node("head", "binary_conv2d", ("low",), plain, {"weight": "one"}, (STORE,))
    graph = Graph(graph.input, (*graph.nodes, head), "y", graph.tensors)
    engine = ReferenceEngine(graph)
    engine.run(noise(graph))
    order = np.arange(out).reshape(positions, channels).T.reshape(-1)
    below = torch.from_numpy(more["below"][order]).reshape(-1, 1, 1)
    flip = torch.from_numpy(flips[order]).reshape(-1, 1, 1)
    x = np.where(noise(graph) < 0, -1, 1).astype(np.float32)
    want = by_torch(x, signs, 2, upscale, upscale - 1, 1.0, lambda y: 1 - 2 * ((y < below) ^ flip).float())
    assert np.array_equal(engine.signs("low"), want)


def test_concat_and_shuffle_channels():
    nodes = (
        Node(
            "pad", "pad_channels", ("image",), {"before": 1, "after": 2}, epilogue=({"step": "store", "output": "p"},)
        ),
        Node("cat", "concat", ("image", "p", "image"), epilogue=({"step": "store", "output": "c"},)),
        Node("mix", "shuffle_channels", ("c",), {"groups": 7}, epilogue=(STORE,)),
    )
    graph = network(nodes, {})
    x = torch_map(noise(graph))
    want = F.channel_shuffle(torch.cat([x, F.pad(x, (0, 0, 0, 0, 1, 2)), x], 1), 7)
    assert np.array_equal(torch_map(run(graph)).numpy(), want.numpy())


@pytest.mark.parametrize(("groups", "shuffle"), [(1, 2), (2, 3), (3, 12), (1, 1)])
def test_shuffle_of_a_binary_convolution(groups, shuffle):
    rng = np.random.default_rng(0)
    tensors = {"w": pack_bits(rng.random((12, 3, 3, 6 // groups)) < 0.5)}
    attrs = {"stride": [1, 1], "padding": [1, 1], "dilation": [1, 1], "groups": groups, "pad_value": 1}
    conv = Node("c", "binary_conv2d", ("b",), attrs, {"weight": "w"}, (STORE,))
    mixed = Node("c", "binary_conv2d", ("b",), {**attrs, "shuffle": shuffle}, {"weight": "w"}, (STORE,))
    plain, shuffled = run(network([BITS, conv], tensors)), run(network([BITS, mixed], tensors))
    assert np.array_equal(torch_map(shuffled).numpy(), F.channel_shuffle(torch_map(plain), shuffle).numpy())


def test_costs_count_whole_blocks():
    """A 5x7 map has 3x4 blocks of 2x2; each costs r*r*C*O products."""
    graph, _ = rpc(2, 2, 0, 12)
    real, _ = rpc(4, 1, 0, 8, binary=False)
    row, real_row = summarize(graph, 10_000).rows[1], summarize(real, 10_000).rows[0]
    assert (row.weights, row.weight_bits, row.macs, row.bops, row.runs_as) == (288, 1, 0, 12 * 288, "1-bit")
    assert (real_row.weights, real_row.weight_bits, real_row.macs, real_row.bops) == (768, 32, 4 * 768, 0)
    assert real_row.runs_as == "float"
    assert row.shape == (5, 7, 3)
    assert real_row.shape == (2, 2, 8)


def changed(graph, place=-1, **fields):
    """The graph with fields of one node replaced; attrs are updated."""
    nodes = list(graph.nodes)
    old = nodes[place]
    attrs = {**old.attrs, **fields.pop("attrs", {})}
    kept = {name: getattr(old, name) for name in ("name", "op", "inputs", "tensors", "epilogue", "source", "note")}
    nodes[place] = Node(**{**kept, "attrs": attrs, **fields})
    return Graph(graph.input, tuple(nodes), graph.output, graph.tensors)


@pytest.mark.parametrize(
    ("attrs", "message"),
    [
        ({"block": 0}, r"attrs.block: found 0; allowed: an integer from 1 to 16"),
        ({"block": 17}, r"attrs.block: found 17"),
        ({"block": 2.0}, r"attrs.block: found 2.0"),
        ({"upscale": 3}, r"attrs.upscale: found 3; allowed: an integer from 1 to 2"),
        ({"upscale": True}, r"attrs.upscale: found True"),
        ({"roll": 2}, r"attrs.roll: found 2; allowed: an integer from 0 to 1"),
        ({"roll": 1, "upscale": 1}, r"attrs.roll: found 1; allowed: 0 where block = 2 is not upscale = 1"),
        ({"pad_value": 0}, r"attrs.pad_value: found 0; allowed: -1 or 1"),
        ({"groups": 1}, r"attrs: found \['groups'\]; allowed: only the fields block, pad_value, roll, upscale"),
        ({"block": 3}, r"tensors.weight \(tensor w\): found 'uint32 \[12, 2, 2, 1\]'; allowed: uint32 \[12, 3, 3, 1\]"),
    ],
)
def test_settings_of_an_rpc_out_of_range(attrs, message):
    graph, _ = rpc(2, 2, 0, 12)
    validate(graph)
    with pytest.raises(FormatError, match=message):
        validate(changed(graph, attrs=attrs))


def test_an_rpc_of_the_wrong_tensors():
    with pytest.raises(
        FormatError, match=r"weight: found \[13, 2, 2, 1\]; allowed: out channels a multiple of upscale"
    ):
        validate(rpc(2, 2, 0, 13)[0])
    steps = ({"step": "affine", "scale": "s", "bias": "s"}, STORE)
    with pytest.raises(FormatError, match=r"scale \(tensor s\): found 'float32 \[3\]'; allowed: float32 \[12\]"):
        validate(rpc(2, 2, 0, 12, steps=steps, s=np.ones(3, np.float32))[0])
    low = ({"step": "threshold", "below": "t", "flip": "f", "output": "y"},)
    more = {"t": np.zeros(12, np.int32), "f": np.zeros(1, np.uint32)}
    with pytest.raises(FormatError, match=r"flip \(tensor f\): found 'uint32 \[1\]'; allowed: uint32 \[4\]"):
        validate(rpc(2, 2, 0, 12, steps=low, **more)[0])
    more["f"] = np.array([7, 0, 8, 0], np.uint32)
    with pytest.raises(FormatError, match="found '1 in an unused bit'; allowed: 0 past channel 3"):
        validate(rpc(2, 2, 0, 12, steps=low, **more)[0])
    real, _ = rpc(2, 2, 0, 12, binary=False, steps=low, **{**more, "f": np.zeros(4, np.uint32)})
    with pytest.raises(FormatError, match="only after binary_conv2d or binary_rpc2d"):
        validate(real)
    with pytest.raises(FormatError, match=r"inputs\[0\]: found 'b of type bits'; allowed: a value of type float32"):
        validate(changed(network([BITS, *rpc(2, 2, 0, 12, binary=False)[0].nodes], {}), inputs=("b",)))


def cat(*names):
    pool = {"kernel": [2, 2], "stride": [2, 2], "padding": [0, 0]}
    small = Node("small", "max_pool2d", ("image",), pool, epilogue=({"step": "store", "output": "s"},))
    return network([BITS, small, Node("cat", "concat", names, epilogue=(STORE,))], {})


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ((), r"inputs: found \(\); allowed: a list of 1 to 16 value names"),
        (("image",) * 17, "allowed: a list of 1 to 16 value names"),
        (("image", "s"), r"inputs\[1\]: found \[2, 3, 6\]; allowed: maps of 5x7, as inputs\[0\]"),
        (("image", "b"), r"inputs\[1\]: found 'b of type bits'; allowed: a value of type float32"),
        (("image", "none"), r"inputs\[1\]: found 'none'; allowed: a value written before"),
        (("image", ["s"]), r"inputs\[1\]: found \['s'\]"),
    ],
)
def test_inputs_of_a_concat(names, message):
    validate(cat(*["image"] * 16))
    with pytest.raises(FormatError, match=message):
        validate(cat(*names))


def test_other_ops_take_one_input():
    with pytest.raises(FormatError, match="allowed: a list of one value name"):
        validate(changed(cat("image"), place=1, inputs=("image", "image")))


@pytest.mark.parametrize(
    ("groups", "message"),
    [(0, "attrs.groups: found 0; allowed: an integer"), (4, "attrs.groups: found 4; allowed: a divisor of the 6")],
)
def test_groups_of_a_shuffle(groups, message):
    graph = network([Node("mix", "shuffle_channels", ("image",), {"groups": groups}, epilogue=(STORE,))], {})
    with pytest.raises(FormatError, match=message):
        validate(graph)


@pytest.mark.parametrize(
    ("shuffle", "message"),
    [
        (0, "attrs.shuffle: found 0; allowed: an integer from 1"),
        (5, "attrs.shuffle: found 5; allowed: a divisor of the 12 output channels"),
        (None, "attrs.shuffle: found None"),
    ],
)
def test_shuffle_out_of_range(shuffle, message):
    attrs = {"stride": [1, 1], "padding": [1, 1], "dilation": [1, 1], "groups": 1, "pad_value": 1, "shuffle": shuffle}
    conv = Node("c", "binary_conv2d", ("b",), attrs, {"weight": "w"}, (STORE,))
    with pytest.raises(FormatError, match=message):
        validate(network([BITS, conv], {"w": np.zeros((12, 3, 3, 1), np.uint32)}))
