"""The registry of tasks and what a task is: data, criterion, scores, and how a network of it is packed and compared.

Training knows none of this.  It asks the task that ``TrainSettings.task`` names, and a new task is one file.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from onebit.data import Color, Contents
from onebit.format.graph import Fit, Graph
from onebit.methods import Batch
from onebit.nn import evaluating
from onebit.registry import Registry
from onebit.runtime.images import CROP

# Shape letters: N examples.

Predict = Callable[[NDArray[np.uint8]], NDArray[np.float32]]  # pixels (N, H, W, C) -> outputs: a loaded packed network
Description = dict[str, Any]  # the task's part of model.json: plain values


@dataclass(frozen=True)
class Metric:
    """A number that a task measures.

    Attributes:
        name: as in records, ``test_NAME``.
        higher_is_better: which of two values is the better one.
        share: whether it is a share of 1, shown in percent.
    """

    name: str
    higher_is_better: bool = True
    share: bool = False

    def better(self, value: float, than: float) -> bool:
        """Whether ``value`` beats ``than``; a number that is NaN never does, and is always beaten."""
        if value != value or than != than:
            return value == value
        return value > than if self.higher_is_better else value < than

    def text(self, value: float) -> str:
        """``value`` as people read it."""
        return f"{value:.2%}" if self.share else f"{value:.4g}"

    def change(self, before: float, after: float) -> str:
        """How much was lost or won between two values, as people read it."""
        lost = before - after if self.higher_is_better else after - before
        size = f"{100 * abs(lost):.2f} points" if self.share else f"{abs(lost):.2g}"
        return f"{size} {'lost' if lost >= 0 else 'won'}"


@dataclass(frozen=True)
class Scores:
    """What a network scored on ``examples`` examples.

    Attributes:
        values: one number per metric of the task, by name.
        details: tables of further numbers, such as ``{"class_accuracy": {"cat": 0.9, "dog": None}}``.
    """

    examples: int
    values: dict[str, float]
    details: dict[str, dict[str, float | None]] = field(default_factory=dict)


class Mixed(NamedTuple):
    """Targets of a batch of mixed examples: ``share`` of ``first`` and ``1 - share`` of ``second``, example by example.

    A criterion that takes them gives ``share L(outputs, first) + (1 - share) L(outputs, second)``.
    """

    first: Any
    second: Any
    share: float


class Part(NamedTuple):
    """The part of the examples that one of several devices takes: each ``of``-th, from this number on."""

    number: int = 0
    of: int = 1


WHOLE = Part()


class Feed(ABC):
    """The training examples of a data set, prepared for one device."""

    @abstractmethod
    def batches(self, seed: int, epoch: int, batch_size: int, first: int = 0) -> Iterator[Batch]:
        """The batches of an epoch from the ``first``-th on: of ``batch_size`` examples on all devices together, less
        the last where it would not be full.

        The order is a function of ``seed`` and ``epoch``.  Whatever else is random, such as augmentation, is drawn from
        torch's generator, which the caller seeds before each ``next``, or is a function of ``seed``, ``epoch`` and the
        example.  So a run that is resumed in the middle of an epoch sees what it would have seen.
        """


class Task(ABC):
    """What networks are trained for.  Subclasses are registered in ``TASKS``; ``task_options`` are keyword arguments.

    A task holds its options and nothing else: data, networks and descriptions are handed to it.  ``data`` is what
    :meth:`load` returned.  A *description* is what ``model.json`` says of a network's inputs and outputs.

    Attributes:
        datasets: what ``TrainSettings.dataset`` may name.
        augmentations: what ``TrainSettings.augment`` may name.
        metrics: what :meth:`scores` measures, in the order of the records.
        main: name of the metric by which one network is better than another.
        answer: word for what a network gives, as in "9,999 of 10,000 images of the same class".
        mixes: whether :meth:`losses` and :meth:`training_scores` take :class:`Mixed` targets, of networks that take one
            image; the settings mixup and cutmix are refused where not.
    """

    datasets: ClassVar[Registry[Any]]
    augmentations: ClassVar[Registry[Any]]
    metrics: ClassVar[tuple[Metric, ...]]
    main: ClassVar[str]
    answer: ClassVar[str]
    mixes: ClassVar[bool] = False

    @classmethod
    def metric(cls, name: str | None = None) -> Metric:
        """The metric of that name, the main one for None; ValueError for another name."""
        for metric in cls.metrics:
            if metric.name == (cls.main if name is None else name):
                return metric
        raise ValueError(f"there is no score {name!r}; choose one of {[metric.name for metric in cls.metrics]}")

    # Data -----------------------------------------------------------------------------------------------------------

    @abstractmethod
    def load(
        self,
        dataset: str,
        data_dir: Path | None,
        image_size: int | None = None,
        fit: Fit = CROP,
        color: Color | None = None,
    ) -> Any:
        """Read a data set; ValueError (DataError) or OSError says what is missing, or that it has another color."""

    @abstractmethod
    def load_for(self, description: Description, dataset: str, data_dir: Path | None) -> Any:
        """Read a data set for a network with that description; ValueError names what does not fit."""

    @abstractmethod
    def contents(self, data: Any) -> Contents:
        """What was taken of the data set, in numbers, and what was not."""

    @abstractmethod
    def count(self, data: Any) -> int:
        """Training examples of an epoch."""

    @abstractmethod
    def identity(self, data: Any) -> dict[str, Any]:
        """What must be the same when a run is resumed, by name: numbers, texts, lists of texts."""

    @abstractmethod
    def feed(self, data: Any, augment: str, device: torch.device, part: Part = WHOLE) -> Feed:
        """The training examples on ``device``."""

    # The network's inputs and outputs -------------------------------------------------------------------------------

    @abstractmethod
    def describe(self, data: Any) -> Description:
        """What ``model.json`` says of a network that is trained on ``data``."""

    @abstractmethod
    def check(self, description: Mapping[str, Any]) -> None:
        """ValueError that names the field where a description, read from a file, is none."""

    @abstractmethod
    def model_arguments(self, description: Description) -> dict[str, Any]:
        """Arguments of the model's factory that the data decide."""

    @abstractmethod
    def example(self, description: Description) -> tuple[Tensor, ...]:
        """Inputs of a batch of one, of zeros."""

    # Training -------------------------------------------------------------------------------------------------------

    @abstractmethod
    def losses(self, outputs: Any, targets: Any) -> dict[str, Tensor]:
        """The criterion: named scalar terms, means over the batch, whose sum is to be minimized."""

    def imitation(self, outputs: Any, teacher_outputs: Any, temperature: float) -> Tensor:
        """How far outputs are from a teacher's, a scalar: the mean squared difference at any temperature.

        For logits that is the limit of soft cross-entropy at high temperatures (arXiv:1503.02531, section 2.1).
        """
        return F.mse_loss(outputs, teacher_outputs)

    @abstractmethod
    def training_scores(self, outputs: Any, targets: Any) -> dict[str, Tensor]:
        """Named scalars, means over the batch, that the record holds as ``train_NAME``; always the same names for
        targets of a kind, mixed or not.
        """

    # Evaluation -----------------------------------------------------------------------------------------------------

    @abstractmethod
    def measure(
        self, network: nn.Module, data: Any, description: Description, *, batch_size: int, part: Part = WHOLE
    ) -> dict[str, Tensor]:
        """Sums over this part of the test examples, from which :meth:`scores` follows; those of all parts add up."""

    @abstractmethod
    def measure_packed(
        self, model: Predict, data: Any, description: Description, *, batch_size: int, limit: int | None = None
    ) -> dict[str, Tensor]:
        """The same of a packed network, on the first ``limit`` test examples, all by default."""

    @abstractmethod
    def scores(self, sums: Mapping[str, Tensor], description: Description) -> Scores:
        """What the sums of :meth:`measure` over all parts say."""

    @torch.inference_mode()
    def evaluate(self, network: nn.Module, data: Any, description: Description, batch_size: int = 500) -> Scores:
        """Score ``network``, in evaluation mode and then as it was, on all test examples."""
        with evaluating(network):
            return self.scores(self.measure(network, data, description, batch_size=batch_size), description)

    def evaluate_packed(
        self, model: Predict, data: Any, description: Description, batch_size: int = 500, limit: int | None = None
    ) -> Scores:
        """Score a packed network, or what answers like one, on the first ``limit`` test examples, all by default."""
        sums = self.measure_packed(model, data, description, batch_size=batch_size, limit=limit)
        return self.scores(sums, description)

    # Packing --------------------------------------------------------------------------------------------------------

    @abstractmethod
    def packing(self, network: nn.Module, description: Description) -> tuple[nn.Module, dict[str, Any]]:
        """The module that is packed, ``network`` or a part of it, and the arguments of ``pack`` that describe it."""

    @abstractmethod
    def description_of(self, graph: Graph) -> Description:
        """The description of a packed network, as far as its file says."""

    @abstractmethod
    def examples(self, data: Any, split: str, limit: int | None) -> tuple[NDArray[np.uint8], NDArray[Any]]:
        """Images (N, H, W, C) for a packed network and their targets: the first ``limit`` of the split "test", or as
        many spread evenly over "train".
        """

    @abstractmethod
    def same_answer(self, one: NDArray[Any], other: NDArray[Any]) -> NDArray[np.bool_]:
        """Which of N examples two networks, whose outputs are given, answer alike, (N,)."""

    @abstractmethod
    def judge(self, outputs: NDArray[Any], targets: NDArray[Any], description: Description) -> dict[str, float]:
        """Scores of a packed network's outputs for N examples; names as in ``metrics``."""

    def allowed_to_differ(self, examples: int) -> int:
        """Examples that torch and the packed network may answer differently, where rounding decides: 2 of 10,000."""
        return -(-2 * examples // 10_000)

    def loss_of_precision(self, before: dict[str, float], after: dict[str, float], examples: int) -> tuple[str, bool]:
        """What coarser numbers cost in the main score, in words, and whether it is too much: over a thousandth."""
        metric = self.metric()
        a, b = before[metric.name], after[metric.name]
        lost = a - b if metric.higher_is_better else b - a
        return f"{metric.change(a, b)}, allowed to be lost: {1e-3 * abs(a):.2g}", not lost <= 1e-3 * abs(a)


TASKS: Registry[type[Task]] = Registry("task")
