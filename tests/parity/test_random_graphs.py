"""Random networks of every op, with tables of every kind behind them: each node of the core gives what the reference
gives on the same values, on every instruction set, and the result depends neither on the number of threads nor on
which nodes are computed in one pass.
"""

from typing import Any

import numpy as np
import pytest
from marks import slow_except

from onebit.format.bits import pack_bits, words_for
from onebit.format.graph import BITS, FLOAT, HALF, PIXELS, Graph, InputSpec, Node, validate
from onebit.format.memory import bytes_to_load
from onebit.format.ops import OPS
from onebit.runtime.engine import Engine
from onebit.runtime.parity import check_kernels

Shape = tuple[int, int, int]
CHANNELS = (1, 3, 12, 16, 32, 33, 64, 70)


class Drawing:
    """Draws a network node by node; every op comes twice, in random order."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.tensors: dict[str, np.ndarray] = {}
        self.nodes: list[Node] = []
        height, width, channels = (int(n) for n in self.rng.integers((3, 3, 2), (10, 10, 12)))
        self.image: Shape = (height, width, channels)
        self.type = PIXELS if seed % 2 == 0 else FLOAT
        self.floats: dict[str, Shape] = {}
        self.bits: dict[str, Shape] = {}
        if self.type == PIXELS:
            self.draw_int8_conv2d()
        else:
            self.floats["image"] = self.image
            self.add("elementwise", "image", {}, {}, self.image, always="binarize")
        ops = [op for op in OPS if OPS[op].takes in (FLOAT, BITS, self.type)]
        for op in self.rng.permutation([*ops, *ops]):
            getattr(self, f"draw_{op}")()

    def graph(self) -> Graph:
        height, width, channels = self.image
        spec = InputSpec(height, width, channels, (0.0,) * channels, (1.0,) * channels, "other", type=self.type)
        end = Node("end", "elementwise", (list(self.floats)[-1],), epilogue=({"step": "store", "output": "end"},))
        return Graph(spec, (*self.nodes, end), "end", self.tensors)

    def pick(self, values: dict[str, Shape]) -> tuple[str, Shape]:
        name = str(self.rng.choice(list(values)))
        return name, values[name]

    def one_of(self, *choices: Any) -> Any:
        return choices[self.rng.integers(len(choices))]

    def divisor(self, *numbers: int) -> int:
        gcd = int(np.gcd.reduce(numbers))
        return self.one_of(*(d for d in range(1, gcd + 1) if gcd % d == 0))

    def tensor(self, value: np.ndarray) -> str:
        name = f"t{len(self.tensors)}"
        self.tensors[name] = value
        return name

    def real(self, *shape: int) -> str:
        return self.tensor(self.rng.standard_normal(shape).astype(np.float32))

    def signs(self, *shape: int) -> str:
        return self.tensor(pack_bits(self.rng.random(shape) < 0.5))

    def add(
        self,
        op: str,
        source: str | list[str],
        attrs: dict[str, Any],
        tensors: dict[str, str],
        shape: Shape,
        positions: int = 1,
        terms: int = 0,
        always: str = "",
    ) -> None:
        """One node with random steps; ``terms``: those of its integer sums."""
        out = f"v{len(self.nodes)}"
        channels = shape[2]
        if terms and self.rng.random() < 0.4:
            spread = max(1, round(terms**0.5))
            below = self.rng.integers(-spread, spread + 1, positions * channels).astype(np.int32)
            flip = pack_bits(self.rng.random((positions, channels)) < 0.5).reshape(positions * words_for(channels))
            step = {"step": "threshold", "below": self.tensor(below), "flip": self.tensor(flip), "output": out}
            self.bits[out] = shape
            steps = [step]
        else:
            steps = self.float_steps(out, shape, positions, 1 / max(terms, 1) ** 0.5, always)
        inputs = (source,) if isinstance(source, str) else tuple(source)
        self.nodes.append(Node(f"n{len(self.nodes)}", op, inputs, attrs, tensors, tuple(steps)))

    def float_steps(self, out: str, shape: Shape, positions: int, scale: float, always: str) -> list[dict[str, Any]]:
        entries = positions * shape[2]
        scales = self.tensor((scale * self.rng.standard_normal(entries)).astype(np.float32))
        steps = [{"step": "affine", "scale": scales, "bias": self.real(entries)}]
        if self.rng.random() < 0.5:
            steps.append({"step": "slopes", "positive": self.real(entries), "negative": self.real(entries)})
        same = [name for name, other in self.floats.items() if other == shape]
        if same and self.rng.random() < 0.7:
            steps.append({"step": "add", "input": self.one_of(*same)})
        if self.rng.random() < 0.3:
            steps.append({"step": "clamp", "low": -15.0, "high": 20.0})  # errors are measured against the largest
        if always == "binarize" or self.rng.random() < 0.6:
            steps.append({"step": "binarize", "rule": self.one_of("sign", "step"), "output": f"{out}b"})
            if self.rng.random() < 0.5:
                steps[-1]["threshold"] = self.real(entries)
            self.bits[f"{out}b"] = shape
        store = {"step": "store", "output": out}
        if self.rng.random() < 0.4:
            steps.append({"step": "clamp", "low": -1e3, "high": 1e3})  # infinities would hide all behind them
            store["type"] = HALF
        steps.append(store)
        self.floats[out] = shape
        return steps

    def convolution(self, shape: Shape, out: int) -> tuple[dict[str, Any], tuple[int, int, int], Shape]:
        kernel, stride = self.one_of(1, 3), self.one_of(1, 1, 2)
        padding = kernel // 2
        groups = self.divisor(shape[2], out)
        attrs = {"stride": (stride, stride), "padding": (padding, padding), "dilation": (1, 1), "groups": groups}
        height, width = ((side + 2 * padding - kernel) // stride + 1 for side in shape[:2])
        return attrs, (kernel, kernel, shape[2] // groups), (height, width, out)

    def draw_binary_conv2d(self) -> None:
        source, shape = self.pick(self.bits)
        out = self.one_of(*CHANNELS)
        attrs, sides, result = self.convolution(shape, out)
        attrs |= {"pad_value": self.one_of(-1, 0, 1)}
        if self.rng.random() < 0.7:
            attrs["shuffle"] = self.one_of(attrs["groups"], self.divisor(out))
        weight = {"weight": self.signs(out, *sides)}
        self.add("binary_conv2d", source, attrs, weight, result, terms=int(np.prod(sides)))

    def draw_conv2d(self) -> None:
        source, shape = self.pick(self.floats)
        out = self.one_of(*CHANNELS)
        attrs, sides, result = self.convolution(shape, out)
        role = self.one_of("weight", "weight_bits")
        weight = {role: self.real(out, *sides) if role == "weight" else self.signs(out, *sides)}
        self.add("conv2d", source, attrs, weight, result)

    def draw_int8_conv2d(self) -> None:
        out = self.one_of(*CHANNELS)
        attrs, sides, result = self.convolution(self.image, out)
        tensors = {
            "weight": self.tensor(self.rng.integers(-127, 128, (out, *sides)).astype(np.int8)),
            "zero": self.tensor(self.rng.integers(0, 65281, self.image[2]).astype(np.int32)),
            "scale": self.tensor((self.rng.standard_normal(out) / 1e4).astype(np.float32)),
        }
        self.add("int8_conv2d", "image", attrs, tensors, result, always="" if self.bits else "binarize")

    def reshaped(self, shape: Shape) -> tuple[dict[str, Any], tuple[int, int, int, int], Shape, int]:
        upscale = self.one_of(1, 2, 2)
        block = upscale * self.one_of(1, 1, 2, 4) if self.rng.random() < 0.8 else self.one_of(3, 5, 16)
        attrs = {"block": block, "upscale": upscale, "roll": int(block == upscale and self.rng.random() < 0.5)}
        channels = self.one_of(*CHANNELS)
        height, width = (-(-side * upscale // block) for side in shape[:2])
        sides = (upscale**2 * channels, block, block, shape[2])
        return attrs, sides, (height, width, channels), upscale**2

    def draw_binary_rpc2d(self) -> None:
        source, shape = self.pick(self.bits)
        attrs, sides, result, positions = self.reshaped(shape)
        attrs["pad_value"] = self.one_of(-1, 1)
        weight = {"weight": self.signs(*sides)}
        self.add("binary_rpc2d", source, attrs, weight, result, positions, int(np.prod(sides[1:])))

    def draw_rpc2d(self) -> None:
        source, shape = self.pick(self.floats)
        attrs, sides, result, positions = self.reshaped(shape)
        self.add("rpc2d", source, attrs, {"weight": self.real(*sides)}, result, positions)

    def draw_concat(self) -> None:
        _, shape = self.pick(self.floats)
        fitting = [name for name, other in self.floats.items() if other[:2] == shape[:2]]
        sources = [self.one_of(*fitting) for _ in range(self.rng.integers(1, 5))]
        channels = sum(self.floats[name][2] for name in sources)
        self.add("concat", sources, {}, {}, (*shape[:2], channels))

    def draw_shuffle_channels(self) -> None:
        source, shape = self.pick(self.floats)
        self.add("shuffle_channels", source, {"groups": self.divisor(shape[2])}, {}, shape)

    def draw_elementwise(self) -> None:
        source, shape = self.pick(self.floats)
        self.add("elementwise", source, {}, {}, shape)

    def draw_pad_channels(self) -> None:
        source, shape = self.pick(self.floats)
        before, after = (int(n) for n in self.rng.integers(0, 40, 2))
        result = (*shape[:2], before + shape[2] + after)
        self.add("pad_channels", source, {"before": before, "after": after}, {}, result)

    def draw_slice2d(self) -> None:
        source, shape = self.pick(self.floats)
        parts, sides = [], []
        for side in shape:
            first, step = int(self.rng.integers(0, side)), int(self.one_of(1, 1, 2, 3))
            last = -int(self.rng.integers(1, side + 1))
            part = [[first, None, step], [last, None, step], [None, None, -step]][self.rng.integers(3)]
            parts.append(part)
            sides.append(len(range(side)[slice(*part)]))
        self.add("slice2d", source, dict(zip(("rows", "columns", "channels"), parts, strict=True)), {}, tuple(sides))

    def draw_pad2d(self) -> None:
        source, (height, width, channels) = self.pick(self.floats)
        mode = self.one_of("constant", "replicate", "reflect", "circular")
        most = [min(3, side - 1 if mode == "reflect" else side) for side in (height, height, width, width)]
        padding = [int(self.rng.integers(0, limit + 1)) for limit in most]
        attrs = {"padding": padding, "mode": mode, "value": float(self.rng.standard_normal())}
        result = (height + padding[0] + padding[1], width + padding[2] + padding[3], channels)
        self.add("pad2d", source, attrs, {}, result)

    def draw_upsample_nearest2d(self) -> None:
        source, (height, width, channels) = self.pick(self.floats)
        scale = [int(n) for n in self.rng.integers(1, 4, 2)] if height * width < 300 else [1, 1]
        self.add("upsample_nearest2d", source, {"scale": scale}, {}, (height * scale[0], width * scale[1], channels))

    def draw_gather_channels(self) -> None:
        source, shape = self.pick(self.floats)
        order = self.rng.integers(0, shape[2], self.rng.integers(1, 80)).astype(np.int32)
        self.add("gather_channels", source, {}, {"channels": self.tensor(order)}, (*shape[:2], len(order)))

    def draw_depth_to_space(self) -> None:
        source, (height, width, channels) = self.pick(self.floats)
        block = self.one_of(*(b for b in (1, 2, 3, 4) if channels % b**2 == 0))
        result = (height * block, width * block, channels // block**2)
        self.add("depth_to_space", source, {"block": block}, {}, result)

    def draw_space_to_depth(self) -> None:
        source, (height, width, channels) = self.pick(self.floats)
        block = self.one_of(*(b for b in (1, 2, 3) if height % b == 0 == width % b))
        result = (height // block, width // block, channels * block**2)
        self.add("space_to_depth", source, {"block": block}, {}, result)

    def draw_flatten(self) -> None:
        source, shape = self.pick(self.floats)
        self.add("flatten", source, {}, {}, (1, 1, int(np.prod(shape))))

    def pool(self, shape: Shape) -> tuple[dict[str, Any], Shape]:
        attrs = {"kernel": (3, 3), "stride": (2, 2), "padding": (1, 1)}
        height, width = ((side - 1) // 2 + 1 for side in shape[:2])
        return attrs, (height, width, shape[2])

    def draw_max_pool2d(self) -> None:
        source, shape = self.pick(self.floats)
        attrs, result = self.pool(shape)
        self.add("max_pool2d", source, attrs, {}, result)

    def draw_avg_pool2d(self) -> None:
        source, shape = self.pick(self.floats)
        attrs, result = self.pool(shape)
        self.add("avg_pool2d", source, {**attrs, "count_include_pad": self.one_of(True, False)}, {}, result)

    def draw_bit_max_pool2d(self) -> None:
        source, shape = self.pick(self.bits)
        attrs, result = self.pool(shape)
        out = f"v{len(self.nodes)}"
        self.bits[out] = result
        store = ({"step": "store", "output": out},)
        node = Node(f"n{len(self.nodes)}", "bit_max_pool2d", (source,), attrs, {"flip": self.signs(shape[2])}, store)
        self.nodes.append(node)


@pytest.mark.parametrize("seed", slow_except(range(30), *range(10)))
def test_random_networks(seed):
    graph = Drawing(seed).graph()
    validate(graph)
    spec = graph.input
    shape = (2, spec.height, spec.width, spec.channels)
    rng = np.random.default_rng(seed)
    pixels = spec.type == PIXELS
    x = rng.integers(0, 256, shape, dtype=np.uint8) if pixels else rng.standard_normal(shape).astype(np.float32)
    for row in check_kernels(graph, x):
        assert row["passed"], row
        engines = [Engine(graph, threads=threads, isa=row["isa"]) for threads in (1, 3)]
        one, many = (engine.run(x) for engine in engines)
        assert np.array_equal(one, many), row["isa"]
        for threads, engine in zip((1, 3), engines, strict=True):
            assert sum(engine._core.memory.values()) <= bytes_to_load(graph, threads)
        assert np.array_equal(one, Engine(graph, isa=row["isa"], keep_values=True).run(x)), row["isa"]


def test_every_op_is_drawn():
    assert {node.op for node in Drawing(0).nodes} == set(OPS)
