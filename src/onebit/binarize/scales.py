"""Scales of binary weights: how large the +-1 of a layer stand for."""

import torch
from torch import Tensor

GRANULARITIES = ("layer", "channel")


def check_granularity(granularity: str) -> None:
    """ValueError unless ``granularity`` is "layer" or "channel"."""
    if granularity not in GRANULARITIES:
        raise ValueError(f"granularity must be one of {GRANULARITIES}, got {granularity!r}")


def mean_abs(weight: Tensor, granularity: str = "channel") -> Tensor:
    """``mean |w|``, the scale that minimises ``||w - a sign(w)||^2`` (XNOR-Net, arXiv:1603.05279).

    Args:
        weight: (O, ...) latent weights.
        granularity: "channel" for one value per output channel (O,), "layer" for one in all, a scalar.
    """
    check_granularity(granularity)
    size = weight.abs()
    return size.mean() if granularity == "layer" else size.flatten(1).mean(dim=1)


def trained_scale_start(weight: Tensor, granularity: str = "layer") -> Tensor:
    """Where a trained scale starts: a detached copy of :func:`mean_abs`, at least 1e-4 (our assumption)."""
    return mean_abs(weight.detach(), granularity).clamp_min(1e-4).to(torch.float32).clone()
