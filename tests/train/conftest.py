"""Small settings that train in a second."""

import signal

import pytest

from onebit.train import Interrupted, TrainSettings, train
from onebit.train.step import Step


@pytest.fixture(scope="session")
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


@pytest.fixture(scope="session")
def teacher(tmp_path_factory):
    """The folder of a run of one step: a float ResNet-20 of 8 channels on the digits."""
    out = tmp_path_factory.mktemp("teacher") / "run"
    settings = TrainSettings(
        model="resnet20",
        model_options={"width": 0.125},
        scheme="float",
        dataset="digits",
        epochs=1,
        max_steps=1,
        batch_size=128,
        lr=1e-3,
        compile=False,
    )
    train(settings, out, show=False)
    return str(out)


@pytest.fixture(scope="session")
def interrupted():
    """A function that trains like ``train``, quietly, and gets SIGINT in the step with the number ``step``."""
    original = Step.__call__

    def run(settings, out, step=1, **options):
        def call(self, *arguments):
            if self.state.step == step:
                signal.raise_signal(signal.SIGINT)
            return original(self, *arguments)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Step, "__call__", call)
            with pytest.raises(Interrupted):
                train(settings, out, show=False, **options)

    return run
