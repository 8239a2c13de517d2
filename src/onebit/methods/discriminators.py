"""Discriminators of feature maps: small networks that tell the maps of two networks apart."""

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# Shape letters: L layers (one discriminator each), B batch, C channels of a layer, F features.

WIDTHS = (128, 256, 128)
SLOPE = 0.2  # of LeakyReLU; our assumption
SPREAD = 0.01  # standard deviation of the first weights


class Discriminators(nn.Module):
    """One discriminator per layer: C -> 128 -> 256 -> 128 -> 1, LeakyReLU between, to a logit.

    RBCN (arXiv:1908.07748) publishes that there are several, made of linear layers and LeakyReLU; the widths and the
    first weights, N(0, 0.01), are the authors' sibling work; slope 0.2, biases that start at 0 and 0.01 as a standard
    deviation are our assumptions.  What follows the first layer has one shape for all, so they run as one batch.

    Args:
        channels: C of each layer.
    """

    def __init__(self, channels: Sequence[int]) -> None:
        super().__init__()
        layers = len(channels)
        self.entries = nn.ParameterList(torch.randn(width, WIDTHS[0]) * SPREAD for width in channels)
        sizes = (*WIDTHS, 1)
        self.weights = nn.ParameterList(
            torch.randn(layers, fan_in, fan_out) * SPREAD for fan_in, fan_out in pairwise(sizes)
        )
        self.biases = nn.ParameterList(torch.zeros(layers, 1, size) for size in sizes)

    def forward(self, pooled: Sequence[Tensor], frozen: bool = False) -> Tensor:
        """Logits (L, B), high for maps that are held for those of the first network.

        Args:
            pooled: (B, C) of each layer.
            frozen: no gradient for the discriminators, only for ``pooled``.
        """
        entries, weights, biases = (
            [parameter.detach() if frozen else parameter for parameter in group]
            for group in (self.entries, self.weights, self.biases)
        )
        x_LBF = torch.stack([x_BC.float() @ entry for x_BC, entry in zip(pooled, entries, strict=True)]) + biases[0]
        for weight_LFF, bias_L1F in zip(weights, biases[1:], strict=True):
            x_LBF = torch.baddbmm(bias_L1F, F.leaky_relu(x_LBF, SLOPE), weight_LFF)
        return x_LBF.squeeze(2)


def discriminator_loss(real_LB: Tensor, false_LB: Tensor) -> Tensor:
    """``-sum_layers mean_images (log D(R) + log(1 - D(T)))`` from the logits of D; what ascent makes small."""
    return (F.softplus(-real_LB) + F.softplus(false_LB)).mean(1).sum()


def adversarial_loss(false_LB: Tensor) -> Tensor:
    """``sum_layers mean_images (1 - D(T))^2`` from the logits of D."""
    return torch.sigmoid(-false_LB).square().mean(1).sum()
