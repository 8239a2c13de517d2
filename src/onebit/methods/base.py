"""The registry of training methods, what a method is, and what it sees of the task."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from onebit.registry import Registry

# Shape letters: B batch.

Outputs = Callable[..., Any]  # a batch's inputs -> what the teacher's attached form returns, without a gradient


@dataclass(frozen=True)
class Batch:
    """Examples that one optimizer step learns from.

    Attributes:
        inputs: what the network is called with, ``network(*inputs)``; each of shape (B, ...).
        targets: what the criterion compares the network's outputs with: labels, maps, or several of them.
    """

    inputs: tuple[Tensor, ...]
    targets: Any

    @property
    def size(self) -> int:
        """B, the number of examples."""
        return len(self.inputs[0])


class Criterion(Protocol):
    """What a task asks of the outputs of its networks.  Tasks lie above methods, so a method is handed this part."""

    def losses(self, outputs: Any, targets: Any) -> dict[str, Tensor]:
        """Named scalar terms, means over the batch, whose sum is to be minimized."""
        ...

    def imitation(self, outputs: Any, teacher_outputs: Any, temperature: float) -> Tensor:
        """How far outputs are from those of a teacher for the same inputs, a scalar."""
        ...


class Method(nn.Module, ABC):
    """What a network is trained to minimize: the sum of the named terms that :meth:`losses` returns.

    It is a module, so that what a method owns besides the network, such as discriminators, is moved to the device and
    kept in checkpoints with it.  A subclass that needs no more than a loss overrides :meth:`losses` alone.

    Attributes:
        needs_teacher: whether ``TrainSettings.teacher`` must name a trained network.
        criterion: the task's, from :meth:`attach` on.
        optimizers: of what the method owns; ``losses`` steps them, checkpoints hold them.
        scalars: numbers of the last step, under the same names in every step; the record holds their means over each
            epoch.
    """

    needs_teacher = False
    criterion: Criterion

    def __init__(self) -> None:
        super().__init__()
        self.optimizers: list[torch.optim.Optimizer] = []
        self.scalars: dict[str, Tensor] = {}

    def attach(
        self, network: nn.Module, teacher: nn.Module | None, criterion: Criterion, example: tuple[Tensor, ...]
    ) -> tuple[nn.Module, nn.Module | None]:
        """The forms of network and teacher that ``losses`` will call; called once, before anything is compiled.

        Both are on their device; the teacher is frozen and in evaluation mode, None unless ``needs_teacher``.  A method
        that wants feature maps returns each wrapped in :class:`~onebit.methods.features.Features`, and makes the
        parameters and optimizers that depend on the networks here.

        Args:
            example: inputs of a batch of one, of the right shapes, on any device.
        """
        self.criterion = criterion
        return network, teacher

    def frozen_roles(self, step: int, steps: int) -> frozenset[str]:
        """Roles of the parameters that the step with this number, out of ``steps`` of an epoch, leaves as they are.

        A function of its arguments alone, so that a resumed run does the same.
        """
        return frozenset()

    @abstractmethod
    def losses(self, network: nn.Module, batch: Batch, teacher: Outputs | None = None) -> tuple[dict[str, Tensor], Any]:
        """Named scalar terms and the network's outputs for a batch.

        ``network`` and ``teacher`` are what :meth:`attach` returned, perhaps compiled; the teacher runs without
        gradients.
        """


METHODS: Registry[Callable[..., Method]] = Registry("training method")
