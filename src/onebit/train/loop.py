"""The training loop, on lightning's Fabric: settings in, a trained model and its record out.

Every random choice is a function of (seed, step) or (seed, epoch), and so are learning rate and progress.  That makes
resuming exact by construction: a run that was killed and resumed ends with the weights of one that was not.
"""

import math
import shlex
import time
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, cast

import torch
from lightning.fabric import Fabric
from lightning.fabric.loggers import TensorBoardLogger
from torch import Tensor, nn

from onebit.data import AUGMENTATIONS, DATASETS, ImageData, MemorySet, Normalize, epoch_order
from onebit.data.base import mix
from onebit.files import write_atomic
from onebit.methods import METHODS
from onebit.nn import as_scheme, keep_positive_, parameter_roles, set_progress
from onebit.report.curve import curve_png
from onebit.train.artifact import FORMAT as MODEL_FORMAT
from onebit.train.artifact import build_model, describe_input, save_trained
from onebit.train.checkpoint import CheckpointError, load_checkpoint, save_checkpoint
from onebit.train.compiling import compile_pays, has_compiler
from onebit.train.evaluate import batches, evaluate
from onebit.train.files import prepare_folder, read_json
from onebit.train.interrupt import Interrupted, StopRequest
from onebit.train.optim import build_optimizer, learning_rate, set_learning_rate
from onebit.train.progress import Display
from onebit.train.record import CURVE, RECORD, new_record, write_record
from onebit.train.settings import TrainSettings
from onebit.train.stages import Stage, enter_stage, plan_stages
from onebit.train.start import start_from
from onebit.train.tally import Tally
from onebit.train.teacher import check_teacher, load_teacher

CHECKPOINTS = "checkpoints"
LAST = "last.ckpt"
BEST = "best.ckpt"


@dataclass(frozen=True)
class Result:
    """What a finished run gave; accuracies are shares of 1 on the test images."""

    out: str
    accuracy: float  # of the model that was kept
    last_accuracy: float
    best_accuracy: float
    best_epoch: int
    epochs: int
    steps: int
    seconds: float
    compiled: bool


class Diverged(ValueError):
    """The loss is no longer a finite number."""


def train(
    settings: TrainSettings,
    out: Path | str,
    *,
    data_dir: Path | None = None,
    recipe: str | None = None,
    resume: bool = False,
    show: bool = True,
) -> Result:
    """Train by ``settings`` and leave model, record, curve and checkpoints in the folder ``out``.

    Args:
        recipe: name to note in the record.
        resume: go on with the run in ``out``, which must have the same settings.
        show: progress on standard error.

    Raises:
        ValueError: settings that do not fit each other or the run in ``out``; missing or damaged data or checkpoint.
        OSError: ``out`` cannot be written or is too full.
        Interrupted: SIGINT or SIGTERM came; a checkpoint has been left.
    """
    check_teacher(settings)
    out = Path(out)
    checkpoint = out / CHECKPOINTS / LAST
    if not resume and (out / RECORD).exists() and checkpoint.exists():
        raise ValueError(f"{str(out)!r} already holds a run; --resume goes on with it, another --out starts a new one")
    state = load_checkpoint(checkpoint) if resume and checkpoint.exists() else None
    if resume:
        _check_same(settings, stored_settings(out)[0], out)
    data = DATASETS[settings.dataset](data_dir, image_size=settings.image_size)
    run = Run(settings, data, out, recipe=recipe, data_dir=data_dir, state=state, show=show)
    return run.go()


def stored_settings(out: Path) -> tuple[TrainSettings, str | None]:
    """The settings and the recipe's name of the run in ``out``; CheckpointError if there is none."""
    if not (out / RECORD).is_file():
        raise CheckpointError(f"{str(out)!r} holds no run to resume; leave --resume out to start one")
    record = read_json(out / RECORD)
    try:
        return TrainSettings.from_json(record["settings"]), record["recipe"]
    except (KeyError, TypeError) as error:
        raise CheckpointError(f"{str(out / RECORD)!r} is damaged: {error}") from error


def _check_same(settings: TrainSettings, stored: TrainSettings, out: Path) -> None:
    mine, theirs = settings.as_json(), stored.as_json()
    for name, value in theirs.items():
        if name == "teacher" and None not in (mine[name], value):
            continue  # it may lie elsewhere now; the checkpoint knows its weights
        if mine[name] != value:
            raise ValueError(
                f"the run in {str(out)!r} was started with {name} {value!r}, not {mine[name]!r}; "
                "resume it with its own settings or start another with --out"
            )


