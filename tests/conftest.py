"""What holds for all tests."""

import os

# Small networks are quicker on one thread, and two workers on two cores leave no core for a second one, which would
# wait by spinning. Before NumPy and torch are imported, for the processes that tests start too.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import pytest
import torch

torch.set_num_threads(1)  # before any fixture, those of modules too


@pytest.fixture(autouse=True)
def _one_thread():
    """Whatever a test sets, the next one starts with one thread."""
    yield
    torch.set_num_threads(1)


@pytest.fixture(autouse=True, scope="session")
def _one_curve():
    """The curve of a run takes as long as the short trainings here: one is drawn, and the next ones are the same."""
    from onebit.train import recorder

    drawn = []

    def curve_png(*arguments, **options):
        if not drawn:
            drawn.append(original(*arguments, **options))
        return drawn[0]

    with pytest.MonkeyPatch.context() as patch:
        original = recorder.curve_png
        patch.setattr(recorder, "curve_png", curve_png)
        yield
