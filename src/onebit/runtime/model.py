"""A packed network ready to run: NumPy in, NumPy out."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from onebit.format.file import load_graph
from onebit.format.graph import Graph, InputSpec, Shape
from onebit.runtime.images import prepare
from onebit.runtime.reference import ReferenceEngine

if TYPE_CHECKING:
    from onebit.runtime.profile import Profile

BACKENDS = ("native", "reference")


class _Engine(Protocol):
    output_shape: Shape

    def run(self, images_NHWC: NDArray) -> NDArray[np.float32]: ...


def load(
    path: str | os.PathLike[str],
    *,
    threads: int = 1,
    isa: str | None = None,
    backend: str = "native",
    tune: bool | str | os.PathLike[str] = False,
) -> Model:
    """Read a packed file and prepare it to run.

    Args:
        path: a ``.onebit`` file.
        threads: worker threads of the C++ core; the results do not depend on it.
        isa: instruction set to use, ``None`` for the best this CPU has (or what ``ONEBIT_ISA`` names).
        backend: "native" (the C++ core) or "reference" (slow NumPy interpreter, for checking).
        tune: choose the kernel of each convolution by the clock (a few milliseconds each), rather than by table; a
            path names the JSON file that remembers the choices for later loads on this machine.

    Raises:
        OSError: the file cannot be read.
        FormatError: its content is not a valid packed network.
        ValueError: bad ``threads``, ``isa`` or ``backend``; the file that ``tune`` names holds something else.
    """
    return Model(load_graph(path), threads=threads, isa=isa, backend=backend, tune=tune)


class Model:
    """A packed network; call it with an image or a batch to get class probabilities."""

    def __init__(
        self,
        graph: Graph,
        *,
        threads: int = 1,
        isa: str | None = None,
        backend: str = "native",
        tune: bool | str | os.PathLike[str] = False,
    ) -> None:
        if backend not in BACKENDS:
            raise ValueError(f"backend must be one of {BACKENDS}, got {backend!r}")
        if not isinstance(threads, int) or isinstance(threads, bool) or not 1 <= threads <= 1024:
            raise ValueError(f"threads must be a whole number from 1 to 1024, got {threads!r}")
        if tune is not False and backend != "native":
            raise ValueError("tune chooses between kernels of the C++ core; it needs backend='native'")
        self.graph = graph
        self.backend = backend
        if backend == "native":
            from onebit.runtime.engine import Engine

            chosen: AbstractContextManager[None] = nullcontext()
            if not isinstance(tune, bool):
                from onebit.runtime.tuning import remembered

                chosen = remembered(tune)
            with chosen:
                self.engine: _Engine = Engine(graph, threads=threads, isa=isa, tune=tune is not False)
        else:
            self.engine = ReferenceEngine(graph)

    @property
    def input(self) -> InputSpec:
        """Size, channels and normalization of the images that the network takes."""
        return self.graph.input

    @property
    def classes(self) -> tuple[str, ...] | None:
        """Labels of the output features, if the file has them."""
        return None if self.graph.classes is None else tuple(self.graph.classes)

    def __call__(self, images: ArrayLike) -> NDArray[np.float32]:
        """Class probabilities, ``softmax(logits)``: (N, classes) for a batch, (classes,) for one image.

        Raises ValueError where the network gives a map instead of one vector, and as :meth:`logits` does.
        """
        shape = self.engine.output_shape
        if shape[:2] != (1, 1):
            raise ValueError(f"the network gives a map of shape {shape} (H, W, C), no classes; use logits()")
        logits = self.logits(images)
        exponents = np.exp(logits - logits.max(axis=-1, keepdims=True))
        return exponents / exponents.sum(axis=-1, keepdims=True)

    def logits(self, images: ArrayLike) -> NDArray[np.float32]:
        """The network's raw outputs: (N, features), or (features,) for one image; a map comes flattened channel by
        channel, as torch's ``flatten(1)`` gives it.

        Args:
            images: raw pixels as uint8 (H, W, C) or (N, H, W, C), gray also without C, normalized here by the file's
                mean and std; or floats, already normalized, as (C, H, W), (N, C, H, W), (H, W, C) or (N, H, W, C).
                A network with an int8 stem takes pixels: floats are turned back into the nearest ones.

        Raises:
            ValueError: wrong size, wrong number of channels, wrong dtype, NaN or infinity; floats that are no
                normalized pixels where the network takes pixels.
        """
        batch_NHWC, single = prepare(images, self.input)
        output = self.engine.run(batch_NHWC)
        output = output.transpose(0, 3, 1, 2).reshape(len(output), -1)
        return output[0] if single else output

    def profile(self, images: ArrayLike, repeats: int = 20) -> Profile:
        """Where the time goes: a row a node, with the median of ``repeats`` times and how near it is to the limit.

        Raises ValueError as :meth:`logits` does, and for the reference, which is not made to be fast.
        """
        if self.backend != "native":
            raise ValueError("profile needs backend='native'")
        batch_NHWC, _ = prepare(images, self.input)
        return self.engine.profile(batch_NHWC, repeats)  # type: ignore[attr-defined]
