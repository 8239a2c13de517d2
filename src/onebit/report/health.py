"""Training health in words: rules over the numbers of several epochs, and the sentences of those that hold."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import groupby
from typing import Any, NamedTuple

from onebit.fields import check_fields, list_of, mapping, number, optional, short, whole

FEW_WEIGHTS = 256  # of a layer with fewer, that no sign flips in an epoch says little
LOW_RATE = 0.1  # of the highest learning rate so far: below it, signs are meant to settle
PART = 0.1  # of the epochs, at the end, in which the score is compared with the guide's
FEW_LAYERS = 3  # with the same finding; of more, one is shown

NUMBERS = ("flipped", "outside", "scale", "input_scale", "inputs_outside", "constant")  # one per layer and epoch


@dataclass
class LayerCourse:
    """The numbers of one binary layer, as ``onebit.nn.LayerHealth`` defines them: one, or None, per measured epoch.

    ``start_scale`` and ``start_input_scale`` are the scales before the first step with binary weights.
    """

    weights: int
    start_scale: float | None = None
    start_input_scale: float | None = None
    flipped: list[float | None] = field(default_factory=list)
    outside: list[float | None] = field(default_factory=list)
    scale: list[float | None] = field(default_factory=list)
    input_scale: list[float | None] = field(default_factory=list)
    inputs_outside: list[float | None] = field(default_factory=list)
    constant: list[float | None] = field(default_factory=list)


@dataclass
class LayerNumbers:
    """The numbers of all binary layers of a run, epoch by epoch; ``epochs`` are those that were measured."""

    epochs: list[int] = field(default_factory=list)
    layers: dict[str, LayerCourse] = field(default_factory=dict)

    def begin(self, layers: Mapping[str, Mapping[str, Any]]) -> None:
        """A stage begins with these numbers, as :meth:`add` takes them: what scales start from."""
        for name, numbers in layers.items():
            layer = self.layers.setdefault(name, LayerCourse(numbers["weights"]))
            if layer.start_scale is None:
                layer.start_scale = _rounded(numbers["scale"])
            if layer.start_input_scale is None:
                layer.start_input_scale = _rounded(numbers["input_scale"])

    def add(self, epoch: int, layers: Mapping[str, Mapping[str, Any]]) -> None:
        """An epoch is over: layer -> "weights" and each of ``NUMBERS``; all layers, every time."""
        self.epochs.append(epoch)
        for name, numbers in layers.items():
            layer = self.layers.setdefault(name, LayerCourse(numbers["weights"]))
            for each in NUMBERS:
                getattr(layer, each).append(_rounded(numbers[each]))

    def as_json(self) -> dict[str, Any]:
        """Plain values, which :meth:`from_json` reads."""
        return {"epochs": list(self.epochs), "layers": {name: asdict(layer) for name, layer in self.layers.items()}}

    @classmethod
    def from_json(cls, value: object) -> LayerNumbers:
        """What :meth:`as_json` gave; ValueError, which names the field, for anything else."""
        check_fields(value, {"epochs": list_of(whole(1)), "layers": mapping()}, "layers")
        assert isinstance(value, Mapping)
        epochs = list(value["epochs"])
        if sorted(set(epochs)) != epochs:
            raise ValueError(f"field 'layers.epochs' must be ascending, got {short(epochs)}")
        value_or_none = optional(number())
        rules = {"weights": whole(), "start_scale": value_or_none, "start_input_scale": value_or_none}
        rules |= {name: list_of(value_or_none, len(epochs)) for name in NUMBERS}
        layers: dict[str, LayerCourse] = {}
        for name, layer in value["layers"].items():
            check_fields(layer, rules, f"layers.layers.{name}")
            known: dict[str, Any] = {key: layer[key] for key in rules}
            layers[name] = LayerCourse(**known | {each: list(known[each]) for each in NUMBERS})
        return cls(epochs, layers)

    def before(self, epoch: int) -> LayerNumbers:
        """Those that were measured before the epoch with this number."""
        known = sum(each < epoch for each in self.epochs)
        layers = {
            name: replace(layer, **{each: getattr(layer, each)[:known] for each in NUMBERS})
            for name, layer in self.layers.items()
        }
        return LayerNumbers(self.epochs[:known], layers)


@dataclass(frozen=True)
class Course:
    """A run so far, as the rules see it.

    Attributes:
        history: one row per finished epoch, as in the record.
        planned: epochs of the whole run.
        score: name of the main score; ``share``: whether it is a share of 1.
        guide: the same score of the run's teacher; None without one.
    """

    history: Sequence[Mapping[str, Any]]
    numbers: LayerNumbers
    planned: int
    score: str
    share: bool
    guide: float | None = None

    def before(self, epoch: int) -> Course:
        """The run as it was before the epoch with this number."""
        history = [row for row in self.history if row["epoch"] < epoch]
        return replace(self, history=history, numbers=self.numbers.before(epoch))


@dataclass(frozen=True)
class Finding:
    """A rule that holds, or has held, in a layer.

    Attributes:
        layer: None where the finding is about the whole network.
        rule: its name in ``RULES``.
        value: the number in question, in the last of these epochs.
        epochs: in how many measured epochs in a row.
        text: a sentence that says all that, and what to do.
    """

    layer: str | None
    rule: str
    value: float
    epochs: int
    text: str

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


Values = list[tuple[int, float | None]]  # (epoch, value), ascending; None where the rule does not apply


class Rule(NamedTuple):
    """When to say what.

    Attributes:
        name: in records.
        when: the condition in words, for the documentation.
        values: of a layer, or of the network where ``layerwise`` is False.
        holds: whether a value is a bad one.
        epochs: how many bad ones in a row are worth saying.
        text: what to say, a format string of value, percent (100 value) and ``for_epochs``.
    """

    name: str
    when: str
    values: Callable[[Course, str], Values]
    holds: Callable[[float], bool]
    epochs: int
    text: str
    layerwise: bool = True


def _number(name: str) -> Callable[[Course, str], Values]:
    """The values of one of ``NUMBERS``."""

    def values(course: Course, layer: str) -> Values:
        return list(zip(course.numbers.epochs, getattr(course.numbers.layers[layer], name), strict=True))

    return values


def _flips(course: Course, layer: str) -> Values:
    """Flips where signs are meant to flip: in layers of some size, while the learning rate is not low."""
    if course.numbers.layers[layer].weights < FEW_WEIGHTS:
        return []
    high, highest = set(), 0.0
    for row in course.history:
        rate = _usable(row.get("lr")) or 0.0
        highest = max(highest, rate)
        if rate >= LOW_RATE * highest:
            high.add(row["epoch"])
    return [(epoch, value if epoch in high else None) for epoch, value in _number("flipped")(course, layer)]


def _drift(name: str) -> Callable[[Course, str], Values]:
    """A scale as a multiple of what it started from."""

    def values(course: Course, layer: str) -> Values:
        found, start = _number(name)(course, layer), getattr(course.numbers.layers[layer], f"start_{name}")
        if start is None:  # the run went on from a checkpoint that did not have it
            start = next((value for _, value in found if value is not None), None)
        return [(epoch, value / start if start and value is not None else None) for epoch, value in found]

    return values


def _gap(course: Course, layer: str) -> Values:
    """By how much the score on the test images is below the guide's, near the end of the run."""
    if course.guide is None or not course.share:
        return []
    last = [row for row in course.history if row["epoch"] > (1 - PART) * course.planned]
    scores = [(row["epoch"], _usable(row.get(f"test_{course.score}"))) for row in last]
    return [(epoch, course.guide - score) for epoch, score in scores if score is not None]


