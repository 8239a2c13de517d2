"""Binary layers under DistributedDataParallel: two processes with half a batch each give the gradients of the whole."""

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from onebit.nn import BinaryConv2d, BinaryLinear


def make() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        BinaryConv2d(3, 4, 3, weight_binarizer="trained-scale", input_binarizer="trained-step"),
        nn.Flatten(),
        BinaryLinear(16, 2),
    )


def batch() -> torch.Tensor:
    return torch.randn(4, 3, 4, 4, generator=torch.Generator().manual_seed(1))


def worker(rank: int, folder: str) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    model = DistributedDataParallel(make())
    model(batch()[2 * rank : 2 * rank + 2]).square().mean().backward()
    if rank == 0:
        torch.save([p.grad for p in model.parameters()], f"{folder}/grads.pt")
    dist.destroy_process_group()


def test_gradients_are_those_of_the_whole_batch(tmp_path):
    mp.spawn(worker, args=(str(tmp_path),), nprocs=2)
    model = make()
    model(batch()).square().mean().backward()
    shared = torch.load(tmp_path / "grads.pt", weights_only=True)
    for ours, theirs in zip(model.parameters(), shared, strict=True):
        torch.testing.assert_close(theirs, ours.grad)
