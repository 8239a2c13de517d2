"""Models as they are trained and as they are looked at: wrappers around them, and the modes of their modules."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn
from torch.nn.parallel import DataParallel, DistributedDataParallel
from torch.optim.swa_utils import AveragedModel


@contextmanager
def evaluating(*models: nn.Module) -> Iterator[None]:
    """Evaluation mode inside of the block; behind it, every module is in the mode in which it was."""
    modes = [(module, module.training) for model in models for module in model.modules()]
    try:
        for model in models:
            model.eval()
        yield
    finally:
        for module, mode in modes:
            module.training = mode


def unwrapped(model: nn.Module) -> nn.Module:
    """The model inside of DataParallel, DistributedDataParallel, AveragedModel and ``torch.compile``."""
    while True:
        if isinstance(model, DataParallel | DistributedDataParallel | AveragedModel):
            model = model.module
        elif isinstance(compiled := getattr(model, "_orig_mod", None), nn.Module):  # by torch.compile
            model = compiled
        else:
            return model