class Run:
    """One run: network, method, optimizer, data and how far it has come."""

    def __init__(
        self,
        settings: TrainSettings,
        data: ImageData,
        out: Path,
        *,
        recipe: str | None,
        data_dir: Path | None,
        state: dict[str, Any] | None,
        show: bool,
    ) -> None:
        self.settings, self.data, self.out, self.recipe = settings, data, out, recipe
        self.data_dir, self.show = data_dir, show
        torch.manual_seed(settings.seed)
        image = data.input
        self.options = {"input_size": image.height, **settings.model_options}
        self.network = build_model(
            settings.model,
            self.options,
            scheme=as_scheme(settings.scheme, **settings.scheme_options),
            num_classes=len(data.classes),
            in_channels=data.input.channels,
        )
        if settings.start_from is not None and state is None:
            start_from(self.network, settings.start_from)
        self.method = METHODS[settings.method](**settings.method_options)
        weight_bytes = sum(tensor.numel() * tensor.element_size() for tensor in self.network.state_dict().values())
        prepare_folder(out / CHECKPOINTS, 10 * weight_bytes + 10_000_000)

        self.batch_size = min(settings.batch_size, len(data.train))
        self.steps_per_epoch = len(data.train) // self.batch_size
        self.steps = settings.epochs * self.steps_per_epoch
        self.last_step = min(self.steps, settings.max_steps or self.steps)
        self.stages = plan_stages(settings, self.steps_per_epoch)
        if self.last_step <= self.stages[-1].start:
            raise ValueError(
                f"max_steps {self.last_step} ends before the second stage, at step {self.stages[-1].start}"
            )
        self.step = 0
        self.history: list[dict[str, Any]] = []
        self.seconds = 0.0

        self.fabric = Fabric(accelerator="auto", devices=1, precision=settings.precision)  # type: ignore[arg-type]
        device = self.fabric.device
        self.network.to(device)
        self.compiled = self._decide_compile() if state is None else bool(state["compiled"])
        memory_format = torch.channels_last if settings.channels_last else torch.contiguous_format
        self.network.to(memory_format=memory_format)  # type: ignore[call-overload]
        self.memory_format = memory_format
        teacher = self._load_teacher(state)
        torch.manual_seed(mix(settings.seed, 2))  # whatever the teacher is, the method starts from the same numbers
        form, teacher = self.method.to(device).attach(self.network, teacher, data.image_shape)
        self.members: dict[str, list[nn.Parameter]] = {}
        parameters = dict(self.network.named_parameters())
        for name, role in parameter_roles(self.network).items():
            self.members.setdefault(role, []).append(parameters[name])
        self.optimizer = build_optimizer(self.network, settings)
        self.tally = Tally(self.network)
        if state is not None:
            self._restore(state)
        self.trained = self._runnable(form)
        self.teacher = None if teacher is None else self._runnable(teacher)
        self.stepper = cast(torch.optim.Optimizer, self.fabric.setup_optimizers(self.optimizer))
        self.normalize = Normalize(image.mean, image.std, AUGMENTATIONS[settings.augment](image.height)).to(device)
        self.train_set = data.train
        if isinstance(data.train, MemorySet):
            self.train_set = MemorySet(data.train.images_NCHW.to(device), data.train.labels_N.to(device))
        self.record = new_record(recipe, settings.as_json())
        self.record["compiled"] = self.compiled

    def _load_teacher(self, state: dict[str, Any] | None) -> nn.Module | None:
        """The teacher on the device, None if the method has none; ValueError if it is not the checkpoint's."""
        self.teacher_digest = ""
        if self.settings.teacher is None:
            return None
        teacher, self.teacher_digest = load_teacher(self.settings.teacher, self.data)
        if state is not None and state["teacher"] != self.teacher_digest:
            raise ValueError(
                f"the teacher in {self.settings.teacher!r} is not the one that the run in {str(self.out)!r} was "
                "started with; put that one back, or start another run with --out"
            )
        return teacher.to(self.fabric.device).to(memory_format=self.memory_format)  # type: ignore[call-overload]

    def _runnable(self, form: nn.Module) -> nn.Module:
        """Compiled if the run is, and in the run's precision."""
        forward = torch.compile(form, dynamic=False) if self.compiled else form
        return self.fabric.setup_module(cast(nn.Module, forward))

    def go(self) -> Result:
        """Train to the end; return what came out."""
        write_record(self.out, self._current_record())
        logger = TensorBoardLogger(self.out, name="tensorboard", version="")
        with StopRequest() as stop, Display(self.last_step, self.step, self.settings.epochs, self.show) as display:
            if self.compiled and self.step < self.last_step:
                display.note("compiling; the first step takes about a minute")
            while self.step < self.last_step:
                row = self._epoch(stop, display)
                logger.log_metrics({k: v for k, v in row.items() if v is not None and k != "step"}, step=row["step"])
                display.epoch(row)
        logger.finalize("success")
        return self._finish()

    def _epoch(self, stop: StopRequest, display: Display) -> dict[str, Any]:
        """The rest of the current epoch, its measurement and its checkpoint; returns its row of the record."""
        settings = self.settings
        epoch, done = divmod(self.step, self.steps_per_epoch)
        started, first_step = time.perf_counter(), self.step
        stage = self._stage()
        first_of_epoch = self.step - done
        enter_stage(stage, self.network, self.optimizer, settings, begins=self.step == stage.start)
        set_progress(self.network, (first_of_epoch - stage.start) / stage.steps)
        if not done:
            self.tally.start()
        self.network.train()
        self.method.train()
        self.normalize.train()
        order = epoch_order(len(self.data.train), settings.seed, epoch)
        rest = order[done * self.batch_size : self.steps_per_epoch * self.batch_size]
        lr = 0.0
        for pixels_BCHW, labels_B in batches(self.train_set, rest, self.batch_size, self.fabric.device):
            lr = self._train_step(pixels_BCHW, labels_B)
            display.step(self.step)
            if stop.asked and self.step < self.last_step and self.step % self.steps_per_epoch:
                self.seconds += time.perf_counter() - started
                self._save()
                raise Interrupted(self._how_to_resume())
            if self.step == self.last_step:
                break
        means = self.tally.means()
        if not math.isfinite(means["train_loss"]):
            raise Diverged(f"the loss is not a finite number in epoch {epoch + 1}; lower lr (now {settings.lr})")
        train_seconds = time.perf_counter() - started
        score = None
        if (epoch + 1) % settings.eval_every == 0 or self.step == self.last_step:
            score = evaluate(self.network, self.normalize, self.data.test, len(self.data.classes))
        seconds = time.perf_counter() - started
        self.seconds += seconds
        row = {
            "epoch": epoch + 1,
            "step": self.step,
            "stage": stage.number,
            "lr": lr,
            "train_loss": means.pop("train_loss"),
            "train_accuracy": means.pop("train_accuracy"),
            "test_loss": score.loss if score else None,
            "test_accuracy": score.accuracy if score else None,
            "flip_rate": self.tally.flip_rate(),
            **means,
            "seconds": round(seconds, 3),
            "images_per_second": round((self.step - first_step) * self.batch_size / train_seconds, 1),
        }
        self.history.append(row)
        self._save(best=score is not None and self._best()["epoch"] == epoch + 1)
        write_record(self.out, self._current_record())
        if stop.asked and self.step < self.last_step:
            raise Interrupted(self._how_to_resume())
        return row

    def _train_step(self, pixels_BCHW: Tensor, labels_B: Tensor) -> float:
        """One optimizer step; returns the learning rate that it used."""
        settings = self.settings
        torch.manual_seed(mix(settings.seed, 1, self.step))  # augmentation, dropout: functions of seed and step
        stage = self._stage()
        lr = learning_rate(self.step - stage.start, stage.steps, settings)
        set_learning_rate(self.optimizer, lr)
        images_BCHW = self.normalize(pixels_BCHW).contiguous(memory_format=self.memory_format)
        terms, logits_BK = self.method.losses(
            self.trained, images_BCHW, labels_B, None if self.teacher is None else self._ask_teacher
        )
        loss = torch.stack(list(terms.values())).sum()
        self.fabric.backward(loss)
        for role in self.method.frozen_roles(self.step % self.steps_per_epoch, self.steps_per_epoch):
            for parameter in self.members.get(role, []):
                parameter.grad = None  # optimizers leave such parameters, and their state, as they are
        norm = self._clip_gradient()
        self.stepper.step()
        self.optimizer.zero_grad(set_to_none=True)
        keep_positive_(self.network)
        with torch.no_grad():
            if settings.clip_latent:
                for weight in self.members.get("latent", []):
                    weight.clamp_(-1, 1)
            right = (logits_BK.argmax(1) == labels_B).double().mean()
            values = {"train_loss": loss, "train_accuracy": right, "gradient_norm": norm}
            if len(terms) > 1:
                values |= {f"loss_{name}": term for name, term in terms.items()}
            self.tally.add(values | self.method.scalars, len(labels_B))
        self.step += 1
        return lr

    def _ask_teacher(self, images_BCHW: Tensor) -> Any:
        """What the teacher's attached form gives for images, without a gradient."""
        assert self.teacher is not None
        with torch.no_grad():
            return self.teacher(images_BCHW)

    def _clip_gradient(self) -> Tensor:
        """Norm of the whole gradient, before it is clipped if the settings say so."""
        largest = self.settings.clip_gradient
        gradients = [p.grad for group in self.members.values() for p in group if p.grad is not None]
        norm = torch.nn.utils.get_total_norm(gradients)
        if largest is not None:
            torch.nn.utils.clip_grads_with_norm_(self.network.parameters(), largest, norm)
        return norm

    def _stage(self) -> Stage:
        """The stage of the current step."""
        return [stage for stage in self.stages if stage.start <= self.step][-1]

    def _decide_compile(self) -> bool:
        wish = self.settings.compile
        if wish == "auto":
            return compile_pays(self.network, self.data.image_shape, self.last_step * self.batch_size)
        if wish and self.fabric.device.type == "cpu" and not has_compiler():
            raise ValueError(
                "compile true needs a C++ compiler (g++ or clang++), and none was found; use --compile false"
            )
        return wish

    def _save(self, best: bool = False) -> None:
        """Write the checkpoints: best before last, so that last never speaks of a best that is not there yet."""
        folder = self.out / CHECKPOINTS
        state = {
            "settings": self.settings.as_json(),
            "compiled": self.compiled,
            "step": self.step,
            "network": self.network.state_dict(),
            "method": self.method.state_dict(),
            "method_optimizers": [optimizer.state_dict() for optimizer in self.method.optimizers],
            "teacher": self.teacher_digest,
            "optimizer": self.optimizer.state_dict(),
            "tally": self.tally.state_dict(),
            "history": self.history,
            "seconds": self.seconds,
            "meta": self._meta(self.history[-1] if self.history else None),
        }
        save_checkpoint(state, *([folder / BEST] if best else []), folder / LAST)

    def _restore(self, state: dict[str, Any]) -> None:
        try:
            self.network.load_state_dict(state["network"])
            self.method.load_state_dict(state["method"])
            for optimizer, saved in zip(self.method.optimizers, state["method_optimizers"], strict=True):
                optimizer.load_state_dict(saved)
            self.optimizer.load_state_dict(state["optimizer"])
            self.tally.load_state_dict(state["tally"])
        except (RuntimeError, ValueError, KeyError) as error:
            reason = str(error).splitlines()[0]
            raise CheckpointError(f"the checkpoint in {str(self.out)!r} does not fit its settings: {reason}") from error
        self.step, self.history, self.seconds = state["step"], state["history"], state["seconds"]

    def _best(self) -> dict[str, Any]:
        """The row of the first epoch with the highest test accuracy, of the stage that the run has reached."""
        stage = self.history[-1]["stage"]
        rows = [row for row in self.history if row["stage"] == stage and row["test_accuracy"] is not None]
        return max(rows, key=lambda row: row["test_accuracy"])

    def _meta(self, row: dict[str, Any] | None) -> dict[str, Any]:
        """The description of the model as it was after the epoch of ``row``."""
        data = self.data
        return {
            "format": MODEL_FORMAT,
            "model": self.settings.model,
            "options": self.options,
            "scheme": self.settings.scheme,
            "scheme_options": self.settings.scheme_options,
            "num_classes": len(data.classes),
            "in_channels": data.input.channels,
            "input": describe_input(data.input),
            "classes": list(data.classes),
            "provenance": {
                "recipe": self.recipe,
                "dataset": data.name,
                "seed": self.settings.seed,
                "epoch": row["epoch"] if row else 0,
                "accuracy": row["test_accuracy"] if row else None,
                "commit": self.record["commit"],
                "versions": self.record["versions"],
            },
        }

    def _current_record(self) -> dict[str, Any]:
        return {**self.record, "epochs": self.history, "seconds": round(self.seconds, 3)}

    def _finish(self) -> Result:
        """Write the trained model, the record's result and the curve."""
        last, best = self.history[-1], self._best()
        kept = best if self.settings.keep == "best" else last
        weights = self.network.state_dict()
        if kept is not last:
            weights = load_checkpoint(self.out / CHECKPOINTS / BEST)["network"]
        save_trained(self.out, weights, self._meta(kept))
        result = Result(
            out=str(self.out),
            accuracy=kept["test_accuracy"],
            last_accuracy=last["test_accuracy"],
            best_accuracy=best["test_accuracy"],
            best_epoch=best["epoch"],
            epochs=last["epoch"],
            steps=self.step,
            seconds=round(self.seconds, 3),
            compiled=self.compiled,
        )
        shown = {field.name: getattr(result, field.name) for field in fields(result) if field.name != "out"}
        record = {**self._current_record(), "result": shown}
        write_record(self.out, record)
        write_atomic(self.out / CURVE, curve_png(record))
        return result

    def _how_to_resume(self) -> str:
        data = f" --data_dir {shlex.quote(str(self.data_dir))}" if self.data_dir else ""
        return (
            f"interrupted after step {self.step} of {self.last_step}; "
            f"go on with: onebit train --out {shlex.quote(str(self.out))}{data} --resume"
        )
