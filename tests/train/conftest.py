"""Small settings that train in a second."""

import pytest
import torch

from onebit.train import TrainSettings


@pytest.fixture(autouse=True)
def _one_thread():
    """Small networks are quicker on one thread, and results do not depend on the machine's load."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def tiny():
    """The smallest VGG on the 8x8 digits, augmented: 3 epochs of 11 steps."""
    return TrainSettings(
        model="vgg-small",
        model_options={"width": 0.0625},
        dataset="digits",
        augment="shift-rotate",
        epochs=3,
        batch_size=128,
        lr=5e-3,
        warmup=0.1,
        scale_decay=1e-4,
        compile=False,
    )
