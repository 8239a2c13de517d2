"""Small settings that train in a second."""

import pytest

from onebit.train import TrainSettings


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
