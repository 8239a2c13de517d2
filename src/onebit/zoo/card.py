"""The model card of a trained network: how it was trained, on what, what it scores, costs and weighs, and how fast it
is.

``onebit card`` writes cards from runs; nothing in them is typed by hand.  A card is a JSON file, ``NAME.card.json``,
beside or apart from the packed file that it describes, ``NAME.onebit``, and the start, ``NAME.start.safetensors``.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any, get_args, get_type_hints

from onebit.fields import short
from onebit.registry import check_types

FORMAT = 1
SUFFIX = ".card.json"
PACKED = ".onebit"
START = ".start.safetensors"


class CardError(ValueError):
    """A card or packed file that is damaged, or that do not belong together; the message names the file."""


@dataclass(frozen=True)
class Training:
    """How the network was trained.

    Attributes:
        recipe: name of the recipe; None for settings of the user's own.
        settings: all settings of the run.  Those that name another run hold the name of its folder alone.
        epochs: that were trained.
        epoch: whose weights these are.
        commit: of onebit; "-dirty" if changed, None for an installed package.
        seconds: of training.
        machine: system, CPU, cores, threads, GPU.
        versions: of Python, onebit and the libraries.
    """

    recipe: str | None
    settings: dict[str, Any]
    epochs: int
    epoch: int
    seed: int
    commit: str | None
    seconds: float
    machine: dict[str, Any]
    versions: dict[str, Any]


@dataclass(frozen=True)
class DataSet:
    """What the network was trained and tested on: the name of the data set, its origin and its license."""

    name: str
    origin: str
    license: str
    train_images: int
    test_images: int


@dataclass(frozen=True)
class Measured:
    """Scores on ``images`` test images: all of them.

    Attributes:
        score: name of the main one.
        share: whether it is a share of 1, shown in percent.
        torch, packed: all scores, by name, of the trained network in PyTorch and of the packed file.
        same: images to which both give the same answer.
    """

    score: str
    share: bool
    torch: dict[str, float]
    packed: dict[str, float]
    images: int
    same: int

    @property
    def text(self) -> str:
        """The main score of the packed file with the number of images, "99.44% (n = 360)"."""
        value = self.packed[self.score]
        return f"{f'{value:.2%}' if self.share else f'{value:.4g}'} (n = {self.images})"


@dataclass(frozen=True)
class Cost:
    """Costs of one image, as ``onebit inspect`` counts them: ``OPs = FLOPs + BOPs/64``."""

    weights: int
    flops: int
    bops: int
    ops: float


@dataclass(frozen=True)
class File:
    """Size and SHA-256 of a file: of the packed one."""

    bytes: int
    sha256: str


@dataclass(frozen=True)
class Start(File):
    """The file of the weights that training goes on from.

    Attributes:
        dtype: of the latent weights, "float16" where that costs no more of the main score than the task allows for
            coarser numbers; all other weights have float32.
        scores: of the network in PyTorch with these weights, on all test images, by name.
    """

    dtype: str
    scores: dict[str, float]


@dataclass(frozen=True)
class Speed:
    """Latency of one image on one thread, and the conditions of the measurement.

    Attributes:
        count: calls that were timed.
        load: processes that were running or waiting for a core, on average over the minute before; None where the
            system does not tell.
    """

    median_ms: float
    p90_ms: float
    least_ms: float
    count: int
    isa: str
    machine: str
    load: float | None
    date: str


@dataclass(frozen=True)
class Card:
    """What is known about one trained network; ``start`` is None where it has none."""

    name: str
    model: str
    model_options: dict[str, Any]
    scheme: str
    training: Training
    data: DataSet
    scores: Measured
    cost: Cost
    file: File
    speed: Speed
    date: str
    start: Start | None = None

    def __str__(self) -> str:
        """One line."""
        return f"{self.model} ({self.scheme}) on {self.data.name}: {self.scores.score} {self.scores.text}"

    def as_json(self) -> dict[str, Any]:
        """Plain values, as in the file."""
        return {"format": FORMAT, **asdict(self)}

    def to_bytes(self) -> bytes:
        """Content of the file."""
        return (json.dumps(self.as_json(), indent=1, allow_nan=False) + "\n").encode()


def read_card(path: str | os.PathLike[str]) -> Card:
    """Read a card; CardError names the field if it is none, OSError if it cannot be read."""
    path = Path(path)
    try:
        document = json.loads(path.read_bytes())
        if not isinstance(document, dict) or document.pop("format", None) != FORMAT:
            raise ValueError(f"it is not a card of format {FORMAT}")
        card: Card = _read(Card, document, "")
        if f"{card.name}{SUFFIX}" != path.name:
            raise ValueError(f"it is the card of {short(card.name)}; the name of the file must be its own")
    except (ValueError, RecursionError) as error:
        raise CardError(f"{str(path)!r} is no card: {error}") from error
    return card


def _read(kind: Any, value: Any, owner: str) -> Any:
    """An instance of the dataclass ``kind``; ValueError for fields that are missing, unknown or of another type."""
    if not isinstance(value, Mapping):
        raise ValueError(f"{owner or 'the document'} must be an object, got {short(value)}")
    known = {each.name: each.default is MISSING for each in fields(kind)}  # whether a card must have it
    for name in [*known, *value]:
        if name not in known or (known[name] and name not in value):
            full = f"{owner}.{name}" if owner else name
            raise ValueError(f"field {full!r} is {'missing' if name in known else 'unknown'}")
    hints = get_type_hints(kind)
    entries = {}
    for name, entry in value.items():
        inner = next((hint for hint in (hints[name], *get_args(hints[name])) if is_dataclass(hint)), None)
        if inner is not None and (entry is not None or inner is hints[name]):
            entry = _read(inner, entry, f"{owner}.{name}" if owner else name)
        entries[name] = entry
    found = kind(**entries)
    try:
        check_types(found)
    except ValueError as error:
        raise ValueError(f"{owner}.{error}" if owner else str(error)) from None
    return found
