"""What a packed network is: nodes, values and tensors, and the check that they fit together.

``docs/format.md`` is the contract.  The tables ``OPS`` and ``STEPS`` name what each op and each epilogue step carries;
:func:`validate` walks them and returns the type and shape of every value, or raises :class:`FormatError`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onebit.format.bits import WORD, words_for
from onebit.format.errors import FormatError

MAX_SIDE = 65_536
MAX_ELEMENTS = 1 << 28
MAX_TERMS = 1 << 30  # products of one sum; elements of a padded map, its channels in whole words
MAX_TAPS = 1 << 24  # of a pool
MAX_ZERO_PADDED_KERNEL = 512  # side of a kernel of binary_conv2d with pad_value 0
MAX_INPUTS = 16  # of concat
MAX_BLOCK = 16  # side of the blocks of an rpc op
MAX_INT8_SIDE = 16  # of a kernel of int8_conv2d
MAX_INT8_TERMS = 1 << 15  # products in a sum of int8_conv2d, so that it fits an int32
ZERO_UNIT = 256  # of a pixel value, the unit of the zeros of int8_conv2d
FLOAT, HALF, BITS, PIXELS = "float32", "float16", "bits", "uint8"
FLOATS = (FLOAT, HALF)  # either is taken where a float is
COLORS = ("RGB", "L", "other")
RESIZES = ("crop", "stretch")

Shape = tuple[int, int, int]  # height, width, channels


@dataclass(frozen=True)
class Value:
    """Type ("float32", "float16", "bits", or "uint8" for pixels) and shape (height, width, channels) of what one node
    hands to another.
    """

    type: str
    shape: Shape


@dataclass(frozen=True)
class Fit:
    """How a picture of any size becomes an image of the input's size.

    Attributes:
        resize: "crop" scales the largest box in the middle of the picture that has the proportions of the input;
            "stretch" scales the whole picture, each side by itself.
        crop_pct: of "crop", the part of each side of that box which is kept, above 0 up to 1.  0.875 is what
            torchvision's Resize(256) and CenterCrop(224) keep.
    """

    resize: str
    crop_pct: float = 1.0


@dataclass(frozen=True)
class InputSpec:
    """The image that the network takes: ``x = (pixel/255 - mean)/std`` per channel, or, with the type "uint8", the
    pixels themselves; ``fit`` says how pictures of other sizes are prepared, None if the file does not say.
    """

    height: int
    width: int
    channels: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    color: str = "RGB"
    name: str = "image"
    type: str = FLOAT
    fit: Fit | None = None


@dataclass(frozen=True)
class Node:
    """One op with the chain of steps behind it; fields as in docs/format.md."""

    name: str
    op: str
    inputs: tuple[str, ...]
    attrs: Mapping[str, Any] = field(default_factory=dict)
    tensors: Mapping[str, str] = field(default_factory=dict)
    epilogue: tuple[Mapping[str, Any], ...] = ()
    source: str = ""
    note: str = ""


@dataclass(frozen=True)
class Graph:
    """A whole network: the nodes in execution order and the tensors they name."""

    input: InputSpec
    nodes: tuple[Node, ...]
    output: str
    tensors: Mapping[str, NDArray]
    classes: tuple[str, ...] | None = None
    provenance: Mapping[str, Any] = field(default_factory=dict)


# ---------------------------------------------------------------------------------------------------------------
# The tables: op -> (input type, attrs, type of the result, optional attrs, most inputs); step -> fields
# ---------------------------------------------------------------------------------------------------------------


def _fail(where: str, found: object, allowed: str) -> FormatError:
    text = repr(found)
    return FormatError(f"{where}: found {text if len(text) <= 80 else text[:77] + '...'}; allowed: {allowed}")


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _pair(lowest: int) -> Callable[[str, Any], None]:
    def check(where: str, value: Any) -> None:
        ok = isinstance(value, list | tuple) and len(value) == 2
        if not ok or not all(_is_int(v) and lowest <= v <= MAX_SIDE for v in value):
            raise _fail(where, value, f"two whole numbers from {lowest} to {MAX_SIDE}")

    return check


def _whole(lowest: int, highest: int = MAX_SIDE) -> Callable[[str, Any], None]:
    def check(where: str, value: Any) -> None:
        if not _is_int(value) or not lowest <= value <= highest:
            raise _fail(where, value, f"a whole number from {lowest} to {highest}")

    return check


def _one_of(*allowed: object) -> Callable[[str, Any], None]:
    def check(where: str, value: Any) -> None:
        if not any(type(value) is type(a) and value == a for a in allowed):
            raise _fail(where, value, " or ".join(map(repr, allowed)))

    return check


def _number(where: str, value: Any) -> None:
    if not (_is_int(value) or isinstance(value, float)) or not math.isfinite(value):
        raise _fail(where, value, "a finite number")


_WINDOW = {"kernel": _pair(1), "stride": _pair(1), "padding": _pair(0)}
_CONV = {"stride": _pair(1), "padding": _pair(0), "dilation": _pair(1), "groups": _whole(1)}
_INT8_TABLES = ("zero", "scale")
_RPC = {"block": _whole(1, MAX_BLOCK), "upscale": _whole(1, 2), "roll": _whole(0, 1)}


@dataclass(frozen=True)
class _Op:
    takes: str
    attrs: Mapping[str, Callable[[str, Any], None]]
    gives: str = FLOAT
    optional: Mapping[str, Callable[[str, Any], None]] = field(default_factory=dict)  # attrs that may be absent
    inputs: int = 1  # at most


OPS: Mapping[str, _Op] = {
    "binary_conv2d": _Op(BITS, {**_CONV, "pad_value": _one_of(-1, 0, 1)}, optional={"shuffle": _whole(1)}),
    "conv2d": _Op(FLOAT, _CONV),
    "int8_conv2d": _Op(PIXELS, _CONV),
    "binary_rpc2d": _Op(BITS, {**_RPC, "pad_value": _one_of(-1, 1)}),
    "rpc2d": _Op(FLOAT, _RPC),
    "max_pool2d": _Op(FLOAT, _WINDOW),
    "avg_pool2d": _Op(FLOAT, {**_WINDOW, "count_include_pad": _one_of(True, False)}),
    "bit_max_pool2d": _Op(BITS, _WINDOW, gives=BITS),
    "elementwise": _Op(FLOAT, {}),
    "flatten": _Op(FLOAT, {}),
    "pad_channels": _Op(FLOAT, {"before": _whole(0), "after": _whole(0)}),
    "concat": _Op(FLOAT, {}, inputs=MAX_INPUTS),
    "shuffle_channels": _Op(FLOAT, {"groups": _whole(1)}),
}

INTEGER_OPS = frozenset({"binary_conv2d", "binary_rpc2d"})  # their result is an exact integer

_RULE = _one_of("sign", "step")

# step -> (settings, settings that may be absent, per-channel tensors, value written, value read)
STEPS: Mapping[str, Mapping[str, Any]] = {
    "affine": {"tensors": ("scale", "bias")},
    "slopes": {"tensors": ("positive", "negative")},
    "clamp": {"settings": {"low": _number, "high": _number}},
    "add": {"reads": True},
    "levels": {"settings": {"low": _number, "high": _number, "rule": _RULE}},
    "binarize": {"settings": {"rule": _RULE}, "optional": ("threshold",), "writes": BITS},
    "threshold": {"tensors": ("below", "flip"), "writes": BITS},
    "store": {"options": {"type": _one_of(*FLOATS)}, "writes": FLOAT},
}


def tensor_roles(step: str) -> tuple[str, ...]:
    """The fields of a step that name tensors, those that may be absent included."""
    return (*STEPS[step].get("tensors", ()), *STEPS[step].get("optional", ()))


def activation_dtype_of(graph: Graph) -> str:
    """ "float16" where any value is stored as such, else "float32"."""
    return HALF if any(step.get("type") == HALF for node in graph.nodes for step in node.epilogue) else FLOAT


def positions_of(node: Node) -> int:
    """How many entries a per-channel table has for each channel: one for each pixel of the block that an rpc op
    writes.
    """
    return int(node.attrs.get("upscale", 1)) ** 2


# ---------------------------------------------------------------------------------------------------------------
# Validation
# ---------------------------------------------------------------------------------------------------------------


def validate(graph: Graph) -> dict[str, Value]:
    """Check every field, tensor and wire of ``graph``; return the type and shape of every value by name.

    Raises FormatError, naming the field, what was found and what is allowed.
    """
    return _Validator(graph).run()


class _Validator:
    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.values: dict[str, Value] = {}
        self.used: set[str] = set()

    def run(self) -> dict[str, Value]:
        spec = self.graph.input
        self._check_input(spec)
        self.values[spec.name] = Value(spec.type, self._bounded("input", (spec.height, spec.width, spec.channels)))
        names: set[str] = set()
        if not self.graph.nodes:
            raise _fail("nodes", [], "at least one node")
        for index, node in enumerate(self.graph.nodes):
            where = f"nodes[{index}]"
            if not isinstance(node.name, str) or not node.name or node.name in names:
                raise _fail(f"{where}.name", node.name, "a text that no other node has")
            names.add(node.name)
            self._check_node(f"{where} ({node.name})", node)
        if self.graph.output not in self.values or self.values[self.graph.output].type != FLOAT:
            raise _fail("output", self.graph.output, "the name of a float32 value that some node writes")
        self._check_classes()
        if unused := sorted(set(self.graph.tensors) - self.used):
            raise _fail("tensors", unused, "only tensors that a node names")
        return self.values

    def _check_input(self, spec: InputSpec) -> None:
        if not isinstance(spec.name, str) or not spec.name:
            raise _fail("input.name", spec.name, "a text")
        for side in ("height", "width", "channels"):
            _whole(1)(f"input.{side}", getattr(spec, side))
        _one_of(*COLORS)("input.color", spec.color)
        _one_of(FLOAT, PIXELS)("input.type", spec.type)
        for name in ("mean", "std"):
            numbers = getattr(spec, name)
            if not isinstance(numbers, list | tuple) or len(numbers) != spec.channels:
                raise _fail(f"input.{name}", numbers, f"{spec.channels} numbers, one per channel")
            for number in numbers:
                _number(f"input.{name}", number)
        if any(s <= 0 for s in spec.std):
            raise _fail("input.std", spec.std, "numbers above 0")
        if spec.fit is not None:
            _one_of(*RESIZES)("input.fit.resize", spec.fit.resize)
            _number("input.fit.crop_pct", share := spec.fit.crop_pct)
            if not 0 < share <= 1 or (share != 1 and spec.fit.resize != "crop"):
                raise _fail("input.fit.crop_pct", share, "a number above 0 up to 1, and 1 where nothing is cropped")

    def _check_classes(self) -> None:
        classes = self.graph.classes
        if classes is None:
            return
        if not isinstance(classes, list | tuple) or not all(isinstance(c, str) for c in classes):
            raise _fail("classes", classes, "a list of texts, or null")
        features = math.prod(self.values[self.graph.output].shape)
        if len(classes) != features and (len(classes), features) != (2, 1):
            allowed = "2, negative and positive, or 1" if features == 1 else f"{features}, one per output feature"
            raise _fail("classes", f"{len(classes)} labels", allowed)

    def _bounded(self, where: str, shape: Shape) -> Shape:
        if any(side < 1 or side > MAX_SIDE for side in shape) or math.prod(shape) > MAX_ELEMENTS:
            raise _fail(where, shape, f"sides from 1 to {MAX_SIDE} and at most {MAX_ELEMENTS} elements")
        return shape

    def _check_size(self, where: str, terms: int, padded: int) -> None:
        """The products of a sum and the elements of a padded map are limited like the values themselves."""
        for what, size in (("products in a sum", terms), ("elements of the padded map", padded)):
            if size > MAX_TERMS:
                raise _fail(where, f"{size} {what}", f"{MAX_TERMS} at most")

    def _check_node(self, where: str, node: Node) -> None:
        op = OPS.get(node.op) if isinstance(node.op, str) else None
        if op is None:
            raise _fail(f"{where}.op", node.op, ", ".join(OPS))
        if not isinstance(node.inputs, list | tuple) or not 1 <= len(node.inputs) <= op.inputs:
            names = "one value name" if op.inputs == 1 else f"1 to {op.inputs} value names"
            raise _fail(f"{where}.inputs", node.inputs, f"a list of {names}")
        taken = [self._wire(f"{where}.inputs[{i}]", name, op.takes).shape for i, name in enumerate(node.inputs)]
        self._keys(f"{where}.attrs", node.attrs, set(op.attrs), set(op.optional))
        if not isinstance(node.tensors, Mapping):
            raise _fail(f"{where}.tensors", node.tensors, "an object")
        for name, check in {**op.attrs, **op.optional}.items():
            if name in node.attrs:
                check(f"{where}.attrs.{name}", node.attrs[name])
        for text in ("source", "note"):
            if not isinstance(getattr(node, text), str):
                raise _fail(f"{where}.{text}", getattr(node, text), "a text")
        shape = self._bounded(where, self._result_shape(where, node, taken))
        self._check_epilogue(where, node, Value(op.gives, shape))

    def _wire(self, where: str, name: object, wanted: str) -> Value:
        value = self.values.get(name) if isinstance(name, str) else None
        if value is None:
            raise _fail(where, name, f"a value written before: {', '.join(self.values)}"[:300])
        allowed = FLOATS if wanted == FLOAT else (wanted,)
        if value.type not in allowed:
            raise _fail(where, f"{name} of type {value.type}", f"a value of type {' or '.join(allowed)}")
        return value

    def _keys(self, where: str, mapping: object, wanted: set[str], optional: set[str] = frozenset()) -> None:  # type: ignore[assignment]
        if not isinstance(mapping, Mapping):
            raise _fail(where, mapping, "an object")
        if missing := sorted(wanted - set(mapping)):
            raise _fail(where, f"no {', '.join(missing)}", f"fields {', '.join(sorted(wanted))}")
        if extra := sorted(map(str, set(mapping) - wanted - optional)):
            raise _fail(where, extra, f"only the fields {', '.join(sorted(wanted | optional)) or '(none)'}")

    def _tensor(self, where: str, name: object, dtype: type, shape: tuple[int, ...]) -> NDArray:
        tensor = self.graph.tensors.get(name) if isinstance(name, str) else None
        if tensor is None:
            raise _fail(where, name, "the name of a tensor in the file")
        if tensor.dtype != dtype or tensor.shape != shape:
            raise _fail(
                f"{where} (tensor {name})",
                f"{tensor.dtype} {list(tensor.shape)}",
                f"{np.dtype(dtype).name} {list(shape)}",
            )
        if dtype is np.float32 and not np.isfinite(tensor).all():
            raise _fail(f"{where} (tensor {name})", "NaN or infinity", "finite numbers")
        self.used.add(str(name))
        return tensor

    def _words(self, where: str, name: object, shape: tuple[int, ...], count: int, repeats: int = 1) -> None:
        """A tensor of packed words over ``count`` channels, ``repeats`` times; the unused bits must be 0."""
        words = self._tensor(where, name, np.uint32, (*shape, repeats * words_for(count)))
        tail = count % WORD
        if tail and (words.reshape(-1, words_for(count))[:, -1] >> np.uint32(tail)).any():
            raise _fail(f"{where} (tensor {name})", "1 in an unused bit", f"0 past channel {count}")

    def _result_shape(self, where: str, node: Node, shapes: list[Shape]) -> Shape:
        height, width, channels = shape = shapes[0]
        attrs = node.attrs
        if node.op in ("binary_conv2d", "conv2d", "int8_conv2d"):
            return self._conv_shape(where, node, shape)
        if node.op in ("binary_rpc2d", "rpc2d"):
            return self._rpc_shape(where, node, shape)
        self._keys(f"{where}.tensors", node.tensors, {"flip"} if node.op == "bit_max_pool2d" else set())
        if node.op == "bit_max_pool2d":
            self._words(f"{where}.tensors.flip", node.tensors["flip"], (), channels)
        if "kernel" in attrs:
            if any(2 * p > k for p, k in zip(attrs["padding"], attrs["kernel"], strict=True)):
                raise _fail(f"{where}.attrs.padding", attrs["padding"], "at most half of the kernel")
            if math.prod(attrs["kernel"]) > MAX_TAPS:
                raise _fail(f"{where}.attrs.kernel", attrs["kernel"], f"{MAX_TAPS} taps at most")
            padded = [n + 2 * p for n, p in zip((height, width), attrs["padding"], strict=True)]
            self._check_size(where, 0, math.prod(padded) * channels)
            out = [
                (size + 2 * p - k) // s + 1
                for size, p, k, s in zip(
                    (height, width), attrs["padding"], attrs["kernel"], attrs["stride"], strict=True
                )
            ]
            return out[0], out[1], channels
        if node.op == "flatten":
            return 1, 1, height * width * channels
        if node.op == "pad_channels":
            return height, width, channels + attrs["before"] + attrs["after"]
        if node.op == "concat":
            for index, other in enumerate(shapes):
                if other[:2] != shape[:2]:
                    raise _fail(f"{where}.inputs[{index}]", list(other), f"maps of {height}x{width}, as inputs[0]")
            return height, width, sum(other[2] for other in shapes)
        if node.op == "shuffle_channels" and channels % attrs["groups"]:
            raise _fail(f"{where}.attrs.groups", attrs["groups"], f"a divisor of the {channels} channels")
        return shape

    def _weight_shape(self, where: str, node: Node, role: str) -> tuple[int, ...]:
        """The four sides of a weight tensor: out channels, rows, columns, depth or words."""
        self._keys(f"{where}.tensors", node.tensors, {role, *(_INT8_TABLES if node.op == "int8_conv2d" else ())})
        name = node.tensors[role]
        tensor = self.graph.tensors.get(name) if isinstance(name, str) else None
        if tensor is None or tensor.ndim != 4 or 0 in tensor.shape:
            raise _fail(f"{where}.tensors.{role}", name, "a tensor [out channels, kernel height, kernel width, depth]")
        if max(tensor.shape[:3]) > MAX_SIDE:
            raise _fail(f"{where}.tensors.{role}", list(tensor.shape), f"sides up to {MAX_SIDE}")
        return tensor.shape

    def _conv_shape(self, where: str, node: Node, shape: Shape) -> Shape:
        height, width, channels = shape
        attrs = node.attrs
        groups = attrs["groups"]
        if channels % groups:
            raise _fail(f"{where}.attrs.groups", groups, f"a divisor of the {channels} input channels")
        depth = channels // groups
        role = "weight_bits" if node.op == "conv2d" and "weight_bits" in node.tensors else "weight"
        out, kernel_h, kernel_w, words = self._weight_shape(where, node, role)
        name = node.tensors[role]
        if out % groups:
            found = [out, kernel_h, kernel_w, words]
            raise _fail(f"{where}.tensors.{role}", found, f"out channels a multiple of groups = {groups}")
        if out % attrs.get("shuffle", 1):
            raise _fail(f"{where}.attrs.shuffle", attrs["shuffle"], f"a divisor of the {out} output channels")
        if node.op == "int8_conv2d":
            self._check_int8(f"{where}.tensors", node, (out, kernel_h, kernel_w, depth), channels)
        elif node.op == "conv2d" and role == "weight":
            self._tensor(f"{where}.tensors.{role}", name, np.float32, (out, kernel_h, kernel_w, depth))
        else:
            self._words(f"{where}.tensors.{role}", name, (out, kernel_h, kernel_w), depth)
        if attrs.get("pad_value") == 0 and max(kernel_h, kernel_w) > MAX_ZERO_PADDED_KERNEL:
            found = [out, kernel_h, kernel_w, words]
            raise _fail(
                f"{where}.tensors.{role}", found, f"kernels up to {MAX_ZERO_PADDED_KERNEL} with attrs.pad_value = 0"
            )
        whole = words_for(depth) * WORD
        padded = [n + 2 * p for n, p in zip((height, width), attrs["padding"], strict=True)]
        self._check_size(where, kernel_h * kernel_w * whole, math.prod(padded) * groups * whole)
        sides = [
            (size + 2 * p - d * (k - 1) - 1) // s + 1
            for size, p, d, k, s in zip(
                (height, width),
                attrs["padding"],
                attrs["dilation"],
                (kernel_h, kernel_w),
                attrs["stride"],
                strict=True,
            )
        ]
        return sides[0], sides[1], out

    def _check_int8(self, where: str, node: Node, sides: tuple[int, int, int, int], channels: int) -> None:
        """Tensors of an int8 convolution whose weight has these sides, of ``channels`` channels."""
        weight = self._tensor(f"{where}.weight", node.tensors["weight"], np.int8, sides)
        if max(sides[1:3]) > MAX_INT8_SIDE:
            raise _fail(f"{where}.weight", list(sides), f"kernel sides up to {MAX_INT8_SIDE}")
        if math.prod(sides[1:]) > MAX_INT8_TERMS:
            raise _fail(f"{where}.weight", list(sides), f"at most {MAX_INT8_TERMS} weights for each output channel")
        if (weight == -128).any():
            raise _fail(f"{where}.weight", -128, "numbers from -127 to 127")
        zero = self._tensor(f"{where}.zero", node.tensors["zero"], np.int32, (channels,))
        if zero.min() < 0 or zero.max() > 255 * ZERO_UNIT:
            raise _fail(f"{where}.zero", zero.tolist(), f"numbers from 0 to {255 * ZERO_UNIT}")
        self._tensor(f"{where}.scale", node.tensors["scale"], np.float32, (sides[0],))

    def _rpc_shape(self, where: str, node: Node, shape: Shape) -> Shape:
        height, width, channels = shape
        block, upscale, roll = node.attrs["block"], node.attrs["upscale"], node.attrs["roll"]
        if roll and block != upscale:
            raise _fail(f"{where}.attrs.roll", roll, f"0 where block = {block} is not upscale = {upscale}")
        out, _, _, words = self._weight_shape(where, node, "weight")
        if out % upscale**2:
            found = [out, block, block, words]
            raise _fail(f"{where}.tensors.weight", found, f"out channels a multiple of upscale^2 = {upscale**2}")
        if node.op == "rpc2d":
            self._tensor(f"{where}.tensors.weight", node.tensors["weight"], np.float32, (out, block, block, channels))
        else:
            self._words(f"{where}.tensors.weight", node.tensors["weight"], (out, block, block), channels)
        padded = [n + -n % block for n in (height, width)]
        self._check_size(where, 0, math.prod(padded) * words_for(channels) * WORD)
        return -(-height * upscale // block), -(-width * upscale // block), out // upscale**2

    def _check_epilogue(self, where: str, node: Node, result: Value) -> None:
        if not isinstance(node.epilogue, list | tuple):
            raise _fail(f"{where}.epilogue", node.epilogue, "a list of steps")
        written, positions = 0, positions_of(node)
        for index, step in enumerate(node.epilogue):
            here = f"{where}.epilogue[{index}]"
            name = step.get("step") if isinstance(step, Mapping) else None
            if not isinstance(name, str) or name not in STEPS:
                raise _fail(f"{here}.step", name, ", ".join(STEPS))
            alone = name == "threshold" or result.type == BITS
            if alone and len(node.epilogue) != 1:
                raise _fail(f"{where}.epilogue", f"{len(node.epilogue)} steps", f"{name!r} alone")
            if name == "threshold" and node.op not in INTEGER_OPS:
                raise _fail(f"{here}.step", name, f"'threshold' only behind {' or '.join(sorted(INTEGER_OPS))}")
            if result.type == BITS and name != "store":
                raise _fail(f"{here}.step", name, f"'store' behind {node.op}")
            written += self._check_step(here, step, STEPS[name], result, positions)
        if not written:
            raise _fail(f"{where}.epilogue", "no step that writes", "at least one store, binarize or threshold")

    def _check_step(
        self, here: str, step: Mapping[str, Any], spec: Mapping[str, Any], result: Value, positions: int
    ) -> int:
        channels = result.shape[2]
        settings, options, tensors = spec.get("settings", {}), spec.get("options", {}), spec.get("tensors", ())
        wanted = {"step", *settings, *tensors}
        wanted |= {"output"} if "writes" in spec else set()
        wanted |= {"input"} if "reads" in spec else set()
        self._keys(here, step, wanted, {*options, *tensor_roles(step["step"])})
        for name, check in {**settings, **options}.items():
            if name in step:
                check(f"{here}.{name}", step[name])
        for name in (role for role in tensor_roles(step["step"]) if role in step):
            if name == "flip":
                self._words(f"{here}.flip", step[name], (), channels, positions)
            else:
                dtype = np.int32 if name == "below" else np.float32
                self._tensor(f"{here}.{name}", step[name], dtype, (positions * channels,))
        if step["step"] == "clamp" and step["low"] > step["high"]:
            raise _fail(here, f"low {step['low']} above high {step['high']}", "low <= high")
        if "reads" in spec:
            value = self._wire(f"{here}.input", step["input"], FLOAT)
            if value.shape != result.shape:
                raise _fail(f"{here}.input", list(value.shape), f"a value of shape {list(result.shape)}")
        if "writes" not in spec:
            return 0
        output = step["output"]
        if not isinstance(output, str) or not output or output in self.values:
            raise _fail(f"{here}.output", output, "a text that names no other value")
        written = spec["writes"]
        if step["step"] == "store":
            if "type" in step and result.type == BITS:
                raise _fail(f"{here}.type", step["type"], "no type where bits are stored")
            written = step.get("type", result.type)
        self.values[output] = Value(written, result.shape)
        return 1
