"""RBCN: rectified binary convolutions, guided by the real network through discriminators (arXiv:1908.07748)."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from onebit.binarize import binarize_sign, sign
from onebit.methods.base import METHODS, Batch, Criterion, Method, Outputs
from onebit.methods.discriminators import Discriminators, adversarial_loss, discriminator_loss
from onebit.methods.features import Features, check_same_maps, find_layers, map_shapes, pooled
from onebit.nn import WeightBinarizer

# Shape letters: B batch, C channels, H W map, L supervised layers.

KERNEL_GRADIENTS = ("direct", "printed")
FROZEN = frozenset({"latent", "weight-scale"})


@METHODS.register("rbcn")
class RBCN(Method):
    """``L_S + lambda/2 sum_layers ||W - C * sign(W)||^2 + w sum_supervised (1 - D(T))^2`` (arXiv:1908.07748).

    ``L_S`` is the task's criterion (the paper: cross-entropy), W a layer's latent weights, C its rectifier (layers of
    the scheme "rbcn"; in another network the sum is empty), T the maps of the network that is trained, R those of the
    guide: its teacher, a real network of the same topology.  In each step the discriminators ascend first, on
    ``log D(R) + log(1 - D(T))``, then the network descends; both see the maps of one forward pass.

    Published: objective, discriminators of linear layers and LeakyReLU, weight 1 of the adversarial term, order of the
    updates.  The authors' sibling work: direct kernel gradient, lambda = 1e-4, widths of the discriminators.  Our
    assumptions: maps enter the discriminators through a global average pool, Adam at ``discriminator_lr`` for them,
    means over a batch's images, every binary convolution's block supervised, the guide in evaluation mode,
    the length of ``bn_update`` and that discriminators go on learning in it.

    Args:
        kernel_weight: lambda.
        kernel_gradient: "direct": ``lambda (W - C * sign(W))``, which pulls W toward +-C; "printed": through the
            sign's estimator alone, as the paper prints it, which pushes W away from +-C where both have one sign.
            The gradient of C is the same for both.
        gan: use guide and discriminators; without them no teacher is needed.
        adversarial_weight: w.
        layers: names or patterns of the supervised layers; null takes the blocks of all binary convolutions.
        discriminator_lr: learning rate of the discriminators, constant.
        bn_update: share of each epoch, at its end, in which latent weights and rectifiers stay as they are and
            everything else is trained alone; 0 for never.
    """

    def __init__(
        self,
        *,
        kernel_weight: float = 1e-4,
        kernel_gradient: str = "direct",
        gan: bool = True,
        adversarial_weight: float = 1.0,
        layers: Sequence[str] | None = None,
        discriminator_lr: float = 1e-4,
        bn_update: float = 0.0,
    ) -> None:
        super().__init__()
        for name, value in (("kernel_weight", kernel_weight), ("adversarial_weight", adversarial_weight)):
            if not (math.isfinite(value) and value >= 0):
                raise ValueError(f"{name} must be a number from 0 up, got {value}")
        if kernel_gradient not in KERNEL_GRADIENTS:
            raise ValueError(f"kernel_gradient must be one of {KERNEL_GRADIENTS}, got {kernel_gradient!r}")
        if not (math.isfinite(discriminator_lr) and discriminator_lr > 0):
            raise ValueError(f"discriminator_lr must be above 0, got {discriminator_lr}")
        if not 0 <= bn_update < 1:
            raise ValueError(f"bn_update must be from 0 to below 1, got {bn_update}")
        self.kernel_weight, self.kernel_gradient = kernel_weight, kernel_gradient
        self.gan = self.needs_teacher = gan
        self.adversarial_weight, self.layers = adversarial_weight, layers
        self.discriminator_lr, self.bn_update = discriminator_lr, bn_update
        self.discriminators: Discriminators | None = None
        self._rectified: tuple[nn.Module, ...] = ()  # a tuple, so that the network does not become part of the method

    def attach(
        self, network: nn.Module, teacher: nn.Module | None, criterion: Criterion, example: tuple[Tensor, ...]
    ) -> tuple[nn.Module, nn.Module | None]:
        super().attach(network, teacher, criterion, example)
        self._rectified = tuple(rectified_layers(network))
        if not self.gan:
            return network, None
        assert teacher is not None
        layers = find_layers(network, self.layers, "method_options.layers")
        find_layers(teacher, layers, "teacher")
        mine, theirs = (map_shapes(each, layers, example) for each in (network, teacher))
        check_same_maps(mine, theirs)
        device = next(network.parameters()).device
        self.discriminators = Discriminators([size[0] for size in mine.values()]).to(device)
        self.optimizers = [torch.optim.Adam(self.discriminators.parameters(), lr=self.discriminator_lr)]
        return Features(network, layers, pooled), Features(teacher, layers, pooled)

    def frozen_roles(self, step: int, steps: int) -> frozenset[str]:
        return FROZEN if step >= steps - round(self.bn_update * steps) else frozenset()

    def losses(self, network: nn.Module, batch: Batch, teacher: Outputs | None = None) -> tuple[dict[str, Tensor], Any]:
        terms = {"kernel": self.kernel_weight * kernel_loss(self._rectified, self.kernel_gradient)}
        if not self.gan:
            outputs = network(*batch.inputs)
        else:
            assert teacher is not None
            _, real = teacher(*batch.inputs)
            outputs, false = network(*batch.inputs)
            self._ascend(real, [map_BC.detach() for map_BC in false])
            assert self.discriminators is not None
            terms["adversarial"] = self.adversarial_weight * adversarial_loss(self.discriminators(false, frozen=True))
        return {**self.criterion.losses(outputs, batch.targets), **terms}, outputs

    def _ascend(self, real: Sequence[Tensor], false: Sequence[Tensor]) -> None:
        """One step of the discriminators."""
        assert self.discriminators is not None
        both_LB = self.discriminators([torch.cat(pair) for pair in zip(real, false, strict=True)])
        real_LB, false_LB = both_LB.chunk(2, dim=1)
        loss = discriminator_loss(real_LB, false_LB)
        (optimizer,) = self.optimizers
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            self.scalars = {
                "discriminator_loss": loss.detach() / len(real),  # of one discriminator: 2 ln 2 = 1.386 is chance
                "discriminator_real": torch.sigmoid(real_LB).mean(),
                "discriminator_false": torch.sigmoid(false_LB).mean(),
            }


def rectified_layers(network: nn.Module) -> list[nn.Module]:
    """The layers whose weight binarizer owns a rectifier."""
    return [
        module
        for module in network.modules()
        if getattr(getattr(module, "weight_binarizer", None), "rectifier", None) is not None
    ]


def kernel_loss(layers: Sequence[nn.Module], gradient: str = "direct") -> Tensor:
    """``1/2 sum_layers ||W - C * sign(W)||^2``, a scalar; C, of the shape of one filter, is shared by all filters.

    Args:
        layers: with ``weight`` and ``weight_binarizer.rectifier``.
        gradient: "direct": of W as it stands, the sign held fixed; "printed": of the sign alone, by its estimator.
    """
    total: Tensor = torch.zeros(())
    for layer in layers:
        weight: Tensor = layer.weight  # type: ignore[assignment]
        binarizer: WeightBinarizer = layer.weight_binarizer  # type: ignore[assignment]
        rectifier: Tensor = binarizer.rectifier  # type: ignore[assignment]
        if gradient == "direct":
            difference = weight - rectifier * sign(weight.detach())
        else:
            signs = binarize_sign(weight, binarizer.estimator, binarizer.progress)
            difference = weight.detach() - rectifier * signs
        total = total.to(weight.device) + difference.square().sum() / 2
    return total
