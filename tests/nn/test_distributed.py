"""Binary layers under DistributedDataParallel: the wrapped model gives the gradients of the plain one."""

from datetime import timedelta

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from onebit.nn import BinaryConv2d, BinaryLinear


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


def test_gradients(group):
    x = torch.randn(4, 3, 4, 4, generator=torch.Generator().manual_seed(1))
    plain, wrapped = make(), DistributedDataParallel(make())
    plain(x).square().mean().backward()
    wrapped(x).square().mean().backward()
    for ours, theirs in zip(plain.parameters(), wrapped.module.parameters(), strict=True):
        torch.testing.assert_close(theirs.grad, ours.grad)
