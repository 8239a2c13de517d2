"""Conversion of PyTorch modules to tensors and epilogue steps; shared by all handlers."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from onebit.export.draft import PackError, Step


def array(x: Tensor) -> NDArray[np.float32]:
    """The tensor's values as float32, contiguous."""
    return np.ascontiguousarray(x.detach().to("cpu", torch.float32).numpy())


def pair(x: Any) -> list[int]:
    """A PyTorch setting that is a number or a tuple of one or two, as [vertical, horizontal]."""
    return [int(x), int(x)] if not isinstance(x, tuple | list) else [int(v) for v in (x if len(x) == 2 else x * 2)]


def affine(scale: NDArray[Any] | float, bias: NDArray[Any] | float, channels: int) -> Step:
    """``scale*y + bias``, each a number or one per channel."""
    full = np.ones(channels, np.float32)
    return {"step": "affine", "scale": full * np.float32(scale), "bias": full * np.float32(bias)}


def slopes(positive: NDArray[Any] | float, negative: NDArray[Any] | float, channels: int) -> Step:
    """``positive*max(y, 0) + negative*min(y, 0)``, each a number or one per channel."""
    full = np.ones(channels, np.float32)
    return {"step": "slopes", "positive": full * np.float32(positive), "negative": full * np.float32(negative)}


def clamp(low: float, high: float) -> Step:
    """``min(max(y, low), high)``."""
    return {"step": "clamp", "low": float(low), "high": float(high)}


def norm(name: str, layer: Any) -> Step:
    """A batch norm with its running statistics; PackError if it tracks none."""
    if layer.running_mean is None:
        raise PackError(f"{name}: the norm keeps no running statistics; use track_running_stats=True")
    mean, var = array(layer.running_mean), array(layer.running_var)
    gamma = np.ones_like(mean) if layer.weight is None else array(layer.weight)
    beta = np.zeros_like(mean) if layer.bias is None else array(layer.bias)
    # As torch does it on a CPU: a float32 scale, then two fused steps, fma(x, scale, fma(-mean, scale, beta)).
    scale = gamma * (np.float32(1) / np.sqrt(var + np.float32(layer.eps)))
    bias = (beta.astype(np.float64) - mean.astype(np.float64) * scale).astype(np.float32)
    return {"step": "affine", "scale": scale, "bias": bias, "fused": True}


def threshold_of(inputs: Any) -> NDArray[np.float32] | None:
    """The thresholds of an input binarizer; None where all are 0."""
    threshold = inputs.threshold()
    return None if threshold is None or not threshold.any() else array(threshold)
