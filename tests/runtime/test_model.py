"""The face of a packed network: layouts, single images and batches, maps, and what is refused."""

import numpy as np
import pytest

from onebit.format.graph import Graph, InputSpec, Node
from onebit.runtime.model import Model


def passes_through(height: int, width: int, channels: int) -> Model:
    """A network that gives its input back."""
    node = Node("n", "elementwise", ("image",), epilogue=({"step": "store", "output": "y"},))
    spec = InputSpec(height, width, channels, (0.0,) * channels, (1.0,) * channels, "other")
    return Model(Graph(spec, (node,), "y", {}))


def test_a_map_comes_channel_by_channel():
    x_BCHW = np.random.default_rng(0).standard_normal((2, 3, 4, 5)).astype(np.float32)
    model = passes_through(4, 5, 3)
    want = x_BCHW.reshape(2, -1)
    assert np.array_equal(model.logits(x_BCHW), want)
    assert np.array_equal(model.logits(x_BCHW.transpose(0, 2, 3, 1)), want)
    assert np.array_equal(model.logits(x_BCHW[0]), want[0])
    with pytest.raises(ValueError, match="gives a map of"):
        model(x_BCHW)


def test_floats_are_channels_first_where_both_would_fit():
    x_BCHW = np.random.default_rng(0).standard_normal((2, 3, 3, 3)).astype(np.float32)
    assert np.array_equal(passes_through(3, 3, 3).logits(x_BCHW), x_BCHW.reshape(2, -1))


def test_gray_pixels_need_no_channel_axis():
    model = passes_through(4, 4, 1)
    assert model.logits(np.zeros((4, 4), np.uint8)).shape == (16,)
    for count in (1, 2):
        assert model.logits(np.zeros((count, 4, 4), np.uint8)).shape == (count, 16)


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
        passes_through(4, 5, 3).logits(images)


@pytest.mark.parametrize("settings", [{"threads": 0}, {"threads": True}, {"backend": "cuda"}, {"isa": "sse9"}])
def test_bad_settings(settings):
    graph = passes_through(4, 5, 3).graph
    with pytest.raises(ValueError, match=r"threads|backend|sse9"):
        Model(graph, **settings)
