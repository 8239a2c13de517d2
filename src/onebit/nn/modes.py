"""Wrappers around models, and the training and evaluation modes of their modules."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn
from torch.nn.parallel import DataParallel, DistributedDataParallel
from torch.optim.swa_utils import AveragedModel


@contextmanager
def evaluating(*models: nn.Module) -> Iterator[None]:
    """Context with all modules in eval mode; on exit, every module returns to its previous mode."""
    modes = [(module, module.training) for model in models for module in model.modules()]
    try:
        for model in models:
            model.eval()
        yield
    finally:
        for module, mode in modes:
            module.training = mode


def unwrapped(model: nn.Module) -> nn.Module:
    """The model inside DataParallel, DistributedDataParallel, AveragedModel and ``torch.compile`` wrappers."""
    while True:
        if isinstance(model, DataParallel | DistributedDataParallel | AveragedModel):
            model = model.module
        elif isinstance(compiled := getattr(model, "_orig_mod", None), nn.Module):  # by torch.compile
            model = compiled
        else:
            return model
