"""Python wrapper of the C++ engine: builds it from a validated graph and runs it."""

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
    """All instruction sets, slowest first: rows of isa, built, supported, usable (both), chosen.

    Raises ValueError if ``ONEBIT_ISA`` names an instruction set that this CPU cannot run.
    """
    return [
        {"isa": isa, "built": built, "supported": supported, "usable": built and supported, "chosen": chosen}
        for isa, built, supported, chosen in _core.isas()
    ]


def usable_isas() -> list[str]:
    """The instruction sets that this build contains and this CPU supports, slowest first."""
    return [row["isa"] for row in isa_table() if row["usable"]]


def default_max_memory(graph: Graph) -> int:
    """Default memory limit of an engine in bytes: 256 MiB plus 64 times the size of the tensors and one float image,
    capped at 2 GiB plus twice the tensors.

    Networks whose size comes from their weights need far less, even if binary weights become floats or activations are
    wide. A small file that declares huge activations, or references its weights many times, is refused.
    """
    spec = graph.input
    tensors = sum(tensor.nbytes for tensor in graph.tensors.values())
    return 2 * tensors + min(1 << 31, (1 << 28) + 64 * (tensors + 4 * spec.height * spec.width * spec.channels))


class Engine:
    """A packed network in the C++ core.

    Args:
        graph: the network; it is validated first.
        threads: number of worker threads; results do not depend on it.
        isa: instruction set; None selects that of ``ONEBIT_ISA``, or else the fastest one that this CPU supports.
        keep_values: whether every value gets its own memory, so that :meth:`values` can return it.
        tune: whether to time every kernel of the instruction set for each convolution (a few milliseconds each) and
            select the fastest. Layers of equal shape are timed once per process.
        max_memory: limit in bytes for values, scratch buffers, and weights and tables in the layout of the kernels, in
            addition to the tensors of the graph. It is checked before anything is allocated. None: no limit.

    Raises:
        FormatError: the graph is not valid.
        ValueError: ``threads`` is outside 1...1024, this CPU cannot run ``isa``, or the network needs more than
            ``max_memory``.
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
        mean, std = (np.asarray(numbers, np.float32) for numbers in (spec.mean, spec.std))
        builder = _core.Builder(
            spec.name,
            shape,
            mean,
            std,
            threads=threads,
            isa=isa or "",
            keep_values=keep_values,
            tune=tune,
            input_type=spec.type,
            max_memory=limit,
        )
        for node in graph.nodes:
            _add(builder, node, graph)
        self._core = builder.finish(graph.output)
        self._keep_values = keep_values
        self._values: dict[str, NDArray[Any]] = {}

    @property
    def isa(self) -> str:
        """The instruction set in use."""
        return self._core.isa

    @property
    def memory(self) -> int:
        """Bytes of values and scratch buffers, without weights."""
        memory = self._core.memory
        return memory["values"] + memory["scratch"]

    def run(self, images_NHWC: NDArray[Any]) -> NDArray[np.float32]:
        """Run normalized float32 images or raw uint8 pixels, as prepared by :func:`onebit.runtime.images.prepare`.

        Shape: (N, H, W, C) -> (N, H', W', C').  Raises ValueError for images of another shape than the network takes.
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
        """The images in the type that the core accepts: pixels for an int8 stem, else floats or pixels, which it
        normalizes.
        """
        if self._spec.type == PIXELS and images_NHWC.shape[-1] == self._spec.channels:  # the core rejects other types
            images_NHWC = as_input(images_NHWC, self._spec)
        return np.ascontiguousarray(images_NHWC)

    def values(self) -> dict[str, NDArray[Any]]:
        """All values of the last run by name: float32 or float16 (N, H, W, C), or uint32 words (N, H, W, ceil(C/32)).

        Raises ValueError if the engine was built without ``keep_values``.
        """
        if not self._keep_values:
            raise ValueError("values share their memory; build the engine with keep_values=True to read them")
        return self._values

    def profile(self, images_NHWC: NDArray[Any], repeats: int = 20) -> Profile:
        """Run ``repeats`` times after one warm-up run; the median time of each node against the throughput limit.

        The limit is that of this instruction set and number of threads, and is measured on first use.  Raises
        ValueError as :meth:`run` does, and for ``repeats`` below 1.
        """
        from onebit.runtime.limits import measure_limits  # imported on use: profiling needs it, loading does not
        from onebit.runtime.profile import make_profile

        if repeats < 1:
            raise ValueError(f"repeats must be at least 1, got {repeats}")
        images_NHWC = self._taken(images_NHWC)
        limits = measure_limits(self.isa)
        self._core.run(images_NHWC)
        ns = np.median([self._core.run(images_NHWC)[1] for _ in range(repeats)], axis=0)
        return make_profile(self._core.nodes(), (ns / 1e6).tolist(), len(images_NHWC), self._core.threads, limits)


def _as_halves(value: NDArray[Any]) -> NDArray[Any]:
    """A value of the core as a NumPy array; the core returns float16 as uint16."""
    return value.view(np.float16) if value.dtype == np.uint16 else value


def _add(builder: _core.Builder, node: Node, graph: Graph) -> None:
    """Add one node to the core's builder: the method of its op, with the attributes, tensors and steps of the node."""
    op = OPS[node.op]
    if op.core is not None:
        method, arguments = op.core(graph.use(node))
    else:
        method = next((name for role, name in op.builders.items() if role in node.tensors), node.op)
        arguments = {**node.attrs, **{role: graph.tensors[name] for role, name in node.tensors.items()}}
    wires = {"inputs": list(node.inputs)} if op.most_inputs > 1 else {"input": node.inputs[0]}
    steps = [_step(step, graph.tensors) for step in node.epilogue]
    getattr(builder, method)(name=node.name, epilogue=steps, **wires, **{k: _taken(v) for k, v in arguments.items()})


def _taken(argument: Any) -> Any:
    """An argument in the type that the core takes."""
    if isinstance(argument, np.ndarray):
        return np.ascontiguousarray(argument)
    return tuple(argument) if isinstance(argument, list | tuple) else argument


def _step(step: Mapping[str, Any], tensors: Mapping[str, NDArray[Any]]) -> _core.Step:
    tables = STEPS[step["step"]].tables
    arguments = {
        field: np.ascontiguousarray(tensors[value]) if field in tables else value
        for field, value in step.items()
        if field != "step"
    }
    return getattr(_core.Step, step["step"])(**arguments)
