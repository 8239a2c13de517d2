"""What a page says of one run: plain values, so that drawing it needs no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onebit.report.health import Course, Finding, LayerNumbers, findings

# Shape letters: K classes, H W C image.


@dataclass(frozen=True)
class Layer:
    """One layer of a network; ``bytes`` is None where the network was not packed."""

    name: str
    layer: str
    shape: str
    weights: int
    weight_bits: int
    bytes: int | None
    ops: float
    runs_as: str
    note: str


@dataclass(frozen=True)
class Latents:
    """The latent weights of one binary layer: their number, the share below 0, and a histogram."""

    name: str
    count: int
    negative: float
    counts: Sequence[int]
    edges: Sequence[float]


@dataclass(frozen=True)
class Sample:
    """A test image, its label, the network's answer and the probability that it gave."""

    pixels_HWC: NDArray[np.uint8]
    label: str
    answer: str
    probability: float


@dataclass(frozen=True)
class Answers:
    """The answers of a packed network to test images.

    Attributes:
        confusion_KK: number of images by label (rows) and answer (columns).
        total: how many test images the data set has.
        right, wrong: some of the images.
    """

    dataset: str
    classes: Sequence[str]
    confusion_KK: NDArray[np.int64]
    total: int
    right: Sequence[Sample]
    wrong: Sequence[Sample]

    @property
    def images(self) -> int:
        """How many images were answered."""
        return int(self.confusion_KK.sum())

    @property
    def accuracy(self) -> float:
        """Share of the images that were answered with their label."""
        return int(np.trace(self.confusion_KK)) / self.images


@dataclass(frozen=True)
class Latency:
    """Milliseconds of one image on one thread, over ``count`` calls with the kernels of ``isa``."""

    least_ms: float
    median_ms: float
    count: int
    isa: str


@dataclass(frozen=True)
class StudyTable:
    """The table of a study, in texts: a row per change, the mean over its seeds."""

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class RunFacts:
    """One run.

    Attributes:
        name: what tells it apart from the others of the page.
        settings: by name; options are flat, as in ``model_options.width``.
        history: one row per finished epoch, as in the record.
        epochs: how many there are to be.
        score: name of the main score; ``share``: whether it is a share of 1.
        test_images: how many the scores of the record are of; None where the record does not say.
        numbers: of the binary layers after each epoch; None where the record has none.
        guide: the main score of the teacher; None without one, or where it is not known.
        origin: facts about where the run was made, by name.
        weights: which weights layers, latents and answers are of; empty without any.
        notes: what the page cannot show of this run, and why.
    """

    name: str
    folder: str
    recipe: str | None
    settings: Mapping[str, Any]
    history: Sequence[Mapping[str, Any]]
    epochs: int
    score: str
    share: bool
    test_images: int | None
    seconds: float
    origin: Mapping[str, str]
    numbers: LayerNumbers | None = None
    guide: float | None = None
    weights: str = ""
    parameters: int | None = None
    layers: Sequence[Layer] = ()
    file_bytes: int | None = None
    latents: Sequence[Latents] = ()
    answers: Answers | None = None
    latency: Latency | None = None
    notes: Sequence[str] = field(default=())

    @property
    def done(self) -> int:
        """Finished epochs."""
        return self.history[-1]["epoch"] if self.history else 0

    @property
    def last_score(self) -> float | None:
        """The main score on the test images after the last epoch; None if it has not been measured."""
        return self.history[-1].get(f"test_{self.score}") if self.history else None

    @property
    def training_score(self) -> float | None:
        """The main score on the training images, over the last epoch; None if it has not been measured."""
        return self.history[-1].get(f"train_{self.score}") if self.history else None

    @property
    def health(self) -> list[Finding] | None:
        """What the rules of training health find; None where the record does not have what they look at."""
        if self.numbers is None:
            return None
        return findings(Course(self.history, self.numbers, self.epochs, self.score, self.share, self.guide))

    @property
    def ops(self) -> float | None:
        """``FLOPs + BOPs/64`` of one image; None without a network."""
        return sum(layer.ops for layer in self.layers) if self.layers else None
