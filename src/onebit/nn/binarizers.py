"""Binarizers map weights or inputs of a layer to two levels and a scale, and own their learned parameters.

A binarizer returns levels and scale separately.  The layer convolves small integers exactly and multiplies once
afterwards: ``conv(x, a*sign(w)) = a * conv(x, sign(w))`` holds exactly only in that order, and the packed network
computes the same integers.  The gradients are those of the product, by the chain rule.
"""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor, nn

from onebit.binarize import ESTIMATORS, binarize_sign, binarize_step, mean_abs
from onebit.binarize.scales import check_granularity, power_of_two, rectify, standardize, trained_scale_start
from onebit.registry import Registry

SMALLEST_SCALE = 1e-4  # lower bound of learned scales: with a scale of 0 a layer would get no gradient


class Binarizer(nn.Module):
    """Base class of all binarizers: holds the estimator and the training progress.

    Args:
        estimator: name in ``onebit.binarize.ESTIMATORS``; ValueError for another.
    """

    roles: ClassVar[dict[str, str]] = {}
    progress: Tensor

    def __init__(self, estimator: str) -> None:
        super().__init__()
        ESTIMATORS.check(estimator)
        self.estimator = estimator
        self.register_buffer("progress", torch.zeros(()), persistent=False)

    def keep_positive_(self) -> None:
        """Clamp learned scales to at least 1e-4, in place; call it after each optimizer step."""

    def extra_repr(self) -> str:
        return f"estimator={self.estimator!r}"


def _refuse_second(parameter: nn.Parameter | None) -> None:
    """ValueError if a binarizer already has parameters for another layer."""
    if parameter is not None:
        raise ValueError("this binarizer already belongs to a layer; give each layer its own")


class WeightBinarizer(Binarizer):
    """Maps latent weights (O, C/groups, K, K) or (O, F) to ``(signs in {-1, +1}, scale)``.

    The scale is None, a scalar (per layer) or (O,) (per output channel).

    Args:
        standardized: binarize ``(w - mean w) / std w`` of each filter instead of ``w``: weight standardization
            (arXiv:1903.10520), which balances the signs of a filter (IR-Net, arXiv:1909.10788).
    """

    def __init__(self, estimator: str, standardized: bool = False) -> None:
        super().__init__(estimator)
        self.standardized = standardized

    def attach(self, weight: Tensor) -> None:
        """Create the parameters that depend on the weights; the layer calls it once, when its weights exist."""

    def restart(self, weight: Tensor) -> None:
        """Reset learned scales to their initial values for ``weight``, in place; for layers with new weights."""

    def latent(self, weight: Tensor) -> Tensor:
        """The tensor to binarize: the weight, possibly standardized or clamped."""
        return standardize(weight) if self.standardized else weight

    def signs(self, latent: Tensor) -> Tensor:
        """-1 or +1 for each latent weight, with the gradient of the estimator."""
        return binarize_sign(latent, self.estimator, self.progress)

    def scale(self, latent: Tensor) -> Tensor | None:
        """The factor of the signs: None, a scalar, or (O,)."""
        return None

    def forward(self, weight: Tensor) -> tuple[Tensor, Tensor | None]:
        latent = self.latent(weight)
        return self.signs(latent), self.scale(latent)

    def extra_repr(self) -> str:
        return super().extra_repr() + (", standardized=True" if self.standardized else "")


class SignWeight(WeightBinarizer):
    """``sign(w)``, no scale (BinaryNet, arXiv:1602.02830).

    Args:
        standardized: as in :class:`WeightBinarizer`.
    """

    def __init__(self, estimator: str = "clipped-identity", *, standardized: bool = False) -> None:
        super().__init__(estimator, standardized)


