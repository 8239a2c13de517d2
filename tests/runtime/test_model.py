"""The face of a packed network: what calling it gives, labels, layouts, copies, and what is refused."""

import copy
import multiprocessing
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import onebit
from onebit.format.file import save_graph
from onebit.format.graph import Graph, InputSpec, Node
from onebit.runtime.model import Model
from onebit.runtime.selftest import small_network

GOLDEN = Path(__file__).parents[1] / "golden" / "small-v1.onebit"


def passes_through(height: int, width: int, channels: int, classes: tuple[str, ...] | None = None) -> Model:
    """A network that gives its input back."""
    node = Node("n", "elementwise", ("image",), epilogue=({"step": "store", "output": "y"},))
    spec = InputSpec(height, width, channels, (0.0,) * channels, (1.0,) * channels, "other")
    return Model(Graph(spec, (node,), "y", {}, classes))


def classifier(*labels: str) -> Model:
    """A network that takes one pixel, whose channels are its logits."""
    return passes_through(1, 1, len(labels), labels)


def floats(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("backend", ["native", "reference"])
@pytest.mark.parametrize(
    "network",
    [
        nn.Sequential(nn.Conv2d(3, 5, 3), nn.ReLU(), nn.Flatten(), nn.Linear(5 * 4 * 5, 7)),
        nn.Sequential(nn.Conv2d(3, 5, 3), nn.ReLU(), nn.Conv2d(5, 2, 1)),
        nn.Sequential(nn.Conv2d(3, 5, 3), nn.Flatten()),
        nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 1)),
        nn.Sequential(nn.Conv2d(3, 5, 3), nn.AdaptiveAvgPool2d(1)),
        nn.Sequential(nn.Conv2d(3, 5, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()),
    ],
    ids=["vector", "map", "flattened map", "one output", "map of one pixel", "its vector"],
)
def test_a_call_returns_what_the_torch_module_returns(network, backend, tmp_path):
    """Of a batch and of one image, floats and pixels; no softmax on anything."""
    torch.manual_seed(0)
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=3)
    onebit.pack(network.eval(), (3, 6, 7)).save(tmp_path / "net.onebit")
    model = onebit.load(tmp_path / "net.onebit", backend=backend)
    pixels = np.random.default_rng(0).integers(0, 256, (3, 6, 7, 3), np.uint8)
    x_BCHW = torch.from_numpy(pixels).permute(0, 3, 1, 2) / 255
    with torch.no_grad():
        want = network(x_BCHW).numpy()
    for given in (pixels, x_BCHW.numpy()):
        got = model(given)
        assert (got.dtype, got.shape, got.flags.c_contiguous) == (np.float32, want.shape, True)
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-4 * np.abs(want).max())
        np.testing.assert_allclose(model(given[1]), got[1], rtol=1e-5, atol=1e-5 * np.abs(want).max())


class TestClassify:
    def test_softmax_with_labels_in_order(self):
        found = classifier("cat", "dog", "cow").classify(np.float32([[[1.0]], [[3.0]], [[2.0]]]))
        assert [label for label, _ in found] == ["dog", "cow", "cat"]
        want = torch.softmax(torch.tensor([3.0, 2.0, 1.0]), 0).tolist()
        assert [p.probability for p in found] == pytest.approx(want)
        assert found[0].label == "dog"

    def test_large_logits_do_not_overflow(self):
        found = classifier("a", "b").classify(np.float32([[[3e38]], [[-3e38]]]))
        assert found == [("a", 1.0), ("b", 0.0)]

    @pytest.mark.parametrize(("logit", "best", "probability"), [(2.0, "yes", 0.880797), (-3.0, "no", 0.952574)])
    def test_one_logit_with_two_labels_is_a_sigmoid(self, logit, best, probability):
        found = passes_through(1, 1, 1, ("no", "yes")).classify(np.float32([[[logit]]]))
        assert found[0] == (best, pytest.approx(probability, abs=1e-6))
        assert sum(p for _, p in found) == pytest.approx(1)

    def test_two_labels_of_one_logit_come_back_from_the_file(self, tmp_path):
        graph = passes_through(1, 1, 1, ("no", "yes")).graph
        save_graph(graph, tmp_path / "a.onebit")
        assert onebit.load(tmp_path / "a.onebit").classes == ("no", "yes")

    def test_a_map_of_one_pixel_has_classes_too(self):
        graph = replace(classifier("a", "b").graph, output_is_map=True)
        assert Model(graph)(np.float32([[[0.0]], [[0.0]]])).shape == (2, 1, 1)
        assert Model(graph).classify(np.float32([[[0.0]], [[0.0]]])) == [("a", 0.5), ("b", 0.5)]

    @pytest.mark.parametrize(
        ("shape", "labels", "message"),
        [
            ((1, 1, 3), None, r"no class labels; .*raw outputs, or pack it with classes=\[\.\.\.\]"),
            ((1, 1, 1), ("defect",), r"one output .*classes=\[negative, positive\]"),
            ((1, 2, 1), ("a", "b"), r"gives a map of shape \(1, 2, 1\)"),
        ],
        ids=["no labels", "one label", "map"],
    )
    def test_networks_without_classes_say_so(self, shape, labels, message):
        with pytest.raises(ValueError, match=message):
            passes_through(*shape, labels).classify(floats(*shape))

    def test_one_image_at_a_time(self):
        with pytest.raises(ValueError, match="classify takes one image, got a batch of 2"):
            classifier("a", "b").classify(floats(2, 2, 1, 1))

    def test_outputs_that_are_not_finite_have_no_probabilities(self):
        steps = (*({"step": "affine", "scale": "s", "bias": "b"},) * 2, {"step": "store", "output": "y"})
        tensors = {"s": np.full(2, 3e38, np.float32), "b": np.zeros(2, np.float32)}
        node = Node("n", "elementwise", ("image",), epilogue=steps)
        model = Model(Graph(InputSpec(1, 1, 2, (0.0,) * 2, (1.0,) * 2, "other"), (node,), "y", tensors, ("a", "b")))
        with pytest.raises(ValueError, match="outputs are NaN or infinite"):
            model.classify(np.float32([[[1.0]], [[1.0]]]))


