"""Classification: its criterion, its scores, and that classes are told by their names."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from onebit.data import DATASETS, MemorySet
from onebit.runtime.model import Model
from onebit.runtime.selftest import small_network
from onebit.tasks import TASKS, Metric, Mixed
from onebit.tasks.classification import Classification


class Corner(nn.Module):
    """Logits that depend on the first pixel alone: class ``c`` where it is ``25 c`` to ``25 c + 24``."""

    def __init__(self, classes=10):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(255.0))
        self.classes = classes

    def forward(self, x):
        level = (x[:, :1, 0, 0] * self.scale / 25).floor()
        return -(level - torch.arange(self.classes)).abs()


@pytest.fixture
def data():
    """20 test images, of which :class:`Corner` gets 15 right: all but those of class 9 and one of class 3."""
    plain = DATASETS["random16"]()
    labels = torch.arange(20) % 9
    labels[18:] = 9
    images = torch.zeros(20, 3, 32, 32, dtype=torch.uint8)
    images[:, 0, 0, 0] = (25 * labels + 3).to(torch.uint8)
    images[:, 0, 0, 0][labels == 9] = 0
    images[3, 0, 0, 0] = 0
    spec = replace(plain.input, mean=(0.0,) * 3, std=(1.0,) * 3)
    return replace(plain, test=MemorySet(images, labels), input=spec)


def test_scores_by_hand(data):
    task = Classification()
    network = Corner().train()
    scores = task.evaluate(network, data, task.describe(data), batch_size=7)
    assert network.training
    assert (scores.examples, scores.values["accuracy"]) == (20, 17 / 20)
    assert scores.details["class_accuracy"] == {**dict.fromkeys("0123456789", 1.0), "3": 0.5, "9": 0.0}
    with torch.no_grad():
        logits = network(data.test.images_NCHW / 255)
    assert scores.values["loss"] == pytest.approx(F.cross_entropy(logits, data.test.labels_N).item(), rel=1e-5)


def test_a_class_without_images_has_no_accuracy(data):
    task = Classification()
    few = replace(data, test=MemorySet(data.test.images_NCHW[:2], data.test.labels_N[:2]))
    found = task.evaluate(Corner(), few, task.describe(few)).details["class_accuracy"]
    assert [found[name] for name in "012"] == [1.0, 1.0, None]


def renamed(monkeypatch, data, classes, labels=None):
    """``random16`` reads ``data`` with other names, and other labels for them."""
    test = data.test if labels is None else MemorySet(data.test.images_NCHW, labels)
    other = replace(data, classes=tuple(classes), test=test)
    monkeypatch.setitem(DATASETS._items, "random16", lambda *_, **__: other)


def test_classes_in_another_order_are_told_by_their_names(data, monkeypatch):
    task = Classification()
    description = task.describe(data)
    want = task.evaluate(Corner(), data, description)
    renamed(monkeypatch, data, "9876543210", 9 - data.test.labels_N)
    found = task.evaluate(Corner(), task.load_for(description, "random16", None), description)
    assert found == want


def test_some_of_the_classes_are_enough(data, monkeypatch):
    task = Classification()
    images, labels = data.test.images_NCHW, data.test.labels_N
    chosen = labels == 4
    four = replace(data, test=MemorySet(images[chosen], torch.zeros(2, dtype=torch.int64)))
    renamed(monkeypatch, four, "4")
    found = task.evaluate(Corner(), task.load_for(task.describe(data), "random16", None), task.describe(data))
    assert (found.examples, found.values["accuracy"]) == (2, 1.0)


def test_other_classes_are_refused_by_name(data, monkeypatch):
    task = Classification()
    renamed(monkeypatch, data, ["0", "1", "zebra", "okapi", *"456789"])
    with pytest.raises(ValueError, match=r"has classes that the network does not know: 'zebra', 'okapi'; its own are"):
        task.load_for(task.describe(data), "random16", None)


def test_a_network_without_names_must_have_as_many_classes(data, monkeypatch):
    task = Classification()
    description = task.describe(data) | {"classes": None}
    renamed(monkeypatch, data, "0123456789")
    assert task.evaluate(Corner(), task.load_for(description, "random16", None), description).values["accuracy"] == 0.85
    renamed(monkeypatch, data, "01234567")
    with pytest.raises(ValueError, match=r"the network has 10 classes, which it does not name, but .* has 8"):
        task.load_for(description, "random16", None)


def test_the_description_of_a_packed_network():
    task = Classification()
    graph = small_network()
    description = task.description_of(graph)
    task.check(description | {"classes": ["a"] * 5})
    assert (description["num_classes"], description["in_channels"]) == (5, 3)
    assert description["input"]["size"] == 9
    images = np.random.default_rng(0).integers(0, 256, (4, 3, 9, 9), dtype=np.uint8)
    labels = torch.from_numpy(Model(graph)(images.transpose(0, 2, 3, 1)).argmax(1))
    data = replace(DATASETS["random16"](), test=MemorySet(torch.from_numpy(images), labels), classes=tuple("abcde"))
    assert task.evaluate_packed(Model(graph), data, description).values["accuracy"] == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_classes": 9}, "field 'classes' must be a list of 9, each a string"),
        ({"num_classes": True}, "field 'num_classes' must be an integer from 1, got True"),
        ({"in_channels": 0}, "field 'in_channels' must be an integer from 1, got 0"),
        ({"classes": "0123456789"}, "field 'classes' must be a list"),
        ({"input": None}, "field 'input' must be an object, got None"),
        ({"input": {"size": 8}}, r"field 'input\.mean' is missing; it must be a list of 3, each a finite number"),
    ],
)
def test_what_is_no_description_is_refused_by_field(data, change, message):
    task = Classification()
    task.check(task.describe(data))
    with pytest.raises(ValueError, match=message):
        task.check(task.describe(data) | change)


def test_label_smoothing_is_an_option_of_the_task():
    logits, labels = torch.randn(4, 10, generator=torch.Generator().manual_seed(0)), torch.arange(4)
    losses = TASKS["classification"](label_smoothing=0.3).losses(logits, labels)
    assert losses["cross_entropy"] == F.cross_entropy(logits, labels, label_smoothing=0.3)
    with pytest.raises(ValueError, match="label_smoothing must be from 0 to below 1, got 1"):
        Classification(label_smoothing=1)


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_the_loss_of_mixed_images_is_that_of_their_mixed_labels(smoothing):
    logits, first = torch.randn(5, 10, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 1, 2, 3, 4])
    targets = Mixed(first, second=torch.tensor([3, 1, 0, 2, 9]), share=0.7)
    task = Classification(label_smoothing=smoothing)
    mixture = 0.7 * F.one_hot(targets.first, 10) + 0.3 * F.one_hot(targets.second, 10)
    expected = F.cross_entropy(logits, mixture, label_smoothing=smoothing)
    torch.testing.assert_close(task.losses(logits, targets)["cross_entropy"], expected)
    assert task.training_scores(logits, targets) == {}
    assert task.training_scores(logits, first)


@pytest.mark.parametrize(("lost", "too_much"), [(0, False), (1, False), (2, True), (-5, False)])
def test_images_lost_to_coarser_numbers_are_counted(lost, too_much):
    told, refused = Classification().loss_of_precision({"accuracy": 0.9}, {"accuracy": 0.9 - lost / 500}, 500)
    assert refused == too_much
    assert told == f"{abs(lost)} images {'lost' if lost >= 0 else 'won'}, allowed to be lost: 1"


def test_answers_that_are_no_numbers_are_not_the_same():
    one = np.float32([[1, 0], [0, 1], [math.nan, 0], [1, 0]])
    other = np.float32([[2, 0], [1, 0], [math.nan, 0], [math.inf, 0]])
    assert Classification().same_answer(one, other).tolist() == [True, False, False, False]


def test_metrics_know_which_way_is_better():
    high, low, nan = Metric("a"), Metric("b", higher_is_better=False), math.nan
    assert high.better(2, than=1)
    assert not high.better(1, than=1)
    assert low.better(1, than=2)
    assert [high.better(nan, than=0), high.better(0, than=nan), high.better(nan, than=nan)] == [False, True, False]
    assert (high.change(3, 2), low.change(3, 2), Metric("c", share=True).change(0.5, 0.25)) == (
        "1 lost",
        "1 won",
        "25.00 points lost",
    )
