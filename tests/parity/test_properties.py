"""Every op with every option: on networks of one op, drawn around each row of the tables below, every instruction set
gives what the reference interpreter gives, exactly.

All floats are small multiples of a quarter, so sums and products are exact in any order and a quotient is rounded once.
An op, attribute or step that the format has and the tables lack fails a test.
"""

import itertools
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given, seed, settings
from hypothesis import strategies as st

from onebit.format.bits import pack_bits, words_for
from onebit.format.graph import BITS, FLOAT, FLOATS, HALF, PIXELS, Graph, InputSpec, Node, validate
from onebit.format.ops import OPS
from onebit.format.steps import STEPS
from onebit.runtime.engine import Engine, usable_isas
from onebit.runtime.reference import ReferenceEngine

_SIDES = ((1, 1), (2, 2), (1, 3), (3, 2))
_PADDING = ((0, 0), (1, 1), (2, 0), (0, 3))
_KERNELS = ((1, 1), (2, 2), (3, 3), (1, 4), (5, 2))
_GROUPS = (1, 2, 3, 32, 33)
_CONV = {"kernel": _KERNELS, "stride": _SIDES, "padding": _PADDING, "dilation": _SIDES, "groups": _GROUPS}
_POOL = {"kernel": _KERNELS, "stride": _SIDES, "padding": ((0, 0), (1, 1), (1, 0), (0, 2))}
_PARTS = ((0, None, 1), (1, None, 2), (-2, None, 1), (0, -1, 3), (None, None, -1))
_RPC = {"block": (1, 2, 3, 4, 8, 16), "upscale": (1, 2), "roll": (0, 1)}

# The values of every attribute, and of what else there is to choose: the kernel of a convolution, which the file has as
# the sides of its weight; the role of that weight; how many maps are joined; whether the maps are float32, float16 or
# one and the other in turn.  None: the attribute is left out.
OPTIONS: Mapping[str, Mapping[str, tuple]] = {
    "binary_conv2d": {**_CONV, "pad_value": (-1, 0, 1), "shuffle": (None, 1, 2, 3)},
    "conv2d": {**_CONV, "role": ("weight", "weight_bits"), "takes": FLOATS},
    "int8_conv2d": _CONV,
    "binary_rpc2d": {**_RPC, "pad_value": (-1, 1)},
    "rpc2d": {**_RPC, "takes": FLOATS},
    "max_pool2d": {**_POOL, "takes": FLOATS},
    "avg_pool2d": {**_POOL, "count_include_pad": (True, False), "takes": FLOATS},
    "bit_max_pool2d": _POOL,
    "elementwise": {"takes": FLOATS},
    "flatten": {"takes": FLOATS},
    "pad_channels": {"before": (0, 1, 31, 32), "after": (0, 1, 33, 64), "takes": FLOATS},
    "concat": {"maps": (1, 2, 3, 16), "takes": (*FLOATS, "both")},
    "shuffle_channels": {"groups": (1, 2, 3, 32, 33), "takes": FLOATS},
    "slice2d": {"rows": _PARTS, "columns": _PARTS, "channels": _PARTS, "takes": FLOATS},
    "pad2d": {
        "padding": ((0, 0, 0, 0), (1, 2, 0, 3), (3, 0, 2, 2)),
        "mode": ("constant", "reflect", "replicate", "circular"),
        "value": (0.0, -1.25),
        "takes": FLOATS,
    },
    "upsample_nearest2d": {"scale": _SIDES, "takes": FLOATS},
    "gather_channels": {"takes": FLOATS},
    "depth_to_space": {"block": (1, 2, 3, 4), "takes": FLOATS},
    "space_to_depth": {"block": (1, 2, 3, 4), "takes": FLOATS},
}
NO_ATTRS = frozenset({"kernel", "role", "maps", "takes"})  # of the options above; kernel is one of a pool

# Every step with its options; "adds" is the type of the value that is added.
STEP_OPTIONS: Mapping[str, Mapping[str, tuple]] = {
    "affine": {},
    "slopes": {},
    "clamp": {},
    "add": {"adds": FLOATS},
    "levels": {"rule": ("sign", "step")},
    "binarize": {"rule": ("sign", "step"), "threshold": (False, True)},
    "threshold": {},
    "store": {"type": (None, *FLOATS)},
}

STORE = {"step": "store", "output": "y"}