class MeanScaleWeight(WeightBinarizer):
    """``mean|w| * sign(w)`` (XNOR-Net, arXiv:1603.05279).

    Args:
        granularity: "channel" or "layer": what the mean is taken over.
        detached: no gradient through the scale.
        standardized: as in :class:`WeightBinarizer`; the scale is that of the standardized weights.
    """

    def __init__(
        self,
        estimator: str = "clipped-identity",
        *,
        granularity: str = "channel",
        detached: bool = True,
        standardized: bool = False,
    ) -> None:
        super().__init__(estimator, standardized)
        check_granularity(granularity)
        self.granularity: str = granularity
        self.detached: bool = detached

    def scale(self, latent: Tensor) -> Tensor:
        return mean_abs(latent.detach() if self.detached else latent, self.granularity)

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, granularity={self.granularity!r}, detached={self.detached}"


class TrainedScaleWeight(WeightBinarizer):
    """``alpha * sign(w)`` with learned ``alpha`` (Trained Binarization, arXiv:1909.11366).

    ``d alpha = sum g sign(w)``; ``d w = g alpha H(w)``.  The initial value mean|w| and one alpha per layer by default
    are our assumption.

    Args:
        granularity: "layer" or "channel".
        standardized: as in :class:`WeightBinarizer`; alpha starts from the weights as they are.
    """

    roles: ClassVar[dict[str, str]] = {"alpha": "weight-scale"}

    def __init__(
        self, estimator: str = "higher-order", *, granularity: str = "layer", standardized: bool = False
    ) -> None:
        super().__init__(estimator, standardized)
        check_granularity(granularity)
        self.granularity = granularity
        self.alpha: nn.Parameter | None = None

    def attach(self, weight: Tensor) -> None:
        _refuse_second(self.alpha)
        self.alpha = nn.Parameter(trained_scale_start(weight, self.granularity))

    def restart(self, weight: Tensor) -> None:
        assert self.alpha is not None, "attach() comes first"
        self.alpha.data.copy_(trained_scale_start(weight, self.granularity))

    def scale(self, latent: Tensor) -> Tensor:
        assert self.alpha is not None, "attach() comes first"
        return self.alpha

    @torch.no_grad()
    def keep_positive_(self) -> None:
        if self.alpha is not None:
            self.alpha.clamp_min_(SMALLEST_SCALE)

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, granularity={self.granularity!r}"


class RectifiedWeight(WeightBinarizer):
    """``mean(C) * sign(w)`` with a learned C, the rectifier, of the shape of one filter (RBCN, arXiv:1908.07748).

    The rectified convolution is ``conv(x, C . sign(w))``, with one C shared by all filters of the layer.  As in the
    authors' sibling work, the forward pass uses mean(C), one scale per layer, and the backward pass the gradient of all
    of C: ``d C = sum_o g_o sign(w_o)``, ``d w = g mean(C) H(w)`` with g the gradient of ``C . sign(w)``.  The initial
    value mean|w| and positive entries are our assumptions.
    """

    roles: ClassVar[dict[str, str]] = {"rectifier": "weight-scale"}

    def __init__(self, estimator: str = "polynomial") -> None:
        super().__init__(estimator)
        self.rectifier: nn.Parameter | None = None

    def attach(self, weight: Tensor) -> None:
        _refuse_second(self.rectifier)
        self.rectifier = nn.Parameter(trained_scale_start(weight, "layer").expand(weight.shape[1:]).clone())

    def restart(self, weight: Tensor) -> None:
        assert self.rectifier is not None, "attach() comes first"
        self.rectifier.data.copy_(trained_scale_start(weight, "layer").expand(weight.shape[1:]))

    def signs(self, latent: Tensor) -> Tensor:
        signs = super().signs(latent)
        if self.rectifier is None or not torch.is_grad_enabled():
            return signs
        # The layer returns mean(C) times the gradient of C . sign(w); adding zeros routes it to the entries of C.
        zeros, mean = self.rectifier - self.rectifier.detach(), self.rectifier.mean().detach()
        return signs + zeros * signs.detach() / torch.where(mean == 0, 1.0, mean)

    def scale(self, latent: Tensor) -> Tensor:
        assert self.rectifier is not None, "attach() comes first"
        return self.rectifier.mean().detach()

    @torch.no_grad()
    def keep_positive_(self) -> None:
        """Clamp the entries of C to at least 1e-4.

        A negative entry would invert the kernel loss: it pulls a weight toward C . sign(w), which is then on the other
        side of 0. The weight stays near 0, and its sign flips until the end of training.
        """
        if self.rectifier is not None:
            self.rectifier.clamp_min_(SMALLEST_SCALE)


