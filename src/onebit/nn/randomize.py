"""Random statistics for untrained networks, so that no threshold, slope or norm is trivial."""

import torch
from torch import nn

from onebit.nn import parameter_roles

SHIFTS = ("before", "after", "shift", "theta", "b")  # parameters of activations and signs that are no slopes


def randomize_(model: nn.Module, input_shape: tuple[int, int, int], *, seed: int = 0, slope: float = 0.05) -> None:
    """Give an untrained network noise statistics and random norms, slopes and shifts, in place; it ends in eval mode.

    Norms get the mean and variance of their input on two noise images, both perturbed, factors of either sign, and
    shifts.  Slopes are between ``slope`` and 1; shifts of signs and activations are around 0.

    Args:
        model: a model of the zoo; its weights do not change.
        input_shape: (C, H, W) of one image.
        seed: seed of all random numbers.
        slope: the smallest slope; below 0, some activations are not monotonic.
    """
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d)]
        for name, role in parameter_roles(model).items():
            if role == "slope":
                parameter = model.get_parameter(name)
                shift = name.rpartition(".")[2] in SHIFTS
                parameter.normal_(0, 0.3) if shift else parameter.uniform_(slope, 1)
        for norm in norms:
            size = norm.weight.shape
            norm.weight.copy_((torch.rand(size) + 0.5) * torch.where(torch.rand(size) < 0.5, -1.0, 1.0))
            norm.bias.normal_(0, 0.5)
        momenta = [norm.momentum for norm in norms]
        for norm in norms:
            norm.momentum = 1.0  # the statistics become those of the next batch
        model.train()(torch.randn(2, *input_shape))
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
            assert norm.running_mean is not None
            assert norm.running_var is not None
            size = norm.running_mean.shape
            norm.running_var.add_(1e-3).mul_(torch.rand(size) + 0.5)
            norm.running_mean.add_(0.5 * norm.running_var.sqrt() * torch.randn(size))
        model.eval()