CELLS = [(op, name, value) for op, options in OPTIONS.items() for name, values in options.items() for value in values]
STEP_CELLS = [
    (op, step, dict(zip(options, values, strict=True)))
    for op in OPTIONS
    for step, options in STEP_OPTIONS.items()
    if (STEPS[step].bits or OPS[op].gives != BITS) and (not STEPS[step].exact or OPS[op].exact)
    for values in itertools.product(*options.values())
    if OPS[op].gives != BITS or values == (None,)
]


def test_the_tables_have_every_op_attribute_and_step():
    assert {op: set(options) - NO_ATTRS for op, options in OPTIONS.items()} == {
        op: {*spec.attrs, *spec.optional} - NO_ATTRS for op, spec in OPS.items()
    }
    optional = {step: {*row.settings, *row.options, *row.optional_tensors} for step, row in STEPS.items()}
    assert {step: names - {"low", "high"} for step, names in optional.items()} == {
        step: set(options) - {"adds"} for step, options in STEP_OPTIONS.items()
    }
    assert {op for op, options in OPTIONS.items() if "takes" in options} == {
        op for op, spec in OPS.items() if spec.takes == FLOAT
    }
    assert set(DRAWINGS) == set(OPS)


class Drawing:
    """A small network around one op: sizes from hypothesis, tensors from a seeded generator.

    ``fixed`` holds the options that are given, ``step`` one that its epilogue must have, with its options.
    """

    def __init__(self, draw: Callable, op: str, fixed: Mapping[str, Any], step: str, settings: Mapping) -> None:
        self.draw = draw
        self.op = op
        self.fixed = fixed
        self.step, self.settings = step, settings
        self.rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
        self.options = {
            name: fixed[name] if name in fixed else self.one_of(*values) for name, values in OPTIONS[op].items()
        }
        self.tensors: dict[str, np.ndarray] = {}
        self.adds = FLOAT  # the type of the value that the epilogue may add

    def one_of(self, *values: Any) -> Any:
        return self.draw(st.sampled_from(values))

    def side(self, most: int = 7) -> int:
        return self.draw(st.integers(1, most))

    def depth(self, groups: int = 1) -> int:
        """Channels of a group: at, below and above whole words, and few where there are many groups."""
        return self.one_of(*(n for n in (1, 3, 16, 31, 32, 33, 64, 70) if n == 1 or n * groups <= 140))

    def tensor(self, value: np.ndarray) -> str:
        name = f"t{len(self.tensors)}"
        self.tensors[name] = value
        return name

    def real(self, *shape: int) -> str:
        return self.tensor((self.rng.integers(-6, 7, shape) / 4).astype(np.float32))

    def signs(self, *shape: int) -> str:
        return self.tensor(pack_bits(self.rng.random(shape) < 0.5))

    def graph(self) -> Graph:
        """The input, as bits where the op takes them; the op alone; the op with an epilogue, which may add that."""
        attrs, tensors, inputs, shape, channels, positions = DRAWINGS[self.op](self)
        attrs = {name: value for name, value in attrs.items() if value is not None and name != "takes"}
        nodes = []
        takes = self.options.get("takes", FLOAT)
        if takes != FLOAT:
            nodes.append(Node("narrow", "elementwise", ("image",), epilogue=({**STORE, "type": HALF, "output": "h"},)))
            inputs = tuple(name if takes == "both" and i % 2 else "h" for i, name in enumerate(inputs))
        if OPS[self.op].takes == BITS:
            inputs = ("b",)
            sign = ({"step": "binarize", "rule": "sign", "output": "b"},)
            nodes.append(Node("sign", "elementwise", ("image",), epilogue=sign))
        steps = tuple(self.steps(channels, positions))
        type = {"type": self.adds} if self.adds == HALF else {}
        nodes.append(Node("alone", self.op, inputs, attrs, tensors, ({**STORE, **type, "output": "other"},)))
        nodes.append(Node("node", self.op, inputs, attrs, tensors, steps))
        pixels = OPS[self.op].takes == PIXELS
        end = "other" if pixels else "image"
        nodes.append(Node("end", "elementwise", (end,), epilogue=({**STORE, "output": "end"},)))
        type = PIXELS if pixels else FLOAT
        spec = InputSpec(*shape, (0.0,) * shape[2], (1.0,) * shape[2], "other", type=type)
        return Graph(spec, tuple(nodes), "end", self.tensors)

    def steps(self, channels: int, positions: int) -> list[dict]:
        """The wanted step, up to two others before it, and a store behind it."""
        if OPS[self.op].gives == BITS:
            return [STORE]
        if self.step == "threshold":
            below = self.tensor(self.rng.integers(-9, 10, positions * channels).astype(np.int32))
            flips = pack_bits(self.rng.random((positions, channels)) < 0.5)
            flip = self.tensor(flips.reshape(positions * words_for(channels)))
            return [{"step": "threshold", "below": below, "flip": flip, "output": "y"}]
        free = [step for step in STEPS if step not in ("threshold", "store")]
        before = [self.one_of(*free) for _ in range(self.draw(st.integers(0, 2)))]
        steps = []
        for name in [*before, self.step, "store"]:
            given = self.settings if name == self.step and len(steps) == len(before) else {}
            steps.append(self.one_step(name, given, f"y{len(steps)}", positions * channels))
        return steps

    def one_step(self, name: str, given: Mapping, output: str, entries: int) -> dict:
        chosen = {key: given.get(key, self.one_of(*values)) for key, values in STEP_OPTIONS[name].items()}
        step = {"step": name}
        if "rule" in chosen:
            step["rule"] = chosen["rule"]
        if chosen.get("threshold"):
            step["threshold"] = self.real(entries)
        for role in STEPS[name].tensors:
            step[role] = self.real(entries)
        if name in ("clamp", "levels"):
            step |= {"low": -1.25, "high": 2.0}
        if name == "add":
            step["input"] = "other"
            self.adds = given.get("adds", self.adds)
        if chosen.get("type"):
            step["type"] = chosen["type"]
        if STEPS[name].writes is not None:
            step["output"] = output
        return step


