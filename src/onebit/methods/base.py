"""The registry of training methods and what a method is."""

from collections.abc import Callable

from torch import Tensor, nn

from onebit.registry import Registry

# Shape letters: B batch, C channels, H W image.


class Method(nn.Module):
    """What a network is trained to minimise: the sum of the named terms that :meth:`losses` returns.

    It is a module, so that whatever a method owns besides the network (a teacher, discriminators) is moved to the
    device and kept in checkpoints with it.
    """

    def losses(self, network: nn.Module, images_BCHW: Tensor, labels_B: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """Named scalar terms and the network's logits (B, num_classes) for a batch of normalised images."""
        raise NotImplementedError


METHODS: Registry[Callable[..., Method]] = Registry("training method")
