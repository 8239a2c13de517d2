"""The rules of training health: each fires on its disease, at its time, and on nothing else."""

import copy
import json
from pathlib import Path

import pytest

from onebit.report.health import RULES, Course, LayerNumbers, findings, in_words, new_findings

EPOCHS = 20
HEALTHY = {
    "weights": 2304,
    "flipped": 0.05,
    "outside": 0.6,
    "scale": 0.05,
    "input_scale": 1.0,
    "inputs_outside": 0.7,
    "constant": 0.05,
}


def course(sick=None, *, epochs=EPOCHS, planned=EPOCHS, lr=lambda epoch: 0.1, guide=None, start=HEALTHY, score=0.9):
    """A run of two layers; ``sick`` changes the numbers of one of them: epoch -> numbers."""
    numbers = LayerNumbers()
    numbers.begin({"one": start, "two": start})
    for epoch in range(1, epochs + 1):
        numbers.add(epoch, {"one": HEALTHY, "two": HEALTHY | (sick(epoch) if sick else {})})
    scores = {"test_accuracy": score}
    history = [{"epoch": e, "lr": lr(e), **scores} for e in range(1, epochs + 1)]
    return Course(history, numbers, planned, "accuracy", True, guide)


def test_a_healthy_run_has_no_findings():
    assert findings(course()) == []
    assert findings(course(guide=0.95)) == []
    assert findings(Course([], LayerNumbers(), 3, "accuracy", True)) == []


def always(**numbers):
    return lambda epoch: numbers


# rule: (what is as bad as it may be, what is just not, how many epochs it takes, its words)
LAYERS = {
    "no-flips": (
        {"flipped": 0.00009},
        {"flipped": 0.0001},
        5,
        "two: 0.0% of signs flipped for 5 epochs: raise the learning rate or check the estimator",
    ),
    "restless-signs": (
        {"flipped": 0.3},
        {"flipped": 0.29},
        5,
        "two: 30% of signs flipped for 5 epochs, where 50% would be chance: lower the learning rate or latent_decay",
    ),
    "dead-latents": (
        {"outside": 0.9},
        {"outside": 0.89},
        3,
        "two: 90.0% of latent weights get no gradient, outside the window of the estimator, for 3 epochs: start from "
        "smaller weights, or take an estimator with a wider window",
    ),
    "dead-inputs": (
        {"inputs_outside": 0.98},
        {"inputs_outside": 0.97},
        3,
        "two: 98.0% of inputs pass no gradient on, outside the window of the estimator, for 3 epochs: put a norm "
        "before the layer, or take an estimator with a wider window",
    ),
    "saturated-thresholds": (
        {"constant": 0.25},
        {"constant": 0.24},
        3,
        "two: 25% of input channels have one value for nearly all inputs for 3 epochs: check the norm before the "
        "layer, or lower the learning rate of its thresholds",
    ),
    "weight-scale-drift": (
        {"scale": 1.5},
        {"scale": 1.49},
        5,
        "two: the scale of the weights has been 30 times its start for 5 epochs: lower the learning rate, that of "
        "learned scales by the setting lr_factors",
    ),
    "input-scale-drift": (
        {"input_scale": 0.0333},
        {"input_scale": 0.0334},
        5,
        "two: the scale of the inputs has been 0.033 times its start for 5 epochs: lower the learning rate, that of "
        "learned scales by the setting lr_factors",
    ),
}


def test_every_rule_is_tried_and_documented():
    assert [rule.name for rule in RULES] == [*LAYERS, "guide-gap"]
    page = (Path(__file__).parents[2] / "docs" / "training.md").read_text()
    rows = "\n".join(f"| `{rule.name}` | {rule.when} | {rule.epochs} |" for rule in RULES)
    assert f"| rule | condition | epochs in a row |\n|---|---|---|\n{rows}\n" in page


@pytest.mark.parametrize("name", LAYERS)
def test_a_rule_fires_on_its_disease_alone(name):
    bad, good, epochs, words = LAYERS[name]
    (found,) = findings(course(always(**bad), epochs=epochs))
    assert (found.layer, found.rule, found.epochs, found.text) == ("two", name, epochs, words)
    assert found.as_json().keys() == {"layer", "rule", "value", "epochs", "text"}
    assert json.loads(json.dumps(found.as_json())) == found.as_json()
    assert findings(course(always(**good))) == []
    assert findings(course(always(**bad), epochs=epochs - 1)) == []
    assert findings(course(lambda epoch: good if epoch % epochs == 0 else bad)) == []  # never long enough
    assert findings(course(lambda epoch: bad | dict.fromkeys(bad))) == []  # not measured


