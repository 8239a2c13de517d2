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
