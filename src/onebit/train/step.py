"""One optimizer step: a batch, the method's losses, the gradient, the optimizer."""

from collections.abc import Iterator
from typing import Any, cast

import torch
from lightning.fabric import Fabric
from torch import Tensor, nn

from onebit.data import Mixing
from onebit.data.base import mix
from onebit.methods import Batch
from onebit.nn import keep_positive_, parameters_by_role
from onebit.tasks import Mixed, Task
from onebit.train.optim import learning_rate, set_learning_rate
from onebit.train.stages import Stage
from onebit.train.state import State


class Step:
    """One optimizer step on the state of a run per call.

    Args:
        form, teacher: what the method's ``attach`` returned.
    """

    def __init__(
        self,
        state: State,
        task: Task,
        fabric: Fabric,
        form: nn.Module,
        teacher: nn.Module | None,
        memory_format: torch.memory_format,
    ) -> None:
        self.state, self.task, self.fabric, self.memory_format = state, task, fabric, memory_format
        self.form = self._runnable(form)
        self.teacher = None if teacher is None else self._runnable(teacher)
        self.optimizer = cast(torch.optim.Optimizer, fabric.setup_optimizers(state.optimizer))
        self.members = parameters_by_role(state.network)
        mixup, cutmix = state.settings.mixup, state.settings.cutmix
        self.mixing = Mixing(mixup, cutmix) if mixup or cutmix else None

    def _runnable(self, form: nn.Module) -> nn.Module:
        """Compiled if the run is, and in the run's precision."""
        forward = torch.compile(form, dynamic=False) if self.state.compiled else form
        return self.fabric.setup_module(cast(nn.Module, forward))

    def __call__(self, feed: Iterator[Batch], stage: Stage, steps_per_epoch: int) -> float:
        """Learn from the next batch of ``feed``; returns the learning rate."""
        state, settings = self.state, self.state.settings
        torch.manual_seed(mix(settings.seed, 1, state.step))  # augmentation, mixing, dropout: of seed and step alone
        batch = self._mixed(next(feed))
        lr = learning_rate(state.step - stage.start, stage.steps, settings)
        set_learning_rate(state.optimizer, lr)
        inputs = tuple(
            each.contiguous(memory_format=self.memory_format) if each.dim() == 4 else each for each in batch.inputs
        )
        batch = Batch(inputs, batch.targets)
        terms, outputs = state.method.losses(self.form, batch, None if self.teacher is None else self._ask_teacher)
        loss = torch.stack(list(terms.values())).sum()
        self.fabric.backward(loss)
        for role in state.method.frozen_roles(state.step % steps_per_epoch, steps_per_epoch):
            for parameter in self.members.get(role, []):
                parameter.grad = None  # optimizers leave such parameters, and their state, as they are
        norm = self._clip_gradient()
        self.optimizer.step()
        state.optimizer.zero_grad(set_to_none=True)
        keep_positive_(state.network)
        with torch.no_grad():
            if settings.clip_latent:
                for weight in self.members.get("latent", []):
                    weight.clamp_(-1, 1)
            if state.average is not None:
                state.average.update(state.network, state.step - stage.start)
            scores = self.task.training_scores(outputs, batch.targets)
            values = {"train_loss": loss, **{f"train_{name}": score for name, score in scores.items()}}
            values["gradient_norm"] = norm
            if len(terms) > 1:
                values |= {f"loss_{name}": term for name, term in terms.items()}
            state.tally.add(values | state.method.scalars, batch.size)
        state.step += 1
        return lr

    def _mixed(self, batch: Batch) -> Batch:
        """The batch mixed with itself in another order, if the settings say so; as it is otherwise."""
        if self.mixing is None:
            return batch
        (images_BCHW,) = batch.inputs
        images_BCHW, partners_B, share = self.mixing(images_BCHW)
        return Batch((images_BCHW,), Mixed(batch.targets, batch.targets[partners_B], share))

    def _ask_teacher(self, *inputs: Tensor) -> Any:
        """What the teacher's attached form gives for a batch, without a gradient."""
        assert self.teacher is not None
        with torch.no_grad():
            return self.teacher(*inputs)

    def _clip_gradient(self) -> Tensor:
        """Norm of the whole gradient, before it is clipped if the settings say so."""
        largest = self.state.settings.clip_gradient
        gradients = [p.grad for group in self.members.values() for p in group if p.grad is not None]
        norm = torch.nn.utils.get_total_norm(gradients)
        if largest is not None:
            torch.nn.utils.clip_grads_with_norm_(self.state.network.parameters(), largest, norm)
        return norm
