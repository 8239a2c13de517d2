"""A loaded network: NumPy arrays in, NumPy arrays out."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from onebit.format.file import load_graph
from onebit.format.graph import Graph, InputSpec
from onebit.runtime.images import prepare
from onebit.runtime.reference import ReferenceEngine

if TYPE_CHECKING:
    from onebit.runtime.engine import Engine
    from onebit.runtime.profile import Profile

BACKENDS = ("native", "reference")


def load(
    path: str | os.PathLike[str],
    *,
    threads: int = 1,
    isa: str | None = None,
    backend: str = "native",
    tune: bool = False,
    tuning_cache: str | os.PathLike[str] | None = None,
    max_memory: int | None = None,
) -> Model:
    """Load a packed file.

    Args:
        path: a ``.onebit`` file.
        threads: number of worker threads of the C++ core; results do not depend on it.
        isa: instruction set; None selects that of ``ONEBIT_ISA``, or else the fastest one that this CPU supports.
        backend: "native" (the C++ core) or "reference" (a slow NumPy interpreter, for verification).
        tune: whether to select the kernel of each convolution by timing (a few milliseconds each) rather than by table.
        tuning_cache: JSON file that stores the selection of ``tune`` for later loads on this machine; created if
            missing.
        max_memory: limit in bytes for what the C++ core allocates in addition to the content of the file, checked
            before anything is allocated.  None: 256 MiB plus 64 times the size of the tensors and one float image,
            capped at 2 GiB plus twice the tensors.

    Raises:
        OSError: the file cannot be read.
        FormatError: the file is not a valid packed network.
        ValueError: invalid ``threads``, ``isa`` or ``backend``; ``tuning_cache`` without ``tune``, or not a tuning
            cache; a network that needs more than ``max_memory``.
        MemoryError: the system has less memory than that.
    """
    return Model(
        load_graph(path),
        threads=threads,
        isa=isa,
        backend=backend,
        tune=tune,
        tuning_cache=tuning_cache,
        max_memory=max_memory,
    )


class Prediction(NamedTuple):
    """A label and its probability."""

    label: str
    probability: float


class Model:
    """A loaded network.  Call it with an image or a batch, like the PyTorch module.

    It can be pickled and copied.  A copy carries the network and the options, and builds its own engine.
    """

    graph: Graph
    engine: Engine | ReferenceEngine

    def __init__(
        self,
        graph: Graph,
        *,
        threads: int = 1,
        isa: str | None = None,
        backend: str = "native",
        tune: bool = False,
        tuning_cache: str | os.PathLike[str] | None = None,
        max_memory: int | None = None,
    ) -> None:
        if backend not in BACKENDS:
            raise ValueError(f"backend must be one of {BACKENDS}, got {backend!r}")
        if not isinstance(threads, int) or isinstance(threads, bool) or not 1 <= threads <= 1024:
            raise ValueError(f"threads must be an integer from 1 to 1024, got {threads!r}")
        if not isinstance(tune, bool):
            raise ValueError(
                f"tune must be True or False, got {tune!r}; name the file that keeps the choices in tuning_cache"
            )
        if tune and backend != "native":
            raise ValueError("tune chooses between kernels of the C++ core; it needs backend='native'")
        if tuning_cache is not None and not tune:
            raise ValueError("tuning_cache keeps what tune=True chooses; set tune=True, or leave it out")
        if max_memory is not None and (
            isinstance(max_memory, bool) or not isinstance(max_memory, int) or max_memory < 1
        ):
            raise ValueError(f"max_memory must be a positive integer (bytes), got {max_memory!r}")
        self.graph = graph
        self.backend = backend
        self._options = {
            "threads": threads,
            "isa": isa,
            "backend": backend,
            "tune": tune,
            "tuning_cache": tuning_cache,
            "max_memory": max_memory,
        }
        if backend == "native":
            from onebit.runtime.engine import Engine, default_max_memory

            limit = default_max_memory(graph) if max_memory is None else max_memory
            cached: AbstractContextManager[None] = nullcontext()
            if tuning_cache is not None:
                from onebit.runtime.tuning import remembered

                cached = remembered(tuning_cache)
            with cached:
                self.engine = Engine(graph, threads=threads, isa=isa, tune=tune, max_memory=limit)
        else:
            self.engine = ReferenceEngine(graph)

    def __reduce__(self) -> tuple[Callable[..., Model], tuple[Graph, dict[str, Any]]]:
        return _rebuild, (self.graph, self._options)

    def __repr__(self) -> str:
        spec, shape = self.input, self.engine.output_shape
        takes = "x".join(map(str, (spec.channels, spec.height, spec.width)))
        gives = f"{shape[2]} features" if self._is_vector else f"{shape[2]}x{shape[0]}x{shape[1]}"
        classes = f", {len(self.classes)} classes" if self.classes else ""
        runs = f"{self.backend}, {self.isa}, threads={self._options['threads']}" if self.isa else self.backend
        return f"<onebit.Model {takes} -> {gives}{classes}, {len(self.graph.nodes)} nodes, {runs}>"

    @property
    def input(self) -> InputSpec:
        """Size, channels and normalization of the images that the network takes."""
        return self.graph.input

    @property
    def classes(self) -> tuple[str, ...] | None:
        """Labels of the output features, if the file has them."""
        return None if self.graph.classes is None else tuple(self.graph.classes)

    @property
    def isa(self) -> str | None:
        """The instruction set that the C++ core uses; None for the reference."""
        return None if isinstance(self.engine, ReferenceEngine) else self.engine.isa

    @property
    def _is_vector(self) -> bool:
        return self.engine.output_shape[:2] == (1, 1) and not self.graph.output_is_map

    def __call__(self, images: ArrayLike) -> NDArray[np.float32]:
        """Compute the output of the PyTorch module for these images, in float32.

        A network that ends in a vector returns (N, features), or (features,) for one image: raw outputs, such as
        logits, without a softmax.  One that ends in a feature map returns (N, C, H, W), or (C, H, W).

        Args:
            images: raw pixels as uint8 (H, W, C) or (N, H, W, C), gray also without C, which are normalized by the mean
                and std of the file; or normalized floats as (C, H, W), (N, C, H, W), (H, W, C) or (N, H, W, C). For a
                network with an int8 stem, floats are converted back to the nearest pixels.

        Raises:
            ValueError: wrong size, number of channels or dtype; NaN or infinity; floats that are not normalized pixels,
                for a network with an int8 stem.
        """
        batch_NHWC, single = prepare(images, self.input)
        output_NHWC = self.engine.run(batch_NHWC)
        if self._is_vector:
            output = output_NHWC.reshape(len(output_NHWC), -1)
        else:
            output = np.ascontiguousarray(output_NHWC.transpose(0, 3, 1, 2))
        return output[0] if single else output

    def classify(self, image: ArrayLike) -> list[Prediction]:
        """Return every label with its probability for one image, most probable first.

        The probabilities are ``softmax(model(image))``.  A network with one output and two labels, (negative,
        positive), is treated as a logit: the probability of the positive label is ``sigmoid(model(image))``.

        Raises ValueError if the file has no labels or the network returns a feature map, for a batch, if the outputs
        are not finite, and as :meth:`__call__` does.
        """
        labels = self._labels()
        batch_NHWC, single = prepare(image, self.input)
        if not single:
            raise ValueError(f"classify takes one image, got a batch of {len(batch_NHWC)}; call it for each image")
        output = self.engine.run(batch_NHWC).reshape(-1)
        if not np.isfinite(output).all():
            raise ValueError(
                "the network's outputs are NaN or infinite, so there are no probabilities: the image is unlike those "
                "that it was trained on, or its weights are broken"
            )
        logits_K = output.astype(np.float64)
        if len(logits_K) == 1:
            logits_K = np.array([0.0, logits_K[0]])  # softmax(0, x)[1] is sigmoid(x)
        exponents_K = np.exp(logits_K - logits_K.max())
        probabilities_K = exponents_K / exponents_K.sum()
        order = np.argsort(-probabilities_K, kind="stable")
        return [Prediction(labels[index], float(probabilities_K[index])) for index in order]

    def _labels(self) -> tuple[str, ...]:
        """The labels of :meth:`classify`; ValueError where there are none."""
        shape = self.engine.output_shape
        if shape[:2] != (1, 1):
            raise ValueError(
                f"the network gives a map of shape {shape} (H, W, C), no classes; call the model to get the map"
            )
        labels = self.classes
        if labels is None:
            raise ValueError(
                "the file has no class labels; call the model to get its raw outputs, or pack it with classes=[...]"
            )
        if shape[2] == 1 and len(labels) != 2:
            raise ValueError(
                f"the network has one output and the label(s) {list(labels)}: one logit tells two classes apart; pack "
                "it with classes=[negative, positive], or call the model to get the raw output"
            )
        return labels

    def profile(self, images: ArrayLike, repeats: int = 20) -> Profile:
        """Time every node: one row each, with the median of ``repeats`` runs and its share of the throughput limit.

        Raises ValueError as :meth:`__call__` does, and for the reference backend.
        """
        if isinstance(self.engine, ReferenceEngine):
            raise ValueError("profile needs backend='native'")
        batch_NHWC, _ = prepare(images, self.input)
        return self.engine.profile(batch_NHWC, repeats)


def _rebuild(graph: Graph, options: dict[str, Any]) -> Model:
    return Model(graph, **options)