@pytest.mark.parametrize("name", LAYERS)
def test_a_finding_is_new_once_and_stays_in_the_record(name):
    bad, good, epochs, _ = LAYERS[name]

    def sick(epoch):
        return bad if 3 <= epoch < 3 + epochs + 2 else good

    new = [[each.rule for each in new_findings(course(sick, epochs=epoch))] for epoch in range(1, EPOCHS)]
    assert new == [[name] if epoch == 2 + epochs else [] for epoch in range(1, EPOCHS)]
    (found,) = findings(course(sick))
    assert found.epochs == epochs + 2
    assert f"for {epochs + 2} epochs (until epoch {epochs + 4})" in found.text


def test_signs_may_settle_as_the_learning_rate_goes_down():
    still = always(flipped=0.0)
    assert findings(course(still, lr=lambda epoch: 0.1 if epoch < 5 else 0.0099)) == []
    assert findings(course(still, lr=lambda epoch: 0.1 if epoch < 6 else 0.0099))[0].epochs == 5
    assert findings(course(still, lr=lambda epoch: 0.0))[0].rule == "no-flips"
    assert findings(course(still, lr=lambda epoch: 0.1 * epoch))[0].rule == "no-flips"  # warm-up
    assert findings(course(lambda epoch: {"flipped": 0.0, "weights": 255}, start=HEALTHY | {"weights": 255})) == []


def test_scales_without_a_start_are_compared_with_the_first_one():
    unknown = HEALTHY | {"scale": None}
    assert findings(course(always(scale=2.0), start=unknown)) == []
    (found,) = findings(course(lambda epoch: {"scale": 0.05 if epoch < 4 else 2.0}, start=unknown))
    assert found.value == 40


def test_the_guide():
    (found,) = findings(course(guide=0.95, score=0.84))
    assert (found.layer, found.rule, found.epochs) == (None, "guide-gap", 2)
    assert found.text == (
        "the score on the test images has been 11.0 points below the guide's for 2 epochs, near the end of training: "
        "train longer, or take a wider network"
    )
    assert findings(course(guide=0.95, score=0.86)) == []
    assert findings(course(guide=0.95, score=0.1, epochs=18)) == []  # it may still learn
    assert findings(course(guide=0.95, score=None)) == []
    far = course(guide=0.95, score=0.1)
    assert findings(Course(far.history, far.numbers, far.planned, "accuracy", False, 0.95)) == []


def test_one_line_for_many_layers():
    numbers = LayerNumbers()
    for epoch in range(1, 6):
        numbers.add(epoch, {f"layer {i}": HEALTHY | {"flipped": 0.0} for i in range(4)})
    found = findings(Course(course().history, numbers, EPOCHS, "accuracy", True))
    assert len(found) == 4
    (line,) = in_words(found)
    assert line == f"{found[0].text} (and so in 3 other layers)"
    assert in_words(found[:3]) == [finding.text for finding in found[:3]]


def test_a_history_from_a_file_may_hold_anything_that_is_a_number():
    for odd in (None, 10**400, float("nan"), float("inf")):
        history = [{"epoch": epoch, "lr": odd, "test_accuracy": odd} for epoch in range(1, EPOCHS + 1)]
        numbers = course(always(scale=float("nan"), flipped=0.0)).numbers
        (found,) = findings(Course(history, numbers, EPOCHS, "accuracy", True, 0.9))
        assert found.rule == "no-flips"


class TestOnDisk:
    def test_there_and_back(self):
        numbers = course(always(flipped=1 / 3, constant=None)).numbers
        again = LayerNumbers.from_json(json.loads(json.dumps(numbers.as_json())))
        assert again == numbers
        assert again.layers["two"].flipped[0] == 0.3333

    @pytest.mark.parametrize(
        ("path", "value", "said"),
        [
            ((), [], "field 'layers' must be an object"),
            (("epochs",), [2, 1], "field 'layers.epochs' must be ascending"),
            (("epochs",), [1, 2], r"field 'layers\.layers\.one\.flipped' must be a list of 2"),
            (("layers", "one"), 3, r"field 'layers\.layers\.one' must be an object"),
            (("layers", "one", "weights"), -1, r"weights' must be an integer"),
            (("layers", "one", "flipped"), ["x"], r"flipped' must be a list of 1, each a finite number or null"),
            (("layers", "one", "scale"), [10**400], r"scale' must be a list of 1, each a finite number or null"),
            (("layers", "one", "start_scale"), "x", r"start_scale' must be a finite number or null"),
        ],
    )
    def test_what_is_damaged(self, path, value, said):
        document = copy.deepcopy({"x": course(epochs=1).numbers.as_json()})
        *way, last = ("x", *path)
        inner = document
        for name in way:
            inner = inner[name]
        inner[last] = value
        with pytest.raises(ValueError, match=said):
            LayerNumbers.from_json(document["x"])