DRAWINGS: dict[str, Callable[[Drawing], tuple]] = {}


def draws(*ops: str) -> Callable:
    """Registers a function that gives attrs, tensors, inputs, shape of the image, channels of the result, positions."""

    def register(function: Callable) -> Callable:
        DRAWINGS.update(dict.fromkeys(ops, function))
        return function

    return register


def input_sides(d: Drawing, kernel: tuple, padding: tuple, dilation: tuple = (1, 1)) -> list[int]:
    """Height and width of a map that the kernel fits on."""
    reach = [gap * (k - 1) + 1 - 2 * p for k, p, gap in zip(kernel, padding, dilation, strict=True)]
    return [max(least, 1) + d.side() - 1 for least in reach]


@draws("binary_conv2d", "conv2d")
def _convolution(d: Drawing) -> tuple:
    attrs = dict(d.options)
    kernel, role, groups = attrs.pop("kernel"), attrs.pop("role", "weight"), attrs["groups"]
    sides = input_sides(d, kernel, attrs["padding"], attrs["dilation"])
    depth, each = d.depth(groups), math.lcm(groups, attrs.get("shuffle") or 1)
    channels, out = groups * depth, each * d.depth(each)
    real = d.op == "conv2d" and role == "weight"
    weight = (d.real if real else d.signs)(out, *kernel, depth)
    return attrs, {role: weight}, ("image",), (*sides, channels), out, 1


@draws("int8_conv2d")
def _pixel_convolution(d: Drawing) -> tuple:
    attrs = dict(d.options)
    kernel, groups = attrs.pop("kernel"), attrs["groups"]
    sides = input_sides(d, kernel, attrs["padding"], attrs["dilation"])
    depth, out = d.depth(groups), groups * d.depth(groups)
    tensors = {
        "weight": d.tensor(d.rng.integers(-127, 128, (out, *kernel, depth)).astype(np.int8)),
        "zero": d.tensor(d.rng.integers(0, 65281, groups * depth).astype(np.int32)),
        "scale": d.real(out),
    }
    return attrs, tensors, ("image",), (*sides, groups * depth), out, 1


@draws("binary_rpc2d", "rpc2d")
def _reshaped(d: Drawing) -> tuple:
    attrs = dict(d.options)
    if attrs["roll"] and attrs["block"] != attrs["upscale"]:
        if "block" in d.fixed:
            attrs["roll"] = 0
        else:
            attrs["block"] = attrs["upscale"]
    block, upscale = attrs["block"], attrs["upscale"]
    height, width, channels, each = d.side(9), d.side(9), d.depth(), d.depth()
    sides = (upscale**2 * each, block, block, channels)
    weight = (d.real if d.op == "rpc2d" else d.signs)(*sides)
    return attrs, {"weight": weight}, ("image",), (height, width, channels), each, upscale**2


