"""Optimizers, their settings, parameter groups by role, and learning-rate schedules as functions of progress."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import nn

from onebit.nn import ROLES, parameters_by_role
from onebit.registry import Registry, check_types


@dataclass(frozen=True, kw_only=True)
class OptimizerSettings:
    """What decides an optimizer and the course of its learning rate.

    Args:
        optimizer: "sgd" (with momentum), "adam" or "adamw".
        lr: peak learning rate.
        momentum: of SGD.
        betas: of Adam and AdamW.
        schedule: course of the learning rate: "constant", "cosine" or "linear" down to 0, "step".
        warmup: share of the training, of each stage where there are two, over which the learning rate rises linearly
            from 0; 5 of 200 epochs are 0.025.
        milestones: for "step": shares of the training after which the learning rate is multiplied with ``gamma``.
        gamma: for "step".
        weight_decay: L2 on norms, biases and the weights of real layers.
        scale_decay: L2 on the learned scales of binary weights.
        latent_decay: L2 on the latent weights of binary layers; with ``two_step`` in the first stage only.
        input_scale_decay: L2 on the learned scales of activations.
        slope_decay: L2 on the slopes of activations.
        lr_factors: parameter role -> factor on the learning rate; latent, weight-scale, input-scale, slope, norm,
            real.
    """

    optimizer: str = "adam"
    lr: float
    momentum: float = 0.9
    betas: tuple[float, float] = (0.9, 0.999)
    schedule: str = "cosine"
    warmup: float = 0.0
    milestones: tuple[float, ...] = (0.5, 0.75)
    gamma: float = 0.1
    weight_decay: float = 0.0
    scale_decay: float = 0.0
    latent_decay: float = 0.0
    input_scale_decay: float = 0.0
    slope_decay: float = 0.0
    lr_factors: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_types(self)
        OPTIMIZERS.check(self.optimizer)
        SCHEDULES.check(self.schedule)
        above_zero("lr", self.lr)
        above_zero("gamma", self.gamma)
        for name in ("weight_decay", "scale_decay", "latent_decay", "input_scale_decay", "slope_decay"):
            _from_zero(name, getattr(self, name))
        for role, factor in self.lr_factors.items():
            if role not in ROLES:
                raise ValueError(f"lr_factors must name roles of parameters, {', '.join(ROLES)}, got {role!r}")
            _from_zero(f"lr_factors[{role!r}]", factor)
        below_one("momentum", self.momentum)
        below_one("warmup", self.warmup)
        for index, beta in enumerate(self.betas):
            below_one(f"betas[{index}]", beta)
        if not all(0 < share < 1 for share in self.milestones):
            raise ValueError(f"milestones must be shares of the training between 0 and 1, got {self.milestones}")


def above_zero(name: str, value: float) -> None:
    """ValueError unless ``value`` is a finite number above 0."""
    if not (_finite(value) and value > 0):
        raise ValueError(f"{name} must be above 0, got {value}")


def below_one(name: str, value: float) -> None:
    """ValueError unless ``value`` lies from 0 to below 1."""
    if not 0 <= value < 1:
        raise ValueError(f"{name} must be from 0 to below 1, got {value}")


def _from_zero(name: str, value: float) -> None:
    if not (_finite(value) and value >= 0):
        raise ValueError(f"{name} must be a number from 0 up, got {value}")


def _finite(value: float) -> bool:
    return abs(value) <= 1e300  # NaN is not; nor is an integer outside the range of a float


Groups = list[dict[str, object]]

OPTIMIZERS: Registry[Callable[[Groups, OptimizerSettings], torch.optim.Optimizer]] = Registry("optimizer")


@OPTIMIZERS.register("sgd")
def sgd(groups: Groups, settings: OptimizerSettings) -> torch.optim.Optimizer:
    """Stochastic gradient descent with momentum."""
    return torch.optim.SGD(groups, lr=settings.lr, momentum=settings.momentum)


@OPTIMIZERS.register("adam")
def adam(groups: Groups, settings: OptimizerSettings) -> torch.optim.Optimizer:
    """Adam; decay is L2, added to the gradient (arXiv:1412.6980)."""
    return torch.optim.Adam(groups, lr=settings.lr, betas=settings.betas)


@OPTIMIZERS.register("adamw")
def adamw(groups: Groups, settings: OptimizerSettings) -> torch.optim.Optimizer:
    """Adam with decay apart from the gradient (arXiv:1711.05101)."""
    return torch.optim.AdamW(groups, lr=settings.lr, betas=settings.betas)


def build_optimizer(model: nn.Module, settings: OptimizerSettings) -> torch.optim.Optimizer:
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
    members = parameters_by_role(model)
    groups: Groups = [
        {
            "params": members[role],
            "weight_decay": decay[role],
            "role": role,
            "lr_factor": settings.lr_factors.get(role, 1.0),
        }
        for role in decay  # in this order: a checkpoint tells parameters by their number
        if role in members
    ]
    return OPTIMIZERS[settings.optimizer](groups, settings)


def set_learning_rate(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Give every group ``lr`` times its factor."""
    for group in optimizer.param_groups:
        group["lr"] = lr * group["lr_factor"]


SCHEDULES: Registry[Callable[[float, OptimizerSettings], float]] = Registry("schedule")
# Each maps progress after the warm-up, in [0, 1), to a factor on the peak learning rate.


@SCHEDULES.register("constant")
def constant(progress: float, settings: OptimizerSettings) -> float:
    """1."""
    return 1.0


@SCHEDULES.register("cosine")
def cosine(progress: float, settings: OptimizerSettings) -> float:
    """``(1 + cos(pi p)) / 2`` (arXiv:1608.03983, one period)."""
    return (1 + math.cos(math.pi * progress)) / 2


@SCHEDULES.register("linear")
def linear(progress: float, settings: OptimizerSettings) -> float:
    """``1 - p``."""
    return 1 - progress


@SCHEDULES.register("step")
def step(progress: float, settings: OptimizerSettings) -> float:
    """``gamma`` to the power of the number of milestones passed."""
    return settings.gamma ** sum(progress >= share for share in settings.milestones)


def learning_rate(step_index: int, steps: int, settings: OptimizerSettings) -> float:
    """The learning rate of one step out of ``steps``: linear warm-up, then the schedule over what is left.

    A function of the step alone, so there is no scheduler whose state could be lost.
    """
    warmup = round(settings.warmup * steps)
    if step_index < warmup:
        return settings.lr * (step_index + 1) / (warmup + 1)
    progress = (step_index - warmup) / max(steps - warmup, 1)
    return settings.lr * SCHEDULES[settings.schedule](progress, settings)
