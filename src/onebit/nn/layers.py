"""Binary convolution and linear layer for training; the tests check them against their packed form."""

from __future__ import annotations

from typing import Any, ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from onebit.nn.binarizers import INPUT_BINARIZERS, WEIGHT_BINARIZERS, InputBinarizer, WeightBinarizer

# Shape letters: B batch, C in-channels, O out-channels, H W image, K kernel side, F features.

Pair = int | tuple[int, int]


def as_weight_binarizer(choice: str | WeightBinarizer | None) -> WeightBinarizer | None:
    """The named weight binarizer, or the given one; TypeError for anything else."""
    if choice is None or isinstance(choice, WeightBinarizer):
        return choice
    if isinstance(choice, str):
        return WEIGHT_BINARIZERS[choice]()  # type: ignore[call-arg]  # the registered classes have defaults
    raise TypeError(f"weight_binarizer must be a name, a WeightBinarizer or None, got {choice!r}")


def as_input_binarizer(choice: str | InputBinarizer | None) -> InputBinarizer | None:
    """The named input binarizer, or the given one; TypeError for anything else."""
    if choice is None or isinstance(choice, InputBinarizer):
        return choice
    if isinstance(choice, str):
        return INPUT_BINARIZERS[choice]()  # type: ignore[call-arg]
    raise TypeError(f"input_binarizer must be a name, an InputBinarizer or None, got {choice!r}")


class Operands(NamedTuple):
    """The operands of a binary layer, and the affine map of its sums: ``scale * sum + bias``."""

    x: Tensor
    weight: Tensor
    scale: Tensor | None
    bias: Tensor | None


def operands(layer: BinaryConv2d | BinaryLinear, x: Tensor) -> Operands:
    """Binarize the inputs and the weights of ``layer``; an input offset becomes a bias per output channel."""
    weight, scale, bias = layer.weight, None, layer.bias
    if layer.weight_binarizer is not None:
        if layer.real_weights:
            weight = _KeepInGraph.apply(weight, *layer.weight_binarizer.parameters())
        else:
            weight, scale = layer.weight_binarizer(layer.weight)
    inputs = layer.input_binarizer
    if inputs is not None:
        x, input_scale = inputs(x)
        offset = inputs.offset()
        if offset is not None:
            total_O = offset * weight.flatten(1).sum(dim=1)
            total_O = total_O if scale is None else total_O * scale
            bias = total_O if bias is None else total_O + bias
        if input_scale is not None:
            scale = input_scale if scale is None else scale * input_scale
    return Operands(x, weight, scale, bias)


class _KeepInGraph(torch.autograd.Function):
    """``weight``, with additional parameters in its autograd graph that do not affect it and get no gradient.

    DistributedDataParallel raises an error for parameters outside the graph, such as those of a weight binarizer while
    weights have full precision.
    """

    @staticmethod
    def forward(ctx: Any, weight: Tensor, *unused: Tensor) -> Tensor:
        return weight.view_as(weight)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        return gradient, *(None,) * (len(ctx.needs_input_grad) - 1)


