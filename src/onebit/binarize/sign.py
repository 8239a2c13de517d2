"""The sign and the step function: the training side's only definition of which real numbers map to which level."""

import torch
from torch import Tensor


def sign(x: Tensor) -> Tensor:
    """Return -1 where ``x < 0`` and +1 elsewhere, in the dtype of ``x``.

    Zero, of either sign, becomes +1.  ``torch.sign`` maps 0 to 0, a third value that a bit cannot hold: a packed model
    would disagree with the trained one wherever an activation is exactly zero.
    """
    return torch.ones_like(x).masked_fill(x < 0, -1)


def step(x: Tensor) -> Tensor:
    """Return 1 where ``x > 0`` (strictly) and 0 elsewhere, in the dtype of ``x``.

    The activation of Trained Binarization (arXiv:1909.11366) before its scale.
    """
    return (x > 0).to(x.dtype)
