"""What turns a layer's weights and inputs into two levels and a scale; each owns its learned parameters.

A binarizer returns its levels and its scale apart, so that the layer convolves exact small integers and multiplies once
afterwards: ``conv(x, a*sign(w)) = a * conv(x, sign(w))`` holds exactly only in that order, and the packed network
computes the same integers.  The gradients are those of the product, by the chain rule.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from onebit.binarize import ESTIMATORS, binarize_sign, binarize_step, mean_abs
from onebit.binarize.scales import check_granularity, trained_scale_start
from onebit.registry import Registry

SMALLEST_SCALE = 1e-4  # learned scales stay at or above this: a scale of 0 would end a layer's training


class Binarizer(nn.Module):
    """Base of all binarizers: holds the estimator and the training's progress.

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
        """Bring learned scales back to at least 1e-4, in place; called after each optimiser step."""

    def extra_repr(self) -> str:
        return f"estimator={self.estimator!r}"


class WeightBinarizer(Binarizer):
    """Latent weights (O, C/groups, K, K) or (O, F) to ``(signs in {-1, +1}, scale)``.

    The scale is None, a scalar (per layer) or (O,) (per output channel).
    """

    def attach(self, weight: Tensor) -> None:
        """Make the parameters that depend on the weights; the layer calls it once, when its weights exist."""

    def restart(self, weight: Tensor) -> None:
        """Set learned scales to where they start for ``weight``, in place; for layers that were given other weights."""

    def scale(self, weight: Tensor) -> Tensor | None:
        """What the signs are multiplied with: None, a scalar, or (O,)."""
        return None

    def forward(self, weight: Tensor) -> tuple[Tensor, Tensor | None]:
        return binarize_sign(weight, self.estimator, self.progress), self.scale(weight)


class SignWeight(WeightBinarizer):
    """``sign(w)``, no scale (BinaryNet, arXiv:1602.02830)."""

    def __init__(self, estimator: str = "clipped-identity") -> None:
        super().__init__(estimator)


class MeanScaleWeight(WeightBinarizer):
    """``mean|w| * sign(w)`` (XNOR-Net, arXiv:1603.05279).

    Args:
        granularity: "channel" or "layer": over what the mean is taken.
        detached: no gradient through the scale.
    """

    def __init__(
        self, estimator: str = "clipped-identity", *, granularity: str = "channel", detached: bool = True
    ) -> None:
        super().__init__(estimator)
        check_granularity(granularity)
        self.granularity, self.detached = granularity, detached

    def scale(self, weight: Tensor) -> Tensor:
        return mean_abs(weight.detach() if self.detached else weight, self.granularity)

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, granularity={self.granularity!r}, detached={self.detached}"


class TrainedScaleWeight(WeightBinarizer):
    """``alpha * sign(w)`` with learned ``alpha`` (Trained Binarization, arXiv:1909.11366).

    ``d alpha = sum g sign(w)``; ``d w = g alpha H(w)``.  That alpha starts at mean|w| and is one per layer unless
    asked is our assumption.

    Args:
        granularity: "layer" or "channel".
    """

    roles: ClassVar[dict[str, str]] = {"alpha": "weight-scale"}

    def __init__(self, estimator: str = "higher-order", *, granularity: str = "layer") -> None:
        super().__init__(estimator)
        check_granularity(granularity)
        self.granularity = granularity
        self.alpha: nn.Parameter | None = None

    def attach(self, weight: Tensor) -> None:
        if self.alpha is not None:
            raise ValueError("this weight binarizer already belongs to a layer; give each layer its own")
        self.alpha = nn.Parameter(trained_scale_start(weight, self.granularity))

    def restart(self, weight: Tensor) -> None:
        assert self.alpha is not None, "attach() comes first"
        self.alpha.data.copy_(trained_scale_start(weight, self.granularity))

    def scale(self, weight: Tensor) -> Tensor:
        assert self.alpha is not None, "attach() comes first"
        return self.alpha

    @torch.no_grad()
    def keep_positive_(self) -> None:
        if self.alpha is not None:
            self.alpha.clamp_min_(SMALLEST_SCALE)

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, granularity={self.granularity!r}"


class InputBinarizer(Binarizer):
    """Real inputs, any shape, to ``(levels, scale)``.

    ``low`` and ``high`` are the two levels before the scale, ``rule`` says which inputs become low ("sign": x < 0,
    "step": x <= 0); the scale is None or a scalar.
    """

    low: ClassVar[float]
    high: ClassVar[float] = 1.0
    rule: ClassVar[str]

    def scale(self) -> Tensor | None:
        """What the levels are multiplied with: None or a scalar."""
        return None


class SignInput(InputBinarizer):
    """``sign(x)`` in {-1, +1}."""

    low = -1.0
    rule = "sign"

    def __init__(self, estimator: str = "clipped-identity") -> None:
        super().__init__(estimator)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        return binarize_sign(x, self.estimator, self.progress), self.scale()


class StepInput(InputBinarizer):
    """``step(x)`` in {0, 1}, no scale."""

    low = 0.0
    rule = "step"

    def __init__(self, estimator: str = "long-tailed-higher-order") -> None:
        super().__init__(estimator)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        return binarize_step(x, self.estimator, self.progress), self.scale()


class TrainedStepInput(StepInput):
    """``beta * step(x)`` in {0, beta} with learned ``beta``, one per layer (Trained Binarization, arXiv:1909.11366).

    ``d beta = sum g step(x)``; ``d x = g beta H(x)``.

    Args:
        start: first value of beta, above 0 (our assumption: 1).
    """

    roles: ClassVar[dict[str, str]] = {"beta": "input-scale"}

    def __init__(self, estimator: str = "long-tailed-higher-order", *, start: float = 1.0) -> None:
        super().__init__(estimator)
        if not start > 0:
            raise ValueError(f"start must be above 0, got {start}")
        self.beta = nn.Parameter(torch.tensor(float(start)))

    def scale(self) -> Tensor:
        return self.beta

    @torch.no_grad()
    def keep_positive_(self) -> None:
        self.beta.clamp_min_(SMALLEST_SCALE)


WEIGHT_BINARIZERS: Registry[type[WeightBinarizer]] = Registry("weight binarizer")
WEIGHT_BINARIZERS.register("sign")(SignWeight)
WEIGHT_BINARIZERS.register("mean-scale")(MeanScaleWeight)
WEIGHT_BINARIZERS.register("trained-scale")(TrainedScaleWeight)

INPUT_BINARIZERS: Registry[type[InputBinarizer]] = Registry("input binarizer")
INPUT_BINARIZERS.register("sign")(SignInput)
INPUT_BINARIZERS.register("step")(StepInput)
INPUT_BINARIZERS.register("trained-step")(TrainedStepInput)