@draws("max_pool2d", "avg_pool2d", "bit_max_pool2d")
def _pool(d: Drawing) -> tuple:
    attrs = dict(d.options)
    if any(2 * p > k for p, k in zip(attrs["padding"], attrs["kernel"], strict=True)):
        if "padding" in d.fixed:
            attrs["kernel"] = tuple(max(2 * p, k) for p, k in zip(attrs["padding"], attrs["kernel"], strict=True))
        else:
            attrs["padding"] = tuple(k // 2 for k in attrs["kernel"])
    sides, channels = input_sides(d, attrs["kernel"], attrs["padding"]), d.depth()
    tensors = {"flip": d.signs(channels)} if d.op == "bit_max_pool2d" else {}
    return attrs, tensors, ("image",), (*sides, channels), channels, 1


@draws("elementwise", "flatten", "pad_channels", "concat", "shuffle_channels")
def _rearrangement(d: Drawing) -> tuple:
    attrs = dict(d.options)
    groups, maps = attrs.get("groups", 1), attrs.pop("maps", 1)
    height, width, channels = d.side(), d.side(), groups * d.depth(groups)
    result = {
        "flatten": height * width * channels,
        "pad_channels": attrs.get("before", 0) + channels + attrs.get("after", 0),
        "concat": maps * channels,
    }
    return attrs, {}, ("image",) * maps, (height, width, channels), result.get(d.op, channels), 1


@draws("slice2d", "pad2d", "upsample_nearest2d", "gather_channels")
def _movement(d: Drawing) -> tuple:
    attrs, tensors = dict(d.options), {}
    height, width, channels = d.side() + 3, d.side() + 3, d.depth() + 1  # so that no slice is empty
    result = channels
    if d.op == "slice2d":
        result = len(range(channels)[slice(*attrs["channels"])])
    if d.op == "gather_channels":
        result = d.depth()
        tensors = {"channels": d.tensor(d.rng.integers(0, channels, result).astype(np.int32))}
    return attrs, tensors, ("image",), (height, width, channels), result, 1


@draws("depth_to_space", "space_to_depth")
def _blocks(d: Drawing) -> tuple:
    block, (height, width), depth = d.options["block"], (d.side(4), d.side(4)), d.depth()
    if d.op == "depth_to_space":
        return dict(d.options), {}, ("image",), (height, width, depth * block**2), depth, 1
    return dict(d.options), {}, ("image",), (height * block, width * block, depth), depth * block**2, 1


@st.composite
def networks(draw: Callable, op: str, fixed: Mapping, step: str = "affine", options: Mapping | None = None) -> Graph:
    return Drawing(draw, op, fixed, step, options or {}).graph()


def check(graph: Graph) -> None:
    """Every value of the network on every instruction set, on one and on three threads, against the reference."""
    validate(graph)
    spec = graph.input
    shape = (2, spec.height, spec.width, spec.channels)
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, shape, dtype=np.uint8)
    if spec.type == FLOAT:
        x = (rng.integers(-6, 7, shape) / 4).astype(np.float32)
        x.reshape(-1)[::5] = -0.0
    reference = ReferenceEngine(graph)
    reference.run(x)
    for isa, threads in itertools.product(usable_isas(), (1, 3)):
        engine = Engine(graph, threads=threads, isa=isa, keep_values=True)
        engine.run(x)
        for name, want in reference.values().items():
            got = engine.values()[name]
            assert got.dtype == want.dtype, name
            assert np.array_equal(got, want), (isa, threads, name)


def label(value: object) -> str:
    return "x".join(map(str, value)) if isinstance(value, tuple) else str(value)


@pytest.mark.parametrize(("op", "option", "value"), CELLS, ids=label)
def test_every_option(op, option, value):
    @seed(0)
    @settings(max_examples=5, deadline=None, database=None)
    @given(networks(op, {option: value}))
    def run(graph):
        node = next(node for node in graph.nodes if node.name == "node")
        assert option != "takes" or (value != FLOAT) == ("h" in node.inputs)
        assert option in NO_ATTRS or node.attrs.get(option) == value
        check(graph)

    run()


@pytest.mark.parametrize(("op", "step", "options"), STEP_CELLS, ids=str)
def test_every_step_behind_every_op(op, step, options):
    @seed(0)
    @settings(max_examples=3, deadline=None, database=None)
    @given(networks(op, {}, step, options))
    def run(graph):
        steps = next(node.epilogue for node in graph.nodes if node.name == "node")
        found = [s for s in steps if s["step"] == step]
        assert found
        assert "type" not in options or any(s.get("type") == options["type"] for s in found)
        check(graph)

    run()
