"""Binary layers under DistributedDataParallel: the wrapped model gives the gradients of the plain one."""

import subprocess
import sys
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


def test_gradients(group):
    x = torch.randn(4, 3, 4, 4, generator=torch.Generator().manual_seed(1))
    plain, wrapped = make(), DistributedDataParallel(make())
    plain(x).square().mean().backward()
    wrapped(x).square().mean().backward()
    for ours, theirs in zip(plain.parameters(), wrapped.module.parameters(), strict=True):
        torch.testing.assert_close(theirs.grad, ours.grad)


def network(weights: str) -> nn.Module:
    torch.manual_seed(0)
    first, last = BinaryConv2d(3, 4, 3, weight_binarizer=weights), BinaryLinear(16, 2, weight_binarizer=weights)
    return nn.Sequential(first, nn.BatchNorm2d(4), nn.Flatten(), last)


@pytest.mark.parametrize("weights", WEIGHT_BINARIZERS)
def test_stages_of_real_and_of_binary_weights(group, weights):
    """Learned scales are not used while weights are real; DistributedDataParallel would stop at that in step 2."""
    x = torch.randn(4, 3, 4, 4, generator=torch.Generator().manual_seed(1))
    plain, inner = network(weights), network(weights)
    wrapped = DistributedDataParallel(inner)
    for real in (True, True, False, False, True, True):
        for model, forward in ((plain, plain), (inner, wrapped)):
            set_real_weights(model, real)
            model.zero_grad()
            forward(x).square().mean().backward()
        for name, ours in plain.named_parameters():
            theirs = inner.get_parameter(name).grad
            if ours.grad is None:  # no part of the loss
                assert real
                assert "weight_binarizer" in name
                assert theirs is None or not theirs.any()
            else:
                torch.testing.assert_close(theirs, ours.grad, msg=name)


TWO = """
import sys
from datetime import timedelta
import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel
from onebit.nn import BinaryConv2d, set_real_weights

rank = int(sys.argv[1])
dist.init_process_group("gloo", init_method=f"file://{sys.argv[2]}", rank=rank, world_size=2,
                        timeout=timedelta(seconds=60))
torch.manual_seed(0)
layer = BinaryConv2d(3, 4, 3, weight_binarizer="trained-scale", input_binarizer="trained-step")
wrapped = DistributedDataParallel(layer)
x = torch.randn(4, 3, 4, 4, generator=torch.Generator().manual_seed(rank))
for real in (True, True, False, False):
    set_real_weights(layer, real)
    layer.zero_grad()
    wrapped(x).square().mean().backward()
    print(*(float(p.grad.sum()) for p in layer.parameters()))
dist.destroy_process_group()
"""


@pytest.mark.slow
def test_two_processes_agree_on_every_gradient(tmp_path):
    command = [sys.executable, "-c", TWO]
    children = [
        subprocess.Popen([*command, str(rank), str(tmp_path / "meet")], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for rank in range(2)
    ]
    told = [child.communicate(timeout=120) for child in children]
    assert [child.returncode for child in children] == [0, 0], told
    assert told[0][0] == told[1][0]
    assert len(told[0][0].splitlines()) == 4
