"""Schemes: named settings of how a network's layers become binary, and the layers that they make."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from difflib import get_close_matches

import torch
from torch import nn

from onebit.binarize import ESTIMATORS
from onebit.nn.binarizers import (
    BalancedSignInput,
    InputBinarizer,
    MeanScaleWeight,
    RectifiedClampWeight,
    RectifiedWeight,
    ShiftedSignInput,
    SignInput,
    SignWeight,
    StandardizedWeight,
    StepInput,
    TrainedScaleWeight,
    TrainedStepInput,
    WeightBinarizer,
)
from onebit.nn.layers import BinaryConv2d, BinaryLinear, Pair
from onebit.nn.rpc import ReshapedPointwiseConv2d
from onebit.registry import Registry


@dataclass(frozen=True, kw_only=True)
class Scheme:
    """How the layers of a network become binary.

    Args:
        weights: "none" (real), "sign" (no scale), "mean" (mean|w|), "mean-detached", "trained" (learned alpha),
            "rectified" (RBCN's matrix), "standardized" (IR-Net) or "recu".
        weight_granularity: one scale per "layer" or per "channel".
        weight_estimator: surrogate derivative of the weights' sign.
        inputs: "none" (real), "sign" ({-1, +1}), "shifted-sign" (learned thresholds), "balanced-sign"
            (s sign(x - theta) + b), "step" ({0, 1}) or "trained-step" ({0, beta}, learned beta).
        input_estimator: surrogate derivative of the inputs' sign or step.
        input_scale_start: first value of beta.
        pad_value: what the border of a padded map holds, in units of the levels.
    """

    weights: str = "mean-detached"
    weight_granularity: str = "channel"
    weight_estimator: str = "clipped-identity"
    inputs: str = "sign"
    input_estimator: str = "polynomial"
    input_scale_start: float = 1.0
    pad_value: float = 0.0

    def __post_init__(self) -> None:
        for field, allowed in (("weights", _WEIGHTS), ("inputs", _INPUTS)):
            if getattr(self, field) not in allowed:
                raise ValueError(f"{field} must be one of {sorted(allowed)}, got {getattr(self, field)!r}")
        ESTIMATORS.check(self.weight_estimator)
        ESTIMATORS.check(self.input_estimator)
        with torch.device("meta"):  # the layer's own checks of granularity, pad_value and start; draws no random number
            self.conv2d(1, 1, 1)

    def describe(self) -> str:
        """One line: what becomes of weights and inputs."""
        weights, inputs = "real weights", "real inputs"
        if self.weights != "none":
            fixed = {
                "sign": "no scale",
                "rectified": "mean of the rectifier",
                "standardized": "power-of-two scale per channel",
            }
            scale = fixed.get(self.weights, f"{self.weights} scale per {self.weight_granularity}")
            weights = f"weights: sign, {scale}, {self.weight_estimator}"
        if self.inputs != "none":
            inputs = f"inputs: {self.inputs}, {self.input_estimator}"
        return f"{weights}; {inputs}"

    @property
    def is_float(self) -> bool:
        """Whether nothing is binary."""
        return self.weights == "none" and self.inputs == "none"

    def conv2d(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Pair,
        stride: Pair = 1,
        padding: Pair | str = 0,
        dilation: Pair = 1,
        groups: int = 1,
        bias: bool = False,
    ) -> nn.Conv2d:
        """A convolution of this scheme; for a float scheme a plain ``torch.nn.Conv2d``."""
        shape = (in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias)
        if self.is_float:
            return nn.Conv2d(*shape)
        return BinaryConv2d(
            *shape,
            pad_value=self.pad_value,
            weight_binarizer=_WEIGHTS[self.weights](self),
            input_binarizer=_INPUTS[self.inputs](self),
        )

    def rpc(
        self,
        in_channels: int,
        out_channels: int,
        stride: int = 1,
        *,
        restore: bool = True,
        roll: int = 0,
        norm: bool = False,
    ) -> ReshapedPointwiseConv2d:
        """A reshaped point-wise convolution of this scheme."""
        return ReshapedPointwiseConv2d(
            in_channels,
            out_channels,
            stride,
            restore=restore,
            roll=roll,
            norm=norm,
            weight_binarizer=_WEIGHTS[self.weights](self),
            input_binarizer=_INPUTS[self.inputs](self),
        )

    def linear(self, in_features: int, out_features: int, bias: bool = False) -> nn.Linear:
        """A linear layer of this scheme."""
        if self.is_float:
            return nn.Linear(in_features, out_features, bias)
        return BinaryLinear(
            in_features,
            out_features,
            bias,
            weight_binarizer=_WEIGHTS[self.weights](self),
            input_binarizer=_INPUTS[self.inputs](self),
        )


_WEIGHTS: dict[str, Callable[[Scheme], WeightBinarizer | None]] = {
    "none": lambda s: None,
    "sign": lambda s: SignWeight(s.weight_estimator),
    "mean": lambda s: MeanScaleWeight(s.weight_estimator, granularity=s.weight_granularity, detached=False),
    "mean-detached": lambda s: MeanScaleWeight(s.weight_estimator, granularity=s.weight_granularity),
    "rectified": lambda s: RectifiedWeight(s.weight_estimator),
    "standardized": lambda s: StandardizedWeight(s.weight_estimator),
    "recu": lambda s: RectifiedClampWeight(s.weight_estimator, granularity=s.weight_granularity),
    "trained": lambda s: TrainedScaleWeight(s.weight_estimator, granularity=s.weight_granularity),
}

_INPUTS: dict[str, Callable[[Scheme], InputBinarizer | None]] = {
    "none": lambda s: None,
    "sign": lambda s: SignInput(s.input_estimator),
    "shifted-sign": lambda s: ShiftedSignInput(s.input_estimator),
    "balanced-sign": lambda s: BalancedSignInput(s.input_estimator),
    "step": lambda s: StepInput(s.input_estimator),
    "trained-step": lambda s: TrainedStepInput(s.input_estimator, start=s.input_scale_start),
}

SCHEMES: Registry[Scheme] = Registry("scheme")

FLOAT = SCHEMES.register("float")(Scheme(weights="none", inputs="none"))
TRAINED_BINARIZATION = SCHEMES.register("trained-binarization")(
    Scheme(
        weights="trained",
        weight_granularity="layer",
        weight_estimator="higher-order",
        inputs="trained-step",
        input_estimator="long-tailed-higher-order",
    )
)
SCHEMES.register("rbcn")(Scheme(weights="rectified", weight_estimator="polynomial"))
SCHEMES.register("rb-net")(Scheme())
SCHEMES.register("ftbnn")(Scheme())
SCHEMES.register("bireal")(Scheme())
SCHEMES.register("xnor-net")(Scheme(weights="mean", input_estimator="clipped-identity"))
SCHEMES.register("ir-net")(
    Scheme(weights="standardized", weight_estimator="error-decay", input_estimator="error-decay")
)
SCHEMES.register("reactnet")(Scheme(inputs="shifted-sign"))
SCHEMES.register("recu")(Scheme(weights="recu", weight_estimator="identity"))
SCHEMES.register("binarynet")(Scheme(weights="sign", input_estimator="clipped-identity"))
SCHEMES.register("binary-weights")(Scheme(inputs="none"))
SCHEMES.register("binary-inputs")(Scheme(weights="none"))


def as_scheme(choice: str | Scheme, **changes: object) -> Scheme:
    """The scheme of that name, or the given one, with single fields changed.

    Raises ValueError, with the nearest name, for an unknown scheme or field.
    """
    scheme = choice if isinstance(choice, Scheme) else SCHEMES[choice]
    known = [field.name for field in fields(Scheme)]
    for name in changes:
        if name not in known:
            near = get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"choose from {known}"
            raise ValueError(f"Unknown setting {name!r} of a scheme; {hint}")
    return replace(scheme, **changes)  # type: ignore[arg-type]
