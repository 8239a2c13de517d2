"""A small network with one of each kind of op, for ``onebit doctor`` and the tests."""

import numpy as np

from onebit.runtime.bits import pack_bits
from onebit.runtime.graph import Graph, InputSpec, Node


def small_network(seed: int = 0) -> Graph:
    """9x9x3 pixels -> real convolution -> bits -> binary convolutions -> pools -> 5 numbers; random weights."""
    rng = np.random.default_rng(seed)
    tensors: dict[str, np.ndarray] = {}

    def real(name: str, *shape: int) -> str:
        tensors[name] = rng.standard_normal(shape).astype(np.float32)
        return name

    def signs(name: str, *shape: int) -> str:
        tensors[name] = pack_bits(rng.random(shape) < 0.5)
        return name

    def conv(pad: int, groups: int = 1, **more: int) -> dict[str, object]:
        return {"stride": [1, 1], "padding": [pad, pad], "dilation": [1, 1], "groups": groups, **more}

    def affine(name: str, channels: int) -> dict[str, str]:
        return {"step": "affine", "scale": real(f"{name}.scale", channels), "bias": real(f"{name}.bias", channels)}

    tensors["t.below"] = rng.integers(-9, 9, 40).astype(np.int32)
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