class BinaryConv2d(nn.Conv2d):
    """2-D convolution of two-level weights and two-level inputs.

    ``out[b,o] = scale[o] * sum_c,k levels(x)[b,c] * sign(weight)[o,c,k] + bias[o]``, where ``scale`` is the product of
    the scales of both binarizers.  While ``real_weights`` is True (see :func:`set_real_weights`), the latent weights
    are used as they are.  With both binarizers None it is ``torch.nn.Conv2d``.  The input binarizer belongs to this
    layer, so that a network reads: norm, binary convolution, norm, ...

    Args:
        in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias: as in ``torch.nn.Conv2d``, but
            ``bias`` is False by default, since a norm usually follows; ``padding`` may be "same" or "valid".
        pad_value: value of the padding, in units of the unscaled levels: -1, 0 or +1 for {-1, +1} inputs, 0 or 1 for
            {0, 1} inputs, 0 for full-precision inputs.  0 with {-1, +1} is exact when packed, at a small cost.
        weight_binarizer: a name in ``WEIGHT_BINARIZERS``, an object owned by this layer, or None for full precision.
        input_binarizer: a name in ``INPUT_BINARIZERS``, an object owned by this layer, or None for full precision.

    Shape: (B, C, H, W) -> (B, O, H', W').

    Raises:
        ValueError: unknown names, a ``pad_value`` that is not a level of the inputs.
    """

    roles: ClassVar[dict[str, str]] = {"weight": "latent"}
    weight_binarizer: WeightBinarizer | None
    input_binarizer: InputBinarizer | None
    real_weights: bool
    pad_value: float

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Pair,
        stride: Pair = 1,
        padding: Pair | str = 0,
        dilation: Pair = 1,
        groups: int = 1,
        bias: bool = False,
        *,
        pad_value: float = 0.0,
        weight_binarizer: str | WeightBinarizer | None = "mean-scale",
        input_binarizer: str | InputBinarizer | None = "sign",
    ) -> None:
        weights, inputs = as_weight_binarizer(weight_binarizer), as_input_binarizer(input_binarizer)
        allowed = (0.0,) if inputs is None else tuple(sorted({inputs.low, 0.0, inputs.high}))
        if pad_value not in allowed:
            raise ValueError(f"pad_value must be one of {allowed} for these inputs, got {pad_value}")
        super().__init__(in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias)
        self.pad_value = float(pad_value)
        self.weight_binarizer, self.input_binarizer = weights, inputs
        self.real_weights = False
        if weights is not None:
            weights.attach(self.weight)
        if inputs is not None:
            inputs.attach(in_channels, spatial=2)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        x_BCHW, weight_OCKK, scale, bias_O = operands(self, x_BCHW)
        padding: tuple[int, ...] | str = self.padding
        if self.pad_value != 0:
            x_BCHW = F.pad(x_BCHW, self._reversed_padding_repeated_twice, value=self.pad_value)
            padding = (0, 0)
        if scale is None:
            return F.conv2d(x_BCHW, weight_OCKK, bias_O, self.stride, padding, self.dilation, self.groups)
        out_BOHW = F.conv2d(x_BCHW, weight_OCKK, None, self.stride, padding, self.dilation, self.groups)
        out_BOHW = out_BOHW * scale.reshape(-1, 1, 1)
        return out_BOHW if bias_O is None else out_BOHW + bias_O.reshape(-1, 1, 1)

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, pad_value={self.pad_value:g}"


class BinaryLinear(nn.Linear):
    """Linear layer of two-level weights and two-level inputs.

    ``out[b,o] = scale[o] * sum_f levels(x)[b,f] * sign(weight)[o,f] + bias[o]``; arguments, binarizers and errors as in
    :class:`BinaryConv2d`.

    Shape: (..., F) -> (..., O).
    """

    roles: ClassVar[dict[str, str]] = {"weight": "latent"}
    weight_binarizer: WeightBinarizer | None
    input_binarizer: InputBinarizer | None
    real_weights: bool

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = False,
        *,
        weight_binarizer: str | WeightBinarizer | None = "mean-scale",
        input_binarizer: str | InputBinarizer | None = "sign",
    ) -> None:
        weights, inputs = as_weight_binarizer(weight_binarizer), as_input_binarizer(input_binarizer)
        super().__init__(in_features, out_features, bias)
        self.weight_binarizer, self.input_binarizer = weights, inputs
        self.real_weights = False
        if weights is not None:
            weights.attach(self.weight)
        if inputs is not None:
            inputs.attach(in_features, spatial=0)

    def forward(self, x_BF: Tensor) -> Tensor:
        x_BF, weight_OF, scale, bias_O = operands(self, x_BF)
        if scale is None:
            return F.linear(x_BF, weight_OF, bias_O)
        out_BO = F.linear(x_BF, weight_OF) * scale
        return out_BO if bias_O is None else out_BO + bias_O
