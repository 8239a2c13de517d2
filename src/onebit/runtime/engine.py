"""The door to the C++ core: a validated graph in, a running engine out."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

import onebit._core as _core
from onebit.format.graph import PIXELS, Graph, Node, Shape, validate
from onebit.format.ops import OPS
from onebit.format.steps import STEPS
from onebit.runtime.images import as_input

if TYPE_CHECKING:
    from onebit.runtime.profile import Profile


def isa_table() -> list[dict[str, Any]]:
    """Every instruction set, worst first: rows of isa, built, supported, usable (both), chosen.

    Raises ValueError where ``ONEBIT_ISA`` names one that cannot run here.
    """
    return [
        {"isa": isa, "built": built, "supported": supported, "usable": built and supported, "chosen": chosen}
        for isa, built, supported, chosen in _core.isas()
    ]


def usable_isas() -> list[str]:
    """The instruction sets that this build has and this CPU runs, worst first."""
    return [row["isa"] for row in isa_table() if row["usable"]]


def default_max_memory(graph: Graph) -> int:
    """Bytes that an engine for a file from anywhere may take unless the user says otherwise: 64 times the tensors and
    one image as floats, and 256 MiB, but no more than 2 GiB and twice the tensors.

    A network of binary weights, which become floats where its inputs are real, and wide maps take far less; a small
    file that names a huge map, or its weights many times, is refused.
    """
    spec = graph.input
    tensors = sum(tensor.nbytes for tensor in graph.tensors.values())
    return 2 * tensors + min(1 << 31, (1 << 28) + 64 * (tensors + 4 * spec.height * spec.width * spec.channels))


class Engine:
    """A packed network in the C++ core.

    Args:
        graph: the network; validated here first.
        threads: worker threads; the results do not depend on it.
        isa: instruction set, ``None`` for what ``ONEBIT_ISA`` names or else the best this CPU has.
        keep_values: give every value memory of its own, so that :meth:`values` can read it.
        tune: time every kernel of the instruction set for each convolution (a few milliseconds each) and take the
            fastest; layers of one shape are timed once in a process.
        max_memory: bytes that it may take beside the tensors of the graph: values, scratch, and weights and tables in
            the form that kernels read, counted before they are taken; ``None`` for no limit.

    Raises:
        FormatError: the graph is not valid.
        ValueError: ``threads`` is outside 1...1024, ``isa`` cannot run here, or more than ``max_memory`` is needed.
    """

    def __init__(
        self,
        graph: Graph,
        threads: int = 1,
        isa: str | None = None,
        keep_values: bool = False,
        tune: bool = False,
        max_memory: int | None = None,
    ) -> None:
        self.output_shape: Shape = validate(graph)[graph.output].shape  # height, width, channels
        spec = graph.input
        shape = (spec.height, spec.width, spec.channels)
        self._spec = spec
        limit = sys.maxsize if max_memory is None else max_memory
        options = {"threads": threads, "isa": isa or "", "keep_values": keep_values, "tune": tune, "max_memory": limit}
        mean, std = (np.asarray(numbers, np.float32) for numbers in (spec.mean, spec.std))
        builder = _core.Builder(spec.name, shape, mean, std, input_type=spec.type, **options)
        for node in graph.nodes:
            _add(builder, node, graph.tensors)
        self._core = builder.finish(graph.output)
        self._keep_values = keep_values
        self._values: dict[str, NDArray[Any]] = {}

    @property
    def isa(self) -> str:
        """The instruction set in use."""
        return self._core.isa

    @property
    def memory(self) -> int:
        """Bytes for values and scratch, without weights."""
        memory = self._core.memory
        return memory["values"] + memory["scratch"]

    def run(self, images_NHWC: NDArray[Any]) -> NDArray[np.float32]:
        """Normalized float32 images (or raw uint8 pixels) as :func:`onebit.runtime.images.prepare` gives them to the
        output map, both (N, H, W, C).

        Raises ValueError where the images have another shape than the network takes.
        """
        images_NHWC = self._taken(images_NHWC)
        if not self._keep_values:
            return self._core.run(images_NHWC)[0]
        results, kept = [], []
        for image in images_NHWC:
            results.append(self._core.run(image[None])[0])
            kept.append({name: _as_halves(value) for name, value in self._core.values().items()})
        self._values = {name: np.concatenate([values[name] for values in kept]) for name in kept[0]}
        return np.concatenate(results)

    def _taken(self, images_NHWC: NDArray[Any]) -> NDArray[Any]:
        """The images as the core takes them: pixels for an int8 stem, else either; it normalizes pixels itself."""
        if self._spec.type == PIXELS and images_NHWC.shape[-1] == self._spec.channels:  # the core refuses others
            images_NHWC = as_input(images_NHWC, self._spec)
        return np.ascontiguousarray(images_NHWC)

    def values(self) -> dict[str, NDArray[Any]]:
        """Every value of the last run by name: float32 or float16 (N, H, W, C), or uint32 words (N, H, W, ceil(C/32)).

        Raises ValueError if the engine was built without ``keep_values``.
        """
        if not self._keep_values:
            raise ValueError("values share their memory; build the engine with keep_values=True to read them")
        return self._values

    def profile(self, images_NHWC: NDArray[Any], repeats: int = 20) -> Profile:
        """Time every node in ``repeats`` runs, after one that does not count: the median of each, against the limit of
        this instruction set and these threads, which is measured on the spot the first time.

        Raises ValueError as :meth:`run` does, and for ``repeats`` below 1.
        """
        from onebit.runtime.limits import measure_limits  # only who profiles waits for them
        from onebit.runtime.profile import make_profile

        if repeats < 1:
            raise ValueError(f"repeats must be at least 1, got {repeats}")
        images_NHWC = self._taken(images_NHWC)
        limits = measure_limits(self.isa)
        self._core.run(images_NHWC)
        ns = np.median([self._core.run(images_NHWC)[1] for _ in range(repeats)], axis=0)
        return make_profile(self._core.nodes(), (ns / 1e6).tolist(), len(images_NHWC), self._core.threads, limits)


def _as_halves(value: NDArray[Any]) -> NDArray[Any]:
    """A value of the core, which gives float16 as uint16."""
    return value.view(np.float16) if value.dtype == np.uint16 else value


def _add(builder: _core.Builder, node: Node, tensors: Mapping[str, NDArray[Any]]) -> None:
    """Describe one node to the core: its op's method, the attributes, tensors and steps of the node."""
    arguments: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list | tuple) else value for name, value in node.attrs.items()
    }
    arguments |= {role: np.ascontiguousarray(tensors[name]) for role, name in node.tensors.items()}
    op = OPS[node.op]
    method = next((name for role, name in op.builders.items() if role in node.tensors), node.op)
    arguments |= {"inputs": list(node.inputs)} if op.most_inputs > 1 else {"input": node.inputs[0]}
    steps = [_step(step, tensors) for step in node.epilogue]
    getattr(builder, method)(name=node.name, epilogue=steps, **arguments)


def _step(step: Mapping[str, Any], tensors: Mapping[str, NDArray[Any]]) -> _core.Step:
    tables = STEPS[step["step"]].tables
    arguments = {
        field: np.ascontiguousarray(tensors[value]) if field in tables else value
        for field, value in step.items()
        if field != "step"
    }
    return getattr(_core.Step, step["step"])(**arguments)
