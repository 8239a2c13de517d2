"""The stages of a run: one, or two where weights become binary later than activations."""

from dataclasses import dataclass

import torch
from torch import nn

from onebit.nn import set_real_weights
from onebit.train.average import Average
from onebit.train.settings import TrainSettings


@dataclass(frozen=True)
class Stage:
    """A part of a run with a warm-up, a schedule and an optimizer state of its own.

    ``start`` is the number of its first step, ``steps`` how many it has.
    """

    number: int
    start: int
    steps: int
    real_weights: bool = False


def plan_stages(settings: TrainSettings, steps_per_epoch: int) -> tuple[Stage, ...]:
    """The stages in order, each of whole epochs; a function of its arguments alone.

    Two stages are those of Real-to-Binary (arXiv:2003.11535) and ReActNet (arXiv:2003.03488): real weights first, then
    binary ones.
    """
    steps = settings.epochs * steps_per_epoch
    first = round(settings.two_step * settings.epochs) * steps_per_epoch
    if not first:
        return (Stage(1, 0, steps),)
    return Stage(1, 0, first, real_weights=True), Stage(2, first, steps - first)


def enter_stage(
    stage: Stage,
    network: nn.Module,
    average: Average | None,
    optimizer: torch.optim.Optimizer,
    settings: TrainSettings,
    begins: bool,
) -> None:
    """Make network, average and optimizer those of ``stage``; call it before the first step of every epoch.

    Args:
        begins: this is the stage's first step: learned weight scales start from the weights as they are now, the
            average from both, and the optimizer forgets what it has gathered.
    """
    if not settings.two_step:
        return
    for each in (network, *([average.network] if average is not None else [])):
        set_real_weights(each, stage.real_weights)
    for group in optimizer.param_groups:
        if group["role"] == "latent":
            group["weight_decay"] = settings.latent_decay if stage.real_weights else 0.0
    if begins and stage.number > 1:
        optimizer.state.clear()
        for module in network.modules():
            binarizer = getattr(module, "weight_binarizer", None)
            if binarizer is not None:
                binarizer.restart(module.weight)
        if average is not None:
            average.restart(network)