class StandardizedWeight(WeightBinarizer):
    """``2^round(log2 mean|v|) * sign(v)``, ``v = (w - mean w) / std w`` per filter (IR-Net, arXiv:1909.10788)."""

    def __init__(self, estimator: str = "error-decay") -> None:
        super().__init__(estimator, standardized=True)

    def scale(self, latent: Tensor) -> Tensor:
        return power_of_two(mean_abs(latent.detach(), "channel"))


class RectifiedClampWeight(TrainedScaleWeight):
    """``alpha_o * sign(v)``, ``v`` the standardized weights clamped to their quantiles (ReCU, arXiv:2103.12369).

    The clamp, to the tau- and (1-tau)-quantile of a Laplace distribution, changes no sign and moves weights far from
    zero closer to it.  tau rises from 0.85 to 0.99 with the training progress p; following ``e^p`` is our
    interpretation.  The initial value mean|w| of alpha, one per output channel, is our assumption.
    """

    def __init__(self, estimator: str = "identity", *, granularity: str = "channel") -> None:
        super().__init__(estimator, granularity=granularity, standardized=True)

    def latent(self, weight: Tensor) -> Tensor:
        return rectify(super().latent(weight), 0.85 + 0.14 * torch.expm1(self.progress) / math.expm1(1))


class InputBinarizer(Binarizer):
    """Maps inputs of any shape to ``(levels, scale)``; a level ``v`` represents ``scale * v + offset``.

    ``low`` and ``high`` are the two levels before scaling.  ``rule`` defines which inputs become low ("sign": x < t,
    "step": x <= t) for the threshold t, which is 0 or one per channel.
    """

    low: ClassVar[float]
    high: ClassVar[float] = 1.0
    rule: ClassVar[str]

    def __init__(self, estimator: str) -> None:
        super().__init__(estimator)
        self.channel_shape: tuple[int, ...] = (-1,)

    @property
    def zero_level(self) -> float:
        """The level of an input of 0 with a threshold of 0."""
        return self.high if self.rule == "sign" else self.low

    def attach(self, channels: int, spatial: int) -> None:
        """Create the per-channel parameters; ``spatial`` axes follow the channel axis.

        The layer calls it once.
        """
        self.channel_shape = (-1,) + (1,) * spatial

    def threshold(self) -> Tensor | None:
        """t per input channel, (C,); None means 0."""
        return None

    def scale(self) -> Tensor | None:
        """The factor of the levels: None or a scalar."""
        return None

    def offset(self) -> Tensor | None:
        """The offset added to the scaled levels: None or a scalar."""
        return None

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        threshold = self.threshold()
        if threshold is not None:
            x = x - threshold.reshape(self.channel_shape)  # its sign is that of the comparison, rounding or not
        binarize = binarize_sign if self.rule == "sign" else binarize_step
        return binarize(x, self.estimator, self.progress), self.scale()


class SignInput(InputBinarizer):
    """``sign(x)`` in {-1, +1}."""

    low: ClassVar[float] = -1.0
    rule: ClassVar[str] = "sign"

    def __init__(self, estimator: str = "clipped-identity") -> None:
        super().__init__(estimator)


