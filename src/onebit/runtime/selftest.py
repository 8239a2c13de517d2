"""Four small networks that together contain every op, for ``onebit doctor`` and the tests."""

import numpy as np

from onebit.format.bits import pack_bits
from onebit.format.graph import HALF, PIXELS, Fit, Graph, InputSpec, Node
from onebit.format.ops.convolution import ZERO_UNIT


class _Random:
    """Random tensors by name."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.tensors: dict[str, np.ndarray] = {}

    def real(self, name: str, *shape: int) -> str:
        self.tensors[name] = self.rng.standard_normal(shape).astype(np.float32)
        return name

    def signs(self, name: str, *shape: int) -> str:
        self.tensors[name] = pack_bits(self.rng.random(shape) < 0.5)
        return name

    def affine(self, name: str, entries: int) -> dict[str, str]:
        scale, bias = self.real(f"{name}.scale", entries), self.real(f"{name}.bias", entries)
        return {"step": "affine", "scale": scale, "bias": bias}


def small_network(seed: int = 0) -> Graph:
    """9x9x3 pixels -> real convolution -> bits -> binary convolutions -> pools -> 5 numbers; random weights."""
    random = _Random(seed)
    real, signs, affine, tensors = random.real, random.signs, random.affine, random.tensors

    def conv(pad: int, groups: int = 1, **more: int) -> dict[str, object]:
        return {"stride": [1, 1], "padding": [pad, pad], "dilation": [1, 1], "groups": groups, **more}

    tensors["t.below"] = random.rng.integers(-9, 9, 40).astype(np.int32)
    nodes = (
        Node(
            "stem", "conv2d", ("image",), conv(1), {"weight": real("stem.w", 33, 3, 3, 3)},
            (affine("stem", 33), {"step": "binarize", "rule": "step", "output": "a"}),
        ),
        Node(
            "one", "binary_conv2d", ("a",), conv(1, pad_value=-1), {"weight": signs("one.w", 40, 3, 3, 33)},
            ({"step": "threshold", "below": "t.below", "flip": signs("t.flip", 40), "output": "b"},),
        ),
        Node(
            "pool", "bit_max_pool2d", ("b",), {"kernel": [3, 3], "stride": [2, 2], "padding": [1, 1]},
            {"flip": "t.flip"}, ({"step": "store", "output": "c"},),
        ),
        Node(
            "two", "binary_conv2d", ("c",), conv(1, 2, pad_value=0), {"weight": signs("two.w", 64, 3, 3, 20)},
            (
                affine("two", 64),
                {"step": "store", "output": "d"},
                {"step": "binarize", "rule": "sign", "output": "e"},
            ),
        ),
        Node(
            "three", "binary_conv2d", ("e",), conv(1, pad_value=1), {"weight": signs("three.w", 64, 3, 3, 64)},
            (
                affine("three", 64),
                {"step": "add", "input": "d"},
                {"step": "slopes", "positive": real("p", 64), "negative": real("n", 64)},
                {"step": "clamp", "low": -3.0, "high": 3.0},
                {"step": "store", "output": "f"},
            ),
        ),
        Node(
            "mean", "avg_pool2d", ("f",),
            {"kernel": [5, 5], "stride": [5, 5], "padding": [0, 0], "count_include_pad": True},
            epilogue=({"step": "store", "output": "g"},),
        ),
        Node(
            "head", "conv2d", ("g",), conv(0), {"weight": real("head.w", 5, 1, 1, 64)},
            epilogue=({"step": "store", "output": "h"},),
        ),
    )  # fmt: skip
    return Graph(InputSpec(9, 9, 3, (0.5,) * 3, (0.25,) * 3), nodes, "h", tensors)


def block_network(seed: int = 0) -> Graph:
    """9x7x3 pixels -> convolutions in blocks, with a shuffle and concatenations, some float16 activations -> 5 numbers;
    random weights.
    """
    random = _Random(seed)
    real, signs, affine, tensors = random.real, random.signs, random.affine, random.tensors

    def blocks(block: int, upscale: int, roll: int = 0, **more: int) -> dict[str, int]:
        return {"block": block, "upscale": upscale, "roll": roll, **more}

    plain = {"stride": [1, 1], "padding": [0, 0], "dilation": [1, 1], "groups": 1}
    tensors["t.below"] = random.rng.integers(-9, 9, 4 * 36).astype(np.int32)
    flip = signs("t.flip", 4, 36)
    tensors[flip] = tensors[flip].reshape(-1)
    nodes = (
        Node(
            "stem", "rpc2d", ("image",), blocks(2, 2, 1), {"weight": real("stem.w", 4 * 12, 2, 2, 3)},
            (
                affine("stem", 4 * 12),
                {"step": "store", "output": "a", "type": HALF},
                {"step": "binarize", "rule": "sign", "threshold": real("t", 4 * 12), "output": "b"},
            ),
        ),
        Node(
            "mix", "shuffle_channels", ("a",), {"groups": 3},
            epilogue=({"step": "clamp", "low": -1.0, "high": 1.0}, {"step": "store", "output": "c"}),
        ),
        Node(
            "pad", "pad_channels", ("c",), {"before": 5, "after": 7}, epilogue=({"step": "store", "output": "d"},),
        ),
        Node("join", "concat", ("a", "d"), epilogue=({"step": "store", "output": "e"},)),
        Node(
            "tiles", "binary_rpc2d", ("b",), blocks(2, 2, 1, pad_value=1),
            {"weight": signs("tiles.w", 4 * 36, 2, 2, 12)},
            (
                affine("tiles", 4 * 36),
                {"step": "add", "input": "e"},
                {"step": "slopes", "positive": real("p", 4 * 36), "negative": real("n", 4 * 36)},
                {"step": "binarize", "rule": "step", "output": "f"},
            ),
        ),
        Node(
            "small", "binary_rpc2d", ("f",), blocks(4, 2, pad_value=-1), {"weight": signs("small.w", 4 * 36, 4, 4, 36)},
            ({"step": "threshold", "below": "t.below", "flip": "t.flip", "output": "g"},),
        ),
        Node(
            "groups", "binary_conv2d", ("g",), {**plain, "groups": 2, "pad_value": 1, "shuffle": 2},
            {"weight": signs("groups.w", 40, 1, 1, 18)},
            (affine("groups", 40), {"step": "binarize", "rule": "sign", "output": "h"}),
        ),
        Node(
            "last", "binary_rpc2d", ("h",), blocks(2, 1, pad_value=1), {"weight": signs("last.w", 40, 2, 2, 40)},
            (affine("last", 40), {"step": "store", "output": "i"}),
        ),
        Node(
            "scale", "elementwise", ("i",),
            epilogue=(affine("scale", 40), {"step": "store", "output": "j", "type": HALF}),
        ),
        Node(
            "peaks", "max_pool2d", ("j",), {"kernel": [3, 3], "stride": [1, 1], "padding": [1, 1]},
            epilogue=({"step": "store", "output": "k"},),
        ),
        Node("vector", "flatten", ("k",), epilogue=({"step": "store", "output": "l"},)),
        Node(
            "head", "conv2d", ("l",), plain, {"weight": real("head.w", 5, 1, 1, 240)},
            epilogue=({"step": "store", "output": "m"},),
        ),
    )  # fmt: skip
    return Graph(InputSpec(9, 7, 3, (0.5,) * 3, (0.25,) * 3), nodes, "m", tensors)


def pixel_network(seed: int = 0) -> Graph:
    """9x11x3 pixels -> int8 convolution of stride 2 -> bits and float16 activations -> 5 numbers; random weights."""
    random = _Random(seed)
    real, affine, tensors = random.real, random.affine, random.tensors
    tensors["stem.w"] = random.rng.integers(-127, 128, (40, 5, 5, 3)).astype(np.int8)
    tensors["stem.zero"] = random.rng.integers(0, 255 * ZERO_UNIT + 1, 3).astype(np.int32)
    tensors["stem.unit"] = np.abs(random.rng.standard_normal(40) / 1e5).astype(np.float32)
    conv = {"stride": [2, 2], "padding": [2, 2], "dilation": [1, 1], "groups": 1}
    whole = {**conv, "stride": [1, 1], "padding": [0, 0]}
    nodes = (
        Node(
            "stem", "int8_conv2d", ("image",), conv,
            {"weight": "stem.w", "zero": "stem.zero", "scale": "stem.unit"},
            (
                affine("stem", 40),
                {"step": "binarize", "rule": "sign", "output": "a"},
                {"step": "store", "output": "b", "type": HALF},
            ),
        ),
        Node(
            "one", "binary_conv2d", ("a",), {**whole, "padding": [1, 1], "pad_value": 0},
            {"weight": random.signs("one.w", 40, 3, 3, 40)},
            (affine("one", 40), {"step": "add", "input": "b"}, {"step": "store", "output": "c", "type": HALF}),
        ),
        Node(
            "head", "conv2d", ("c",), whole, {"weight": real("head.w", 5, 5, 6, 40)},
            epilogue=({"step": "store", "output": "d"},),
        ),
    )  # fmt: skip
    return Graph(InputSpec(9, 11, 3, (0.5,) * 3, (0.25,) * 3, type=PIXELS, fit=Fit("crop", 0.875)), nodes, "d", tensors)


def moving_network(seed: int = 0) -> Graph:
    """9x7x3 pixels -> parts, borders, repeated pixels, blocks of pixels, other channels -> 5 numbers, at random."""
    random = _Random(seed)
    real, affine, tensors = random.real, random.affine, random.tensors
    tensors["order"] = random.rng.integers(0, 33, 40).astype(np.int32)
    plain = {"stride": [1, 1], "padding": [0, 0], "dilation": [1, 1], "groups": 1}

    def border(mode: str, value: float = 0.0, *sides: int) -> dict[str, object]:
        return {"padding": list(sides), "mode": mode, "value": value}

    nodes = (
        Node(
            "around", "pad2d", ("image",), border("reflect", 0.0, 1, 2, 3, 0),
            epilogue=({"step": "store", "output": "a"},),
        ),
        Node(
            "stem", "conv2d", ("a",), plain, {"weight": real("stem.w", 33, 3, 3, 3)},
            (affine("stem", 33), {"step": "store", "output": "b", "type": HALF}),
        ),
        Node(
            "part", "slice2d", ("b",), {"rows": [1, None, 2], "columns": [-6, -1, 1], "channels": [None, None, -1]},
            epilogue=({"step": "store", "output": "c"}, {"step": "binarize", "rule": "sign", "output": "bits"}),
        ),
        Node("order", "gather_channels", ("c",), {}, {"channels": "order"}, ({"step": "store", "output": "d"},)),
        Node(
            "large", "upsample_nearest2d", ("d",), {"scale": [3, 2]},
            epilogue=({"step": "store", "output": "e", "type": HALF},),
        ),
        Node(
            "edge", "pad2d", ("e",), border("constant", 0.5, 0, 0, 1, 1),
            epilogue=({"step": "clamp", "low": -2.0, "high": 1.0}, {"step": "store", "output": "f"}),
        ),
        Node(
            "deep", "space_to_depth", ("f",), {"block": 3},
            epilogue=({"step": "store", "output": "g", "type": HALF},),
        ),
        Node(
            "wide", "depth_to_space", ("g",), {"block": 6},
            epilogue=(affine("wide", 10), {"step": "store", "output": "h"}),
        ),
        Node(
            "ring", "pad2d", ("h",), border("circular", 0.0, 2, 0, 0, 1),
            epilogue=({"step": "store", "output": "i"},),
        ),
        Node(
            "copies", "pad2d", ("i",), border("replicate", 0.0, 0, 1, 1, 0),
            epilogue=({"step": "store", "output": "j"},),
        ),
        Node(
            "peaks", "max_pool2d", ("j",), {"kernel": [33, 26], "stride": [1, 1], "padding": [0, 0]},
            epilogue=({"step": "store", "output": "k"},),
        ),
        Node(
            "head", "conv2d", ("k",), plain, {"weight": real("head.w", 5, 1, 1, 10)},
            epilogue=({"step": "store", "output": "l"},),
        ),
    )  # fmt: skip
    return Graph(InputSpec(9, 7, 3, (0.5,) * 3, (0.25,) * 3), nodes, "l", tensors)
