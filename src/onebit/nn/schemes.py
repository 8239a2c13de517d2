"""Schemes: named settings for binary layers, and factories of these layers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from inspect import signature
from typing import Any

import torch
from torch import nn

from onebit.nn.binarizers import INPUT_BINARIZERS, WEIGHT_BINARIZERS, InputBinarizer, WeightBinarizer
from onebit.nn.layers import BinaryConv2d, BinaryLinear, Pair
from onebit.nn.rpc import ReshapedPointwiseConv2d
from onebit.registry import Registry, check_options

Options = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Scheme:
    """How weights and inputs of the layers are binarized.

    Args:
        weights: a name in ``WEIGHT_BINARIZERS``, or None for full precision.
        weight_options: its arguments, such as ``{"estimator": "tanh"}``; the others have their defaults.
        inputs: a name in ``INPUT_BINARIZERS``, or None for full precision.
        input_options: its arguments.
        pad_value: value of the padding, in units of the levels.

    Raises:
        ValueError: an unknown name or option, with the nearest one, or an invalid value of an option.
    """

    weights: str | None = "mean-scale"
    weight_options: Options = field(default_factory=dict, hash=False)
    inputs: str | None = "sign"
    input_options: Options = field(default_factory=dict, hash=False)
    pad_value: float = 0.0

    def __post_init__(self) -> None:
        for side, registry in _SIDES.items():
            name, given = getattr(self, f"{side}s"), getattr(self, f"{side}_options")
            if name is None and given:
                raise ValueError(f"{side}_options {dict(given)} are those of a binarizer, but the {side}s are real")
            if name is not None:
                check_options(f"{side}_options", registry[name], given)
            object.__setattr__(self, f"{side}_options", {**_defaults(side, name), **given})
        # The layer's own checks of the options' values, without drawing from the caller's random numbers.
        with torch.device("cpu"), torch.random.fork_rng(devices=[]):
            self.conv2d(1, 1, 1)

    def describe(self) -> str:
        """One line that describes how weights and inputs are binarized."""
        return "; ".join(_described(f"{side}s", getattr(self, f"{side}s"), self._options(side)) for side in _SIDES)

    def _options(self, side: str) -> Options:
        options: Options = getattr(self, f"{side}_options")
        return options

    def _weight_binarizer(self) -> WeightBinarizer | None:
        return None if self.weights is None else WEIGHT_BINARIZERS[self.weights](**self.weight_options)

    def _input_binarizer(self) -> InputBinarizer | None:
        return None if self.inputs is None else INPUT_BINARIZERS[self.inputs](**self.input_options)

    @property
    def is_float(self) -> bool:
        """Whether nothing is binary."""
        return self.weights is None and self.inputs is None

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
        """A convolution of this scheme; a ``torch.nn.Conv2d`` for a float scheme."""
        shape = (in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias)
        if self.is_float:
            return nn.Conv2d(*shape)
        return BinaryConv2d(
            *shape,
            pad_value=self.pad_value,
            weight_binarizer=self._weight_binarizer(),
            input_binarizer=self._input_binarizer(),
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
            weight_binarizer=self._weight_binarizer(),
            input_binarizer=self._input_binarizer(),
        )

    def linear(self, in_features: int, out_features: int, bias: bool = False) -> nn.Linear:
        """A linear layer of this scheme."""
        if self.is_float:
            return nn.Linear(in_features, out_features, bias)
        return BinaryLinear(
            in_features,
            out_features,
            bias,
            weight_binarizer=self._weight_binarizer(),
            input_binarizer=self._input_binarizer(),
        )


_SIDES: dict[str, Registry[Any]] = {"weight": WEIGHT_BINARIZERS, "input": INPUT_BINARIZERS}


def _defaults(side: str, name: str | None) -> dict[str, Any]:
    """The options of a named binarizer with their defaults; empty for full precision."""
    if name is None:
        return {}
    return {option: parameter.default for option, parameter in signature(_SIDES[side][name]).parameters.items()}


def _described(what: str, name: str | None, options: Options) -> str:
    if name is None:
        return f"real {what}"
    return f"{what}: " + ", ".join([name, *(f"{option} {value}" for option, value in options.items())])


SCHEMES: Registry[Scheme] = Registry("scheme")


def _scheme(
    name: str,
    weights: str | None,
    weight_options: Options,
    inputs: str | None,
    input_options: Options,
) -> Scheme:
    scheme = Scheme(weights=weights, weight_options=weight_options, inputs=inputs, input_options=input_options)
    return SCHEMES.register(name)(scheme)


_CLIPPED, _POLYNOMIAL = {"estimator": "clipped-identity"}, {"estimator": "polynomial"}
_DECAY = {"estimator": "error-decay"}

_scheme("float", None, {}, None, {})
_scheme(
    "trained-binarization",
    "trained-scale",
    {"granularity": "layer", "estimator": "higher-order"},
    "trained-step",
    {"estimator": "long-tailed-higher-order"},
)
_scheme("rbcn", "rectified", _POLYNOMIAL, "sign", _POLYNOMIAL)
_scheme("rb-net", "mean-scale", _CLIPPED, "sign", _POLYNOMIAL)
_scheme("ftbnn", "mean-scale", _CLIPPED, "sign", _POLYNOMIAL)
_scheme("bireal", "mean-scale", _CLIPPED, "sign", _POLYNOMIAL)
_scheme("xnor-net", "mean-scale", {**_CLIPPED, "detached": False}, "sign", _CLIPPED)
_scheme("ir-net", "standardized", _DECAY, "sign", _DECAY)
_scheme("reactnet", "mean-scale", _CLIPPED, "shifted-sign", _POLYNOMIAL)
_scheme("recu", "recu", {"granularity": "channel", "estimator": "identity"}, "sign", _POLYNOMIAL)
_scheme("binarynet", "sign", _CLIPPED, "sign", _CLIPPED)
_scheme("binary-weights", "mean-scale", _CLIPPED, None, {})
_scheme("binary-inputs", None, {}, "sign", _POLYNOMIAL)


def as_scheme(choice: str | Scheme, **changes: Any) -> Scheme:
    """The scheme of that name, or the given one, with single settings changed.

    Args:
        changes: ``weights``, ``inputs``, ``pad_value``, and options of the resulting binarizers: ``weight_estimator``
            is the option "estimator" of the weight binarizer, ``input_start`` the option "start" of the input
            binarizer.  If the binarizer changes, it keeps the options that it also has.

    Raises:
        ValueError: an unknown scheme, binarizer or setting, with the nearest name.
    """
    scheme = choice if isinstance(choice, Scheme) else SCHEMES[choice]
    names = {side: changes.get(f"{side}s", getattr(scheme, f"{side}s")) for side in _SIDES}
    defaults = {side: _defaults(side, name) for side, name in names.items()}
    settings = {f"{side}_{option}": (side, option) for side in _SIDES for option in defaults[side]}
    known = ["weights", "inputs", "pad_value", *settings]
    for change in changes:
        if change not in known:
            near = get_close_matches(change, known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"choose from {known}"
            of = f"weights {names['weight']!r} and inputs {names['input']!r}"
            raise ValueError(f"Unknown setting {change!r} of a scheme with {of}; {hint}")
    options = {
        side: {option: value for option, value in scheme._options(side).items() if option in defaults[side]}
        for side in _SIDES
    }
    for setting, (side, option) in settings.items():
        if setting in changes:
            options[side][option] = changes[setting]
    return Scheme(
        weights=names["weight"],
        weight_options=options["weight"],
        inputs=names["input"],
        input_options=options["input"],
        pad_value=changes.get("pad_value", scheme.pad_value),
    )


# Former names of binarizers in schemes -> their current names and settings.
_WEIGHTS_BEFORE: dict[str, tuple[str | None, Options]] = {
    "none": (None, {}),
    "mean": ("mean-scale", {"weight_detached": False}),
    "mean-detached": ("mean-scale", {"weight_detached": True}),
    "trained": ("trained-scale", {}),
}
_DEFAULTS_BEFORE = {"weight_granularity": "channel", "weight_estimator": "clipped-identity"}
_SETTINGS_BEFORE = (*_DEFAULTS_BEFORE, "input_estimator", "input_start")


def read_scheme_options(name: str, options: Options) -> dict[str, Any]:
    """The settings of :func:`as_scheme` for the scheme ``name`` of an older run, under their current names.

    Older runs had other names for some binarizers, and recorded the settings of all binarizers, used or not.
    """
    found = dict(options)
    if "input_scale_start" in found:
        found["input_start"] = found.pop("input_scale_start")
    if found.get("inputs") == "none":
        found["inputs"] = None
    if found.get("weights") in _WEIGHTS_BEFORE:
        found["weights"], meant = _WEIGHTS_BEFORE[found["weights"]]
        missing = {setting: value for setting, value in _DEFAULTS_BEFORE.items() if not _has(SCHEMES[name], setting)}
        found = {**missing, **found, **meant}
    scheme = as_scheme(name, **{side: found[side] for side in ("weights", "inputs") if side in found})
    return {key: value for key, value in found.items() if key not in _SETTINGS_BEFORE or _has(scheme, key)}


def _has(scheme: Scheme, setting: str) -> bool:
    side, _, option = setting.partition("_")
    return option in scheme._options(side)