class ShiftedSignInput(SignInput):
    """``sign(x + shift_c)`` with a learned shift per channel, initially 0: RSign of ReActNet (arXiv:2003.03488)."""

    roles: ClassVar[dict[str, str]] = {"shift": "slope"}

    def __init__(self, estimator: str = "polynomial") -> None:
        super().__init__(estimator)
        self.shift: nn.Parameter | None = None

    def attach(self, channels: int, spatial: int) -> None:
        _refuse_second(self.shift)
        super().attach(channels, spatial)
        self.shift = nn.Parameter(torch.zeros(channels))

    def threshold(self) -> Tensor:
        assert self.shift is not None, "attach() comes first"
        return -self.shift


class BalancedSignInput(SignInput):
    """``s sign(x - theta_c) + b`` with learned theta per channel, s and b per layer, initially 0, 1, 0.

    A form of RB-Net's balanced activation, which "adjusts the distribution of the scaled activations after
    binarization"; the formula is our assumption.  The padding has the middle level, b.
    """

    roles: ClassVar[dict[str, str]] = {"theta": "slope", "s": "input-scale", "b": "slope"}

    def __init__(self, estimator: str = "polynomial") -> None:
        super().__init__(estimator)
        self.theta: nn.Parameter | None = None
        self.s: nn.Parameter = nn.Parameter(torch.ones(()))
        self.b: nn.Parameter = nn.Parameter(torch.zeros(()))

    def attach(self, channels: int, spatial: int) -> None:
        _refuse_second(self.theta)
        super().attach(channels, spatial)
        self.theta = nn.Parameter(torch.zeros(channels))

    def threshold(self) -> Tensor:
        assert self.theta is not None, "attach() comes first"
        return self.theta

    def scale(self) -> Tensor:
        return self.s

    def offset(self) -> Tensor:
        return self.b

    @torch.no_grad()
    def keep_positive_(self) -> None:
        self.s.clamp_min_(SMALLEST_SCALE)


class StepInput(InputBinarizer):
    """``step(x)`` in {0, 1}, no scale."""

    low: ClassVar[float] = 0.0
    rule: ClassVar[str] = "step"

    def __init__(self, estimator: str = "long-tailed-higher-order") -> None:
        super().__init__(estimator)


class TrainedStepInput(StepInput):
    """``beta * step(x)`` in {0, beta} with learned ``beta``, one per layer (Trained Binarization, arXiv:1909.11366).

    ``d beta = sum g step(x)``; ``d x = g beta H(x)``.

    Args:
        start: initial value of beta, above 0 (our assumption: 1).
    """

    roles: ClassVar[dict[str, str]] = {"beta": "input-scale"}

    def __init__(self, estimator: str = "long-tailed-higher-order", *, start: float = 1.0) -> None:
        super().__init__(estimator)
        if not start > 0:
            raise ValueError(f"start must be above 0, got {start}")
        self.beta: nn.Parameter = nn.Parameter(torch.tensor(float(start)))

    def scale(self) -> Tensor:
        return self.beta

    @torch.no_grad()
    def keep_positive_(self) -> None:
        self.beta.clamp_min_(SMALLEST_SCALE)


WEIGHT_BINARIZERS: Registry[type[WeightBinarizer]] = Registry("weight binarizer")
WEIGHT_BINARIZERS.register("sign")(SignWeight)
WEIGHT_BINARIZERS.register("mean-scale")(MeanScaleWeight)
WEIGHT_BINARIZERS.register("trained-scale")(TrainedScaleWeight)
WEIGHT_BINARIZERS.register("rectified")(RectifiedWeight)
WEIGHT_BINARIZERS.register("standardized")(StandardizedWeight)
WEIGHT_BINARIZERS.register("recu")(RectifiedClampWeight)

INPUT_BINARIZERS: Registry[type[InputBinarizer]] = Registry("input binarizer")
INPUT_BINARIZERS.register("sign")(SignInput)
INPUT_BINARIZERS.register("shifted-sign")(ShiftedSignInput)
INPUT_BINARIZERS.register("balanced-sign")(BalancedSignInput)
INPUT_BINARIZERS.register("step")(StepInput)
INPUT_BINARIZERS.register("trained-step")(TrainedStepInput)
