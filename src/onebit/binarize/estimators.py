"""Surrogate derivatives of the sign and the step function.

All estimators share one forward pass and differ only in the derivative of the backward pass.  An estimator therefore
*is* its derivative: a function of the value before the threshold and of the training progress in [0, 1] that returns a
multiplier of the same shape.  To add one, write this function here and register it; the contract tests find it.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from onebit.binarize.sign import sign, step
from onebit.registry import Registry

Derivative = Callable[[Tensor, Tensor], Tensor]

ESTIMATORS: Registry[Derivative] = Registry("gradient estimator")


@ESTIMATORS.register("identity")
def identity(x: Tensor, progress: Tensor) -> Tensor:
    """1 everywhere: the straight-through estimator without a clip (arXiv:1308.3432)."""
    return torch.ones_like(x)


@ESTIMATORS.register("clipped-identity")
def clipped_identity(x: Tensor, progress: Tensor) -> Tensor:
    """1 on [-1, 1] and 0 outside (BinaryNet, arXiv:1602.02830)."""
    return (x.abs() <= 1).to(x.dtype)


@ESTIMATORS.register("polynomial")
def polynomial(x: Tensor, progress: Tensor) -> Tensor:
    """2 - 2|x| on [-1, 1] and 0 outside (Bi-Real Net, arXiv:1808.00278)."""
    return (2 - 2 * x.abs()).clamp_min(0)


@ESTIMATORS.register("higher-order")
def higher_order(x: Tensor, progress: Tensor) -> Tensor:
    """2 - 4|x| on [-0.5, 0.5] and 0 outside.

    Trained Binarization (arXiv:1909.11366) uses a tighter approximation for weights than for activations; this formula
    is our assumption.
    """
    return (2 - 4 * x.abs()).clamp_min(0)


@ESTIMATORS.register("long-tailed-higher-order")
def long_tailed_higher_order(x: Tensor, progress: Tensor) -> Tensor:
    """2 - 4|x| where |x| <= 0.4, 0.4 where 0.4 < |x| <= 1, 0 beyond: the activations of Trained Binarization."""
    size = x.abs()
    return (2 - 4 * size).clamp_min(0.4) * (size <= 1).to(x.dtype)


@ESTIMATORS.register("swish")
def swish(x: Tensor, progress: Tensor) -> Tensor:
    """b (2 - b x tanh(b x / 2)) / (1 + cosh(b x)) with b = 5: derivative of the sign-swish (BNN+, arXiv:1812.11800)."""
    z = (5 * x).clamp(-40, 40)  # beyond, the value is below 1e-15 and cosh would overflow in half precision's range
    inverse = 2 * torch.sigmoid(z) * torch.sigmoid(-z)  # = 1 / (1 + cosh z), without an overflow
    return 5 * (2 - z * torch.tanh(z / 2)) * inverse


@ESTIMATORS.register("tanh")
def tanh(x: Tensor, progress: Tensor) -> Tensor:
    """1 - tanh(x)^2: derivative of the hyperbolic tangent."""
    return 1 - torch.tanh(x).square()


@ESTIMATORS.register("error-decay")
def error_decay(x: Tensor, progress: Tensor) -> Tensor:
    """k t (1 - tanh(t x)^2), t = 10^(-2 + 3 progress), k = max(1/t, 1) (IR-Net, arXiv:1909.10788)."""
    t = torch.pow(10.0, 3 * progress.to(torch.float32) - 2).to(x.dtype)
    return torch.clamp_min(t, 1) * (1 - torch.tanh(t * x).square())


@ESTIMATORS.register("power")
def power(x: Tensor, progress: Tensor) -> Tensor:
    """(1/o) |x|^((1-o)/o) on [-1.5, 1.5], 0 beyond, o = 1 + 2 progress: the power family of ReSTE (arXiv:2308.06689).

    The formula diverges at 0; for |x| < 0.1 the value at 0.1 is used (our simplification).
    """
    o = (1 + 2 * progress.to(torch.float32)).to(x.dtype)
    size = x.abs()
    return torch.pow(size.clamp_min(0.1), (1 - o) / o) / o * (size <= 1.5).to(x.dtype)


class _WithSurrogate(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, progress: Tensor, hard: Callable[[Tensor], Tensor], derivative: Derivative
    ) -> Tensor:
        ctx.save_for_backward(x, progress)
        ctx.derivative = derivative
        return hard(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:
        x, progress = ctx.saved_tensors
        return grad * ctx.derivative(x, progress), None, None, None


def _binarize(x: Tensor, hard: Callable[[Tensor], Tensor], estimator: str, progress: Tensor | float) -> Tensor:
    derivative = ESTIMATORS[estimator]
    if not (torch.is_grad_enabled() and x.requires_grad):
        return hard(x)  # also keeps the graphs that torch.export and torch.onnx see plain
    if not isinstance(progress, Tensor):
        progress = torch.tensor(float(progress), device=x.device)
    return _WithSurrogate.apply(x, progress, hard, derivative)


def binarize_sign(x: Tensor, estimator: str = "clipped-identity", progress: Tensor | float = 0.0) -> Tensor:
    """``sign(x)`` in {-1, +1}; the backward pass multiplies the gradient by the derivative of the estimator at ``x``.

    Args:
        x: any shape; dtype is kept.
        estimator: a name in ``ESTIMATORS``; ValueError, with the nearest name, for another.
        progress: training progress in [0, 1]; only some estimators use it.
    """
    return _binarize(x, sign, estimator, progress)


def binarize_step(x: Tensor, estimator: str = "long-tailed-higher-order", progress: Tensor | float = 0.0) -> Tensor:
    """``step(x)`` in {0, 1}; gradient and arguments as in :func:`binarize_sign`."""
    return _binarize(x, step, estimator, progress)