RULES = (
    Rule(
        "no-flips",
        "fewer than 0.01% of the signs flip in an epoch, while the learning rate is at least a tenth of its peak",
        _flips,
        lambda share: share < 1e-4,
        5,
        "{percent:.1f}% of signs flipped {for_epochs}: raise the learning rate or check the estimator",
    ),
    Rule(
        "restless-signs",
        "at least 30% of the signs flip in an epoch (50% would be chance)",
        _number("flipped"),
        lambda share: share >= 0.3,
        5,
        "{percent:.0f}% of signs flipped {for_epochs}, where 50% would be chance: lower the learning rate or "
        "latent_decay",
    ),
    Rule(
        "dead-latents",
        "at least 90% of the latent weights are outside the window of the estimator",
        _number("outside"),
        lambda share: share >= 0.9,
        3,
        "{percent:.1f}% of latent weights get no gradient, outside the window of the estimator, {for_epochs}: "
        "start from smaller weights, or take an estimator with a wider window",
    ),
    Rule(
        "dead-inputs",
        "at least 98% of the inputs are outside the window of their estimator",
        _number("inputs_outside"),
        lambda share: share >= 0.98,
        3,
        "{percent:.1f}% of inputs pass no gradient on, outside the window of the estimator, {for_epochs}: "
        "put a norm before the layer, or take an estimator with a wider window",
    ),
    Rule(
        "saturated-thresholds",
        "in at least a quarter of the input channels, more than 99.9% of the values are on one side of the threshold",
        _number("constant"),
        lambda share: share >= 0.25,
        3,
        "{percent:.0f}% of input channels have one value for nearly all inputs {for_epochs}: check the norm before the "
        "layer, or lower the learning rate of its thresholds",
    ),
    Rule(
        "weight-scale-drift",
        "the mean scale of the weights is at least 30 times its start, or at most 1/30 of it",
        _drift("scale"),
        lambda ratio: not 1 / 30 < ratio < 30,
        5,
        "the scale of the weights has been {value:.2g} times its start {for_epochs}: lower the learning rate, that of "
        "learned scales by the setting lr_factors",
    ),
    Rule(
        "input-scale-drift",
        "the scale of the inputs is at least 30 times its start, or at most 1/30 of it",
        _drift("input_scale"),
        lambda ratio: not 1 / 30 < ratio < 30,
        5,
        "the scale of the inputs has been {value:.2g} times its start {for_epochs}: lower the learning rate, that of "
        "learned scales by the setting lr_factors",
    ),
    Rule(
        "guide-gap",
        "in the last tenth of the epochs, the score on the test images is at least 10 points below the teacher's",
        _gap,
        lambda gap: gap >= 0.1,
        1,
        "the score on the test images has been {percent:.1f} points below the guide's {for_epochs}, near the end of "
        "training: train longer, or take a wider network",
        layerwise=False,
    ),
)


