"""The registry of models and what their factories share."""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from onebit.nn import Scheme
from onebit.registry import Registry
from onebit.zoo.networks import Network

MODELS: Registry[Callable[..., nn.Module]] = Registry("model")


def build(network: Network, device: str = "cpu") -> nn.Module:
    """The untrained network of a row of ``onebit.zoo.networks.NETWORKS``; without values on the device "meta"."""
    with torch.device(device):
        return MODELS[network.model](num_classes=network.num_classes, input_size=network.size, **network.options)


def scaled(channels: int, width: float) -> int:
    """``channels * width`` rounded to a multiple of 8, at least 8; ValueError unless width is a number above 0."""
    if not isinstance(width, int | float) or isinstance(width, bool) or not 0 < width <= 1e6:
        raise ValueError(f"width must be above 0, at most 1e6, got {width!r}")
    return max(8, round(channels * width / 8) * 8)


def check_sizes(num_classes: int, in_channels: int, input_size: int = 1) -> None:
    """ValueError unless all are integers of at least 1."""
    for name, value in (("num_classes", num_classes), ("in_channels", in_channels), ("input_size", input_size)):
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise ValueError(f"{name} must be an integer of at least 1, got {value!r}")


def check_choice(name: str, value: object, allowed: Sequence[object]) -> None:
    """ValueError unless ``value`` is one of ``allowed``."""
    if value not in allowed:
        raise ValueError(f"{name} must be one of {list(allowed)}, got {value!r}")


def whole_numbers(name: str, value: str | Sequence[int], count: int, multiple: int = 1) -> tuple[int, ...]:
    """``(32, 64, 128)`` from such a sequence or from the text "32-64-128".

    Raises:
        ValueError: other than ``count`` numbers, or one that is no positive multiple of ``multiple``.
    """
    parts: Sequence[object] = value.split("-") if isinstance(value, str) else value
    try:
        numbers = tuple(int(str(part)) for part in parts)
    except (ValueError, TypeError):
        numbers = ()
    if len(numbers) != count or any(number < 1 or number % multiple for number in numbers):
        kind = "integers from 1" if multiple == 1 else f"positive multiples of {multiple}"
        example = "-".join(str(multiple * 2**i) for i in range(count))
        raise ValueError(f"{name} must be {count} {kind}, as a list or a string such as {example!r}, got {value!r}")
    return numbers


def nonlinearity(scheme: Scheme) -> nn.Module:
    """The activation between a norm and the next convolution: a ReLU in a full-precision network, none in a binary one,
    whose layers binarize their inputs.
    """
    return nn.Identity() if scheme.inputs is not None else nn.ReLU()


class PadChannels(nn.Module):
    """Zero channels before and after the existing ones: a shortcut without weights."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.before, self.after = before, after

    def forward(self, x_BCHW: Tensor) -> Tensor:
        return F.pad(x_BCHW, (0, 0, 0, 0, self.before, self.after))

    def extra_repr(self) -> str:
        return f"before={self.before}, after={self.after}"


class DuplicateChannels(nn.Module):
    """(B, C, H, W) -> (B, copies*C, H, W): all channels, repeated."""

    def __init__(self, copies: int) -> None:
        super().__init__()
        self.copies = copies

    def forward(self, x_BCHW: Tensor) -> Tensor:
        return torch.cat([x_BCHW] * self.copies, 1)

    def extra_repr(self) -> str:
        return f"copies={self.copies}"


def zeros_around(cin: int, cout: int) -> list[nn.Module]:
    """``cin`` -> ``cout`` channels by adding zero channels, half of them before; no layer if the numbers are equal.

    Raises ValueError if ``cout`` is below ``cin``.
    """
    _check_growth(cin, cout)
    before = (cout - cin) // 2
    return [PadChannels(before, cout - cin - before)] if cout > cin else []


def copies_of(cin: int, cout: int) -> list[nn.Module]:
    """``cin`` -> ``cout`` channels by as many whole copies as fit, then zero channels for the remainder.

    Raises ValueError if ``cout`` is below ``cin``.
    """
    _check_growth(cin, cout)
    copies, rest = divmod(cout, cin)
    modules: list[nn.Module] = [DuplicateChannels(copies)] if copies > 1 else []
    return modules + ([PadChannels(0, rest)] if rest else [])


def _check_growth(cin: int, cout: int) -> None:
    if cout < cin:
        raise ValueError(
            f"a shortcut without weights cannot lose channels, from {cin} to {cout}; let the stages grow, or choose a "
            "shortcut with a convolution"
        )


def halved(side: int) -> int:
    """Size of a map after a stride of 2 in any of our stems, blocks and pools: half of it, rounded up."""
    return (side + 1) // 2


def halving_pool(side: int) -> nn.AvgPool2d:
    """2x2 average pool of a map of that size to ``halved(side)``; the last window of an odd map averages only its
    existing pixels.
    """
    if side % 2 == 0:
        return nn.AvgPool2d(2)
    return nn.AvgPool2d(2, padding=1, count_include_pad=False)
