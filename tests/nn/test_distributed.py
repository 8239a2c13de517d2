"""Binary layers under DistributedDataParallel: the wrapped model gives the gradients of the plain one."""

import copy
from datetime import timedelta

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from onebit.nn import WEIGHT_BINARIZERS, BinaryConv2d, BinaryLinear, set_real_weights


@pytest.fixture
def group(tmp_path):
    dist.init_process_group(
        "gloo", init_method=f"file://{tmp_path}/meet", rank=0, world_size=1, timeout=timedelta(seconds=30)
    )
    yield
    dist.destroy_process_group()


def make() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        BinaryConv2d(3, 4, 3, weight_binarizer="trained-scale", input_binarizer="trained-step"),
        nn.Flatten(),
        BinaryLinear(16, 2),
    )


@pytest.mark.parametrize("weights", WEIGHT_BINARIZERS)
def test_a_phase_of_real_weights(group, weights):
    """In the second step DistributedDataParallel asks for the gradients that were missing in the first."""
    torch.manual_seed(0)
    plain = nn.Sequential(BinaryConv2d(3, 4, 3, weight_binarizer=weights), nn.Flatten(), BinaryLinear(16, 2))
    set_real_weights(plain, True)
    wrapped = DistributedDataParallel(copy.deepcopy(plain))
    x = torch.randn(4, 3, 4, 4)
    for phase in (True, True, False, False):
        for model in (plain, wrapped):
            set_real_weights(model, phase)
            model.zero_grad()
            model(x).square().mean().backward()
        for ours, theirs in zip(plain.parameters(), wrapped.module.parameters(), strict=True):
            torch.testing.assert_close(theirs.grad, ours.grad)


def test_gradients(group):
    x = torch.randn(4, 3, 4, 4, generator=torch.Generator().manual_seed(1))
    plain, wrapped = make(), DistributedDataParallel(make())
    plain(x).square().mean().backward()
    wrapped(x).square().mean().backward()
    for ours, theirs in zip(plain.parameters(), wrapped.module.parameters(), strict=True):
        torch.testing.assert_close(theirs.grad, ours.grad)