class TestCopies:
    """A copy carries the network and the options, and computes alone."""

    def image(self) -> np.ndarray:
        return np.random.default_rng(0).integers(0, 256, (9, 9, 3), np.uint8)

    @pytest.mark.parametrize("copied", [copy.deepcopy, copy.copy, lambda model: pickle.loads(pickle.dumps(model))])
    @pytest.mark.parametrize("options", [{}, {"threads": 2, "isa": "portable"}, {"backend": "reference"}])
    def test_copies_answer_alike_after_the_original_is_gone(self, copied, options):
        model = onebit.load(GOLDEN, **options)
        want, said = model(self.image()), repr(model)
        other = copied(model)
        assert other.engine is not model.engine
        del model
        assert repr(other) == said
        assert np.array_equal(other(self.image()), want)

    def test_another_process(self):
        model = onebit.load(GOLDEN)
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            got = pool.apply(model, (self.image(),))
        assert np.array_equal(got, model(self.image()))


def test_repr_says_what_it_takes_gives_and_how_it_runs():
    model = Model(small_network(), threads=2, isa="portable")
    assert repr(model) == "<onebit.Model 3x9x9 -> 5 features, 7 nodes, native, portable, threads=2>"
    model = Model(passes_through(4, 5, 3).graph, backend="reference")
    assert repr(model) == "<onebit.Model 3x4x5 -> 3x4x5, 1 nodes, reference>"
    assert "-> 2 features, 2 classes" in repr(classifier("a", "b"))


def test_floats_are_taken_in_either_layout():
    x_BCHW = floats(2, 3, 4, 5)
    model = passes_through(4, 5, 3)
    assert np.array_equal(model(x_BCHW), x_BCHW)
    assert np.array_equal(model(x_BCHW.transpose(0, 2, 3, 1)), x_BCHW)
    assert np.array_equal(model(x_BCHW[0]), x_BCHW[0])


def test_floats_are_channels_first_where_both_would_fit():
    x_BCHW = floats(2, 3, 3, 3)
    assert np.array_equal(passes_through(3, 3, 3)(x_BCHW), x_BCHW)


def test_gray_pixels_need_no_channel_axis():
    model = passes_through(4, 4, 1)
    assert model(np.zeros((4, 4), np.uint8)).shape == (1, 4, 4)
    for count in (1, 2):
        assert model(np.zeros((count, 4, 4), np.uint8)).shape == (count, 1, 4, 4)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.zeros((3, 4, 4), np.float32), "images have shape"),
        (np.zeros((0, 4, 5, 3), np.float32), "images have shape"),
        (np.zeros((4, 5, 3), np.int64), "images have dtype int64"),
        (np.full((4, 5, 3), np.inf, np.float32), "NaN or infinity"),
    ],
)
def test_mistakes(images, message):
    with pytest.raises(ValueError, match=message):
        passes_through(4, 5, 3)(images)


@pytest.mark.parametrize("settings", [{"threads": 0}, {"threads": True}, {"backend": "cuda"}, {"isa": "sse9"}])
def test_bad_settings(settings):
    graph = passes_through(4, 5, 3).graph
    with pytest.raises(ValueError, match=r"threads|backend|sse9"):
        Model(graph, **settings)
