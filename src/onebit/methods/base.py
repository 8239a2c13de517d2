"""The registry of training methods and what a method is."""

from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor, nn

from onebit.registry import Registry

# Shape letters: B batch, C channels, H W image.

Outputs = Callable[[Tensor], Tensor]  # images (B, C, H, W) -> what the teacher's attached form returns, no gradient


class Method(nn.Module, ABC):
    """What a network is trained to minimize: the sum of the named terms that :meth:`losses` returns.

    It is a module, so that whatever a method owns besides the network (discriminators) is moved to the device and kept
    in checkpoints with it.  A subclass that needs no more than a loss overrides :meth:`losses` alone.

    Attributes:
        needs_teacher: whether ``TrainSettings.teacher`` must name a trained network.
        optimizers: of what the method owns; ``losses`` steps them, checkpoints hold them.
        scalars: numbers of the last step, under the same names in every step; the record holds their means over each
            epoch.
    """

    needs_teacher = False

    def __init__(self) -> None:
        super().__init__()
        self.optimizers: list[torch.optim.Optimizer] = []
        self.scalars: dict[str, Tensor] = {}

    def attach(
        self, network: nn.Module, teacher: nn.Module | None, shape: tuple[int, int, int]
    ) -> tuple[nn.Module, nn.Module | None]:
        """The forms of network and teacher that ``losses`` will call; called once, before anything is compiled.

        Both are on their device; the teacher is frozen and in evaluation mode, None unless ``needs_teacher``.  A method
        that wants feature maps returns each wrapped in :class:`~onebit.methods.features.Features`, and makes the
        parameters and optimizers that depend on the networks here.

        Args:
            shape: (C, H, W) of an image.
        """
        return network, teacher

    def frozen_roles(self, step: int, steps: int) -> frozenset[str]:
        """Roles of the parameters that the step with this number, out of ``steps`` of an epoch, leaves as they are.

        A function of its arguments alone, so that a resumed run does the same.
        """
        return frozenset()

    @abstractmethod
    def losses(
        self, network: nn.Module, images_BCHW: Tensor, labels_B: Tensor, teacher: Outputs | None = None
    ) -> tuple[dict[str, Tensor], Tensor]:
        """Named scalar terms and the network's logits (B, num_classes) for a batch of normalized images.

        ``network`` and ``teacher`` are what :meth:`attach` returned, perhaps compiled; the teacher runs without
        gradients.
        """


METHODS: Registry[Callable[..., Method]] = Registry("training method")
