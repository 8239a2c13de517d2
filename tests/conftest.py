"""What holds for all tests."""

import pytest
import torch


@pytest.fixture(autouse=True)
def _one_thread():
    """Small networks are quicker on one thread, and results do not depend on the machine's load."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
