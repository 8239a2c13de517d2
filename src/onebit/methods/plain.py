"""Ordinary supervised training."""

from typing import Any

from torch import Tensor, nn

from onebit.methods.base import METHODS, Batch, Method, Outputs


@METHODS.register("plain")
class Plain(Method):
    """The task's criterion alone; for classification the cross-entropy against the labels."""

    def losses(self, network: nn.Module, batch: Batch, teacher: Outputs | None = None) -> tuple[dict[str, Tensor], Any]:
        outputs = network(*batch.inputs)
        return self.criterion.losses(outputs, batch.targets), outputs
