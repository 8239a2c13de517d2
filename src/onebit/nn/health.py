"""How the binary layers of a network fare in training: the numbers that ``onebit.report.health`` puts into words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from onebit.binarize import ESTIMATORS
from onebit.nn.binarizers import Binarizer, InputBinarizer

# Shape letters: B batch, C channels, S values of a channel.

NEGLIGIBLE = 1e-2  # a derivative below this share of the estimator's largest one counts as none
CONSTANT = 1e-3  # a channel of which fewer values are on the other level counts as constant
VALUES = 1024  # of a channel that are looked at per forward pass


@dataclass(frozen=True)
class InputHealth:
    """The inputs of one binary layer, on the images of some forward passes.

    Attributes:
        outside: share of the inputs that are outside the estimator's window, where they get no gradient.
        constant: share of the channels in which (nearly) all values are on one level.
    """

    outside: float
    constant: float


@dataclass(frozen=True)
class LayerHealth:
    """One binary layer after an epoch; None where there is nothing to measure.

    Attributes:
        weights: how many binary weights there are.
        flipped: share of their signs that are not those of the epoch's beginning.
        outside: share of the latent weights that are outside the estimator's window, where they get no gradient.
        scale: mean over the channels of the weights' scale.
        input_scale: the inputs' scale.
        inputs: of the images that were watched; None without any.
    """

    weights: int
    flipped: float | None
    outside: float | None
    scale: float | None
    input_scale: float | None
    inputs: InputHealth | None

    def as_json(self) -> dict[str, Any]:
        """Plain values; those of ``inputs`` as ``inputs_outside`` and ``constant``."""
        values = {name: getattr(self, name) for name in ("weights", "flipped", "outside", "scale", "input_scale")}
        outside, constant = (None, None) if self.inputs is None else (self.inputs.outside, self.inputs.constant)
        return values | {"inputs_outside": outside, "constant": constant}


@torch.no_grad()
def latent_signs(network: nn.Module) -> Tensor:
    """Which weights of all binary layers are -1, one after the other: (number of binary weights,) of bool."""
    layers = [layer for layer in _layers(network).values() if layer.weight_binarizer is not None]
    signs = [layer.weight_binarizer.latent(layer.weight).flatten() < 0 for layer in layers]
    return torch.cat(signs) if signs else torch.zeros(0, dtype=torch.bool)


@torch.no_grad()
def layer_health(
    network: nn.Module, signs_before: Tensor, inputs: Mapping[str, InputHealth] | None = None
) -> dict[str, LayerHealth]:
    """Measure every binary layer of ``network``: layer -> its numbers.

    Weights that are still real (:func:`set_real_weights`) have neither flips nor a window.

    Args:
        signs_before: what :func:`latent_signs` gave at the epoch's beginning.
        inputs: what :func:`watch_inputs` found.
    """
    found: dict[str, LayerHealth] = {}
    inputs, place = inputs or {}, 0
    for name, layer in _layers(network).items():
        binarizer = layer.weight_binarizer
        count, flipped, outside, scale = 0, None, None, None
        if binarizer is not None:
            latent = binarizer.latent(layer.weight)
            count = latent.numel()
            before, place = signs_before[place : place + count], place + count
            if not layer.real_weights:
                flipped = _share((latent.flatten() < 0) != before)
                outside = _share(_is_outside(binarizer, latent))
                scale = _mean(binarizer.scale(latent))
        input_scale = None if layer.input_binarizer is None else _mean(layer.input_binarizer.scale())
        found[name] = LayerHealth(count, flipped, outside, scale, input_scale, inputs.get(name))
    return found


@contextmanager
def watch_inputs(network: nn.Module) -> Iterator[dict[str, InputHealth]]:
    """Measure the inputs of the binary layers while ``network`` runs; on exit the dict holds layer -> its numbers.

    Of each forward pass as many images are looked at, evenly spread, as have 1024 values per channel, so that it costs
    next to nothing.  Nothing is changed, and no random number is drawn.
    """
    layers = {name: layer for name, layer in _layers(network).items() if layer.input_binarizer is not None}
    watches = {name: _Watch(layer.input_binarizer) for name, layer in layers.items()}
    found: dict[str, InputHealth] = {}
    try:
        yield found
    finally:
        for watch in watches.values():
            watch.handle.remove()
    found |= {name: watch.result() for name, watch in watches.items() if watch.values}


class _Watch:
    """Sums over the inputs of one binarizer."""

    def __init__(self, binarizer: InputBinarizer) -> None:
        self.values = 0  # per channel
        self._high_C: Tensor | None = None
        self._outside: Tensor | None = None
        self.handle = binarizer.register_forward_hook(self._look)

    @torch.no_grad()
    def _look(self, binarizer: InputBinarizer, args: tuple[Any, ...], output: tuple[Tensor, Any]) -> None:
        spatial = len(binarizer.channel_shape) - 1
        images = output[0].shape[0]
        per_image = output[0][0].numel() // output[0].shape[-1 - spatial] if images else 0
        if not per_image:
            return
        stride = max(1, images * per_image // VALUES)
        x, levels = args[0][::stride], output[0][::stride]
        if (threshold := binarizer.threshold()) is not None:
            x = x - threshold.reshape(binarizer.channel_shape)
        high_C = (levels == binarizer.high).transpose(0, -1 - spatial).flatten(1).sum(1)
        outside = _is_outside(binarizer, x).sum()
        self._high_C = high_C if self._high_C is None else self._high_C + high_C
        self._outside = outside if self._outside is None else self._outside + outside
        self.values += levels.numel() // len(high_C)

    def result(self) -> InputHealth:
        assert self._high_C is not None
        assert self._outside is not None
        rarer_C = torch.minimum(self._high_C, self.values - self._high_C)
        constant = _share(rarer_C < CONSTANT * self.values)
        return InputHealth(float(self._outside) / (self.values * len(rarer_C)), constant)


def _layers(network: nn.Module) -> dict[str, Any]:
    """The layers with binary weights or binary inputs, by name, in the order of the network."""
    both = ("weight_binarizer", "input_binarizer")
    return {n: m for n, m in network.named_modules() if any(getattr(m, name, None) is not None for name in both)}


def _is_outside(binarizer: Binarizer, x: Tensor) -> Tensor:
    """Where the derivative of the binarizer's estimator is next to nothing."""
    derivative = ESTIMATORS[binarizer.estimator]
    largest = derivative(x.new_zeros(()), binarizer.progress).abs()  # all of them have their peak at 0
    return ~(derivative(x, binarizer.progress).abs() >= NEGLIGIBLE * largest)


def _share(which: Tensor) -> float:
    return float(which.double().mean())


def _mean(scale: Tensor | None) -> float | None:
    return None if scale is None else float(scale.double().mean())
