"""Activations of binary networks with per-channel parameters; packing fuses all of them into epilogues."""

from collections.abc import Callable
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from onebit.registry import Registry


def along_channels(parameter_C: Tensor, x: Tensor) -> Tensor:
    """``parameter_C`` reshaped to broadcast over the channels, axis 1, of ``x``; ValueError unless x has that many
    channels.
    """
    if x.ndim < 2 or x.shape[1] != len(parameter_C):
        raise ValueError(f"the input must be (B, {len(parameter_C)}, ...), got the shape {tuple(x.shape)}")
    return parameter_C.reshape(-1, *[1] * (x.ndim - 2))


class FPReLU(nn.Module):
    """``a_c max(0, x) + b_c min(0, x)``, both slopes learned: fully parametric ReLU (FTBNN, arXiv:2010.09294).

    The initial values a = 1 and b = 0.25 are our assumption.

    Shape: (B, C, H, W) or (B, C), unchanged.
    """

    roles: ClassVar[dict[str, str]] = {"positive": "slope", "negative": "slope"}

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.positive: nn.Parameter = nn.Parameter(torch.ones(channels))
        self.negative: nn.Parameter = nn.Parameter(torch.full((channels,), 0.25))

    def forward(self, x: Tensor) -> Tensor:
        positive, negative = along_channels(self.positive, x), along_channels(self.negative, x)
        return positive * x.clamp_min(0) + negative * x.clamp_max(0)

    def extra_repr(self) -> str:
        return f"channels={len(self.positive)}"


class RPReLU(nn.Module):
    """``PReLU_c(x + before_c) + after_c``, slope and both shifts learned (ReActNet, arXiv:2003.03488).

    The slope starts at 0.25, the shifts at 0.  RB-Net's balanced activation in its first form here, ``PReLU_c(z -
    delta_c) + zeta_c``, is the same formula; whether it is the paper's is not known.

    Shape: (B, C, H, W) or (B, C), unchanged.
    """

    roles: ClassVar[dict[str, str]] = {"before": "slope", "negative": "slope", "after": "slope"}

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.before: nn.Parameter = nn.Parameter(torch.zeros(channels))
        self.negative: nn.Parameter = nn.Parameter(torch.full((channels,), 0.25))
        self.after: nn.Parameter = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        shifted = x + along_channels(self.before, x)
        return F.prelu(shifted, self.negative) + along_channels(self.after, x)

    def extra_repr(self) -> str:
        return f"channels={len(self.negative)}"


class ChannelShuffle(nn.Module):
    """Channel shuffle: channel ``g n + i`` moves to ``i G + g``, which interleaves ``groups`` = G groups of n channels.

    Shape: (B, G n, H, W), unchanged.  As ``torch.nn.ChannelShuffle``, for any memory format.
    """

    def __init__(self, groups: int) -> None:
        super().__init__()
        if groups < 1:
            raise ValueError(f"groups must be at least 1, got {groups}")
        self.groups = groups

    def forward(self, x_BCHW: Tensor) -> Tensor:
        return x_BCHW.unflatten(1, (self.groups, -1)).transpose(1, 2).flatten(1, 2)

    def extra_repr(self) -> str:
        return f"groups={self.groups}"


ACTIVATIONS: Registry[Callable[[int], nn.Module]] = Registry("activation")  # number of channels -> module


@ACTIVATIONS.register("none")
def none(channels: int) -> nn.Module:
    """x."""
    return nn.Identity()


@ACTIVATIONS.register("relu")
def relu(channels: int) -> nn.Module:
    """max(0, x)."""
    return nn.ReLU()


@ACTIVATIONS.register("hardtanh")
def hardtanh(channels: int) -> nn.Module:
    """x clamped to [-1, 1]."""
    return nn.Hardtanh()


ACTIVATIONS.register("prelu")(nn.PReLU)
ACTIVATIONS.register("fprelu")(FPReLU)
ACTIVATIONS.register("rprelu")(RPReLU)
ACTIVATIONS.register("balanced")(RPReLU)