def findings(course: Course) -> list[Finding]:
    """What is not as it should be, rule by rule; of a rule that has held twice, the later time."""
    found = []
    for rule in RULES:
        for layer in course.numbers.layers if rule.layerwise else [None]:
            values = rule.values(course, layer or "")
            if finding := _finding(rule, layer, [(e, v) for e, v in values if v is not None]):
                found.append(finding)
    return found


def new_findings(course: Course) -> list[Finding]:
    """Those that do not yet hold before the last epoch."""
    last = course.history[-1]["epoch"]
    known = {(finding.layer, finding.rule) for finding in findings(course.before(last))}
    return [finding for finding in findings(course) if (finding.layer, finding.rule) not in known]


def _finding(rule: Rule, layer: str | None, values: Sequence[tuple[int, float]]) -> Finding | None:
    """The last of the times that ``rule`` holds for as long as it takes; None if it never does."""
    streaks = [list(streak) for bad, streak in groupby(values, lambda pair: rule.holds(pair[1])) if bad]
    streaks = [streak for streak in streaks if len(streak) >= rule.epochs]
    if not streaks:
        return None
    streak = streaks[-1]
    count, (epoch, value) = len(streak), streak[-1]
    for_epochs = f"for {count} epoch{'s' * (count > 1)}" + (f" (until epoch {epoch})" if epoch < values[-1][0] else "")
    text = rule.text.format(value=value, percent=100 * value, for_epochs=for_epochs)
    return Finding(layer, rule.name, value, count, text if layer is None else f"{layer}: {text}")


def in_words(found: Sequence[Finding]) -> list[str]:
    """The sentences, fewer than there are findings where a rule holds in many layers."""
    lines = []
    for _, group in groupby(found, lambda finding: finding.rule):
        same = list(group)
        shown = same if len(same) <= FEW_LAYERS else same[:1]
        lines += [finding.text for finding in shown]
        if len(shown) < len(same):
            lines[-1] += f" (and so in {len(same) - 1} other layers)"
    return lines


def _rounded(value: float | None) -> float | None:
    """Four digits: more would only make the record longer.  None where it is not finite."""
    return None if value is None or not math.isfinite(value) else float(f"{value:.4g}")


def _usable(value: float | None) -> float | None:
    """A number of a history, which may come from a file; None where there is none to compute with."""
    return value if value is not None and abs(value) < 1e30 else None
