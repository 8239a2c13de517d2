"""Scales of binary weights."""

import torch
from torch import Tensor

GRANULARITIES = ("layer", "channel")


def check_granularity(granularity: str) -> None:
    """ValueError unless ``granularity`` is "layer" or "channel"."""
    if granularity not in GRANULARITIES:
        raise ValueError(f"granularity must be one of {GRANULARITIES}, got {granularity!r}")


def mean_abs(weight: Tensor, granularity: str = "channel") -> Tensor:
    """``mean |w|``, the scale that minimizes ``||w - a sign(w)||^2`` (XNOR-Net, arXiv:1603.05279).

    Args:
        weight: (O, ...) latent weights.
        granularity: "channel" for one value per output channel, (O,), or "layer" for a scalar.
    """
    check_granularity(granularity)
    size = weight.abs()
    return size.mean() if granularity == "layer" else size.flatten(1).mean(dim=1)


def trained_scale_start(weight: Tensor, granularity: str = "layer") -> Tensor:
    """Initial value of a learned scale: a detached copy of :func:`mean_abs`, at least 1e-4 (our assumption)."""
    return mean_abs(weight.detach(), granularity).clamp_min(1e-4).to(torch.float32).clone()


def power_of_two(scale: Tensor) -> Tensor:
    """``2^round(log2 scale)``: the nearest power of two (IR-Net, arXiv:1909.10788)."""
    return torch.exp2(scale.clamp_min(1e-8).log2().round())


def standardize(weight: Tensor) -> Tensor:
    """``(w - mean w) / std w`` over each filter, with zero mean and unit variance.

    Args:
        weight: (O, ...).
    """
    rest = tuple(range(1, weight.ndim))
    centered = weight - weight.mean(dim=rest, keepdim=True)
    return centered / (centered.var(dim=rest, keepdim=True, correction=0) + 1e-5).sqrt()


def rectify(latent: Tensor, tau: Tensor | float) -> Tensor:
    """Clamp to the tau- and (1-tau)-quantile of the Laplace distribution fitted to ``latent`` (ReCU, arXiv:2103.12369).

    ``|v| <= -mean|v| log(2 - 2 tau)``; tau in (0.5, 1).
    """
    limit = -latent.detach().abs().mean() * torch.log(2 - 2 * torch.as_tensor(tau, device=latent.device))
    return torch.maximum(torch.minimum(latent, limit), -limit)
