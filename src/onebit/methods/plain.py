"""Ordinary supervised training."""

import torch.nn.functional as F
from torch import Tensor, nn

from onebit.methods.base import METHODS, Method, Outputs


@METHODS.register("plain")
class Plain(Method):
    """Cross-entropy against the labels, in nats per image.

    ``-sum_k q_k log softmax(logits)_k`` with ``q = (1 - s) onehot(label) + s / num_classes``.

    Args:
        label_smoothing: s, from 0 to below 1.
    """

    def __init__(self, *, label_smoothing: float = 0.0) -> None:
        super().__init__()
        if not 0 <= label_smoothing < 1:
            raise ValueError(f"label_smoothing must be from 0 to below 1, got {label_smoothing}")
        self.label_smoothing = label_smoothing

    def losses(
        self, network: nn.Module, images_BCHW: Tensor, labels_B: Tensor, teacher: Outputs | None = None
    ) -> tuple[dict[str, Tensor], Tensor]:
        logits = network(images_BCHW)
        return {"cross_entropy": F.cross_entropy(logits, labels_B, label_smoothing=self.label_smoothing)}, logits
