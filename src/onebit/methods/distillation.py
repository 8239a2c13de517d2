"""Distillation: a trained network's outputs, and where it looks, as what is learned from."""

import math
from collections.abc import Sequence
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from onebit.methods.base import METHODS, Batch, Criterion, Method, Outputs
from onebit.methods.features import Features, check_same_maps, find_layers, map_shapes

# Shape letters: B batch, C channels, H W map.


@METHODS.register("distillation")
class Distillation(Method):
    """``a I(outputs, teacher's outputs; T) + (1 - a) L(outputs, targets)`` (arXiv:1503.02531).

    ``L`` is the task's criterion, ``I`` what the task says of imitating a teacher; for classification
    ``I = -T^2 sum_k softmax(teacher / T)_k log softmax(logits / T)_k``.  The defaults, a = 1 and T = 1, are ReActNet's
    form (arXiv:2003.03488): the teacher's probabilities alone.

    Args:
        temperature: T, above 0.
        alpha: a, from 0 to 1: the teacher's share.
    """

    needs_teacher = True

    def __init__(self, *, temperature: float = 1.0, alpha: float = 1.0) -> None:
        super().__init__()
        if not (math.isfinite(temperature) and temperature > 0):
            raise ValueError(f"temperature must be above 0, got {temperature}")
        if not 0 <= alpha <= 1:
            raise ValueError(f"alpha must be from 0 to 1, got {alpha}")
        self.temperature, self.alpha = temperature, alpha

    def losses(self, network: nn.Module, batch: Batch, teacher: Outputs | None = None) -> tuple[dict[str, Tensor], Any]:
        assert teacher is not None
        theirs = teacher(*batch.inputs)
        outputs = network(*batch.inputs)
        return self._terms(outputs, theirs, batch.targets), outputs

    def _terms(self, outputs: Any, theirs: Any, targets: Any) -> dict[str, Tensor]:
        """The teacher's term and the task's, each with its share; what has no share is left out."""
        terms = {}
        if self.alpha > 0:
            terms["distillation"] = self.alpha * self.criterion.imitation(outputs, theirs, self.temperature)
        if self.alpha < 1:
            own = self.criterion.losses(outputs, targets)
            terms |= {name: (1 - self.alpha) * term for name, term in own.items()}
        return terms


@METHODS.register("attention-distillation")
class AttentionDistillation(Distillation):
    """Distillation of the outputs plus ``w sum_layers ||Q(student) - Q(teacher)||^2`` (arXiv:1612.03928).

    ``Q(A) = vec(sum_c A_c^2) / ||vec(sum_c A_c^2)||`` is a layer's attention map, independent of its number of
    channels; mean over the batch.  Real-to-Binary (arXiv:2003.11535) trains binary networks with it.  Our assumptions:
    the square of the norm, w = 1, and every binary convolution's block.

    Args:
        attention_weight: w.
        layers: names or patterns of the network's layers; null takes the blocks of all binary convolutions.
        teacher_layers: of as many layers of the teacher; the first is compared with the network's first, and so on, in
            each network's order.  null takes those of the same names.
        temperature, alpha: as in "distillation".
    """

    def __init__(
        self,
        *,
        attention_weight: float = 1.0,
        layers: Sequence[str] | None = None,
        teacher_layers: Sequence[str] | None = None,
        temperature: float = 1.0,
        alpha: float = 1.0,
    ) -> None:
        super().__init__(temperature=temperature, alpha=alpha)
        if not (math.isfinite(attention_weight) and attention_weight >= 0):
            raise ValueError(f"attention_weight must be a number from 0 up, got {attention_weight}")
        self.attention_weight, self.layers, self.teacher_layers = attention_weight, layers, teacher_layers

    def attach(
        self, network: nn.Module, teacher: nn.Module | None, criterion: Criterion, example: tuple[Tensor, ...]
    ) -> tuple[nn.Module, nn.Module | None]:
        super().attach(network, teacher, criterion, example)
        assert teacher is not None
        mine = find_layers(network, self.layers, "method_options.layers")
        if self.teacher_layers is None:
            find_layers(teacher, mine, "teacher")
            theirs = mine
        else:
            theirs = find_layers(teacher, self.teacher_layers, "method_options.teacher_layers")
            if len(theirs) != len(mine):
                raise ValueError(
                    f"layers names {len(mine)} layers, {mine}, and teacher_layers {len(theirs)}, {theirs}; "
                    "give each layer one of the teacher"
                )
        shapes = map_shapes(network, mine, example)
        for layer, size in shapes.items():
            if len(size) != 3:
                raise ValueError(f"layer {layer!r} gives {size}, which has no positions to look at; name another")
        check_same_maps(shapes, map_shapes(teacher, theirs, example), slice(1, None))
        return Features(network, mine, attention), Features(teacher, theirs, attention)

    def losses(self, network: nn.Module, batch: Batch, teacher: Outputs | None = None) -> tuple[dict[str, Tensor], Any]:
        assert teacher is not None
        their_outputs, their_maps = teacher(*batch.inputs)
        outputs, maps = network(*batch.inputs)
        terms = self._terms(outputs, their_outputs, batch.targets)
        terms["attention"] = self.attention_weight * attention_loss(maps, their_maps)
        return terms, outputs


def attention(map_BCHW: Tensor) -> Tensor:
    """Attention map: ``sum_c A_c^2``, flattened and divided by its L2 norm, (B, H*W)."""
    return F.normalize(map_BCHW.square().sum(1).flatten(1))


def attention_loss(mine: Sequence[Tensor], theirs: Sequence[Tensor]) -> Tensor:
    """``sum_layers mean_images ||mine - theirs||^2`` of what :func:`attention` gave."""
    parts = [(a - b).square().sum(1).mean() for a, b in zip(mine, theirs, strict=True)]
    return sum(parts[1:], parts[0])
