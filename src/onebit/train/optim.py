"""Optimizers, parameter groups by role, and learning-rate schedules as functions of progress."""

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import nn

from onebit.nn import parameter_roles
from onebit.registry import Registry

if TYPE_CHECKING:
    from onebit.train.settings import TrainSettings

Groups = list[dict[str, object]]

OPTIMIZERS: Registry[Callable[[Groups, "TrainSettings"], torch.optim.Optimizer]] = Registry("optimizer")


@OPTIMIZERS.register("sgd")
def sgd(groups: Groups, settings: "TrainSettings") -> torch.optim.Optimizer:
    """Stochastic gradient descent with momentum."""
    return torch.optim.SGD(groups, lr=settings.lr, momentum=settings.momentum)


@OPTIMIZERS.register("adam")
def adam(groups: Groups, settings: "TrainSettings") -> torch.optim.Optimizer:
    """Adam; decay is L2, added to the gradient (arXiv:1412.6980)."""
    return torch.optim.Adam(groups, lr=settings.lr, betas=settings.betas)


@OPTIMIZERS.register("adamw")
def adamw(groups: Groups, settings: "TrainSettings") -> torch.optim.Optimizer:
    """Adam with decay apart from the gradient (arXiv:1711.05101)."""
    return torch.optim.AdamW(groups, lr=settings.lr, betas=settings.betas)


def build_optimizer(model: nn.Module, settings: "TrainSettings") -> torch.optim.Optimizer:
    """The optimizer with one group per parameter role: its decay and its factor on the learning rate.

    Which role a parameter has is decided by the layer that owns it.  Each group carries "role" and "lr_factor".
    """
    decay = {
        "latent": settings.latent_decay,
        "weight-scale": settings.scale_decay,
        "input-scale": settings.input_scale_decay,
        "slope": settings.slope_decay,
        "norm": settings.weight_decay,
        "real": settings.weight_decay,
    }
    members: dict[str, list[nn.Parameter]] = {role: [] for role in decay}
    parameters = dict(model.named_parameters())
    for name, role in parameter_roles(model).items():
        members[role].append(parameters[name])
    groups: Groups = [
        {
            "params": members[role],
            "weight_decay": decay[role],
            "role": role,
            "lr_factor": settings.lr_factors.get(role, 1.0),
        }
        for role in decay
        if members[role]
    ]
    return OPTIMIZERS[settings.optimizer](groups, settings)


def set_learning_rate(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Give every group ``lr`` times its factor."""
    for group in optimizer.param_groups:
        group["lr"] = lr * group["lr_factor"]


SCHEDULES: Registry[Callable[[float, "TrainSettings"], float]] = Registry("schedule")
# Each maps progress behind the warm-up, in [0, 1), to a factor on the peak learning rate.


@SCHEDULES.register("constant")
def constant(progress: float, settings: "TrainSettings") -> float:
    """1."""
    return 1.0


@SCHEDULES.register("cosine")
def cosine(progress: float, settings: "TrainSettings") -> float:
    """``(1 + cos(pi p)) / 2`` (arXiv:1608.03983, one period)."""
    return (1 + math.cos(math.pi * progress)) / 2


@SCHEDULES.register("linear")
def linear(progress: float, settings: "TrainSettings") -> float:
    """``1 - p``."""
    return 1 - progress


@SCHEDULES.register("step")
def step(progress: float, settings: "TrainSettings") -> float:
    """``gamma`` to the power of the number of milestones passed."""
    return settings.gamma ** sum(progress >= share for share in settings.milestones)


def learning_rate(step_index: int, steps: int, settings: "TrainSettings") -> float:
    """The learning rate of one step out of ``steps``: linear warm-up, then the schedule over what is left.

    A function of the step alone, so there is no scheduler whose state could be lost.
    """
    warmup = round(settings.warmup * steps)
    if step_index < warmup:
        return settings.lr * (step_index + 1) / (warmup + 1)
    progress = (step_index - warmup) / max(steps - warmup, 1)
    return settings.lr * SCHEDULES[settings.schedule](progress, settings)
