"""The training loop, on lightning's Fabric: settings in, a trained model and its record out.

Every random choice is a function of (seed, step) or (seed, epoch), and so are learning rate and progress.  That makes
resuming exact by construction: a run that was killed and resumed ends with the weights of one that was not.
"""

import math
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from lightning.fabric import Fabric
from torch import nn

from onebit.data.base import mix
from onebit.files import sweep
from onebit.format.graph import Fit
from onebit.nn import InputHealth, LayerHealth, latent_signs, layer_health, set_progress, watch_inputs
from onebit.tasks import Scores
from onebit.train.artifact import build_model
from onebit.train.average import Average
from onebit.train.checkpoint import CheckpointError, load_checkpoint
from onebit.train.compiling import compile_pays, has_compiler
from onebit.train.files import prepare_folder, read_json
from onebit.train.interrupt import Interrupted, StopRequest
from onebit.train.lock import FolderLock
from onebit.train.optim import build_optimizer
from onebit.train.record import RECORD
from onebit.train.recorder import CHECKPOINTS, LAST, Recorder, Result
from onebit.train.resume import check_data, check_settings, stored_settings
from onebit.train.settings import TrainSettings
from onebit.train.stages import Stage, enter_stage, plan_stages
from onebit.train.start import Start, load_start, start_from
from onebit.train.state import State
from onebit.train.step import Step
from onebit.train.teacher import Teacher, check_teacher, load_teacher


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
    zoo: Path | str | None = None,
) -> Result:
    """Train by ``settings`` and leave model, record, curve and checkpoints in the folder ``out``.

    Args:
        recipe: name to note in the record.
        resume: go on with the run in ``out``, which must have the same settings and the same data.
        show: progress on standard error.
        zoo: folder of trained networks that ``start_from`` may name as ``zoo:NAME``, as in :func:`onebit.zoo.load`.

    Raises:
        ValueError: settings that do not fit each other or the run in ``out``; missing, damaged or other data,
            checkpoint or network to start from; another process that trains in ``out``.
        OSError: ``out`` cannot be written or is too full.
        Interrupted: SIGINT or SIGTERM came; a checkpoint has been left.
    """
    check_teacher(settings)
    out = Path(out)
    with ExitStack() as held:
        saved = None
        if resume:
            check_settings(settings, stored_settings(out)[0], f"the run in {str(out)!r}")
            held.enter_context(FolderLock(out))
            for folder in (out, out / CHECKPOINTS):
                if folder.is_dir():
                    sweep(folder)  # what the process that was killed was writing
            saved = _last_checkpoint(settings, out)
        else:
            _refuse_second_run(out)
        start = None if settings.start_from is None or saved is not None else load_start(settings.start_from, zoo)
        data = settings.make_task().load(
            settings.dataset, data_dir, settings.image_size, Fit(settings.fit), settings.color
        )
        if not resume:
            held.enter_context(FolderLock(out))
            _refuse_second_run(out)
        return Run(settings, data, out, recipe=recipe, saved=saved, start=start, show=show).go()


def _refuse_second_run(out: Path) -> None:
    if (out / RECORD).exists() and (out / CHECKPOINTS / LAST).exists():
        raise ValueError(f"{str(out)!r} already holds a run; resume it, or start another one in another folder")


def _last_checkpoint(settings: TrainSettings, out: Path) -> dict[str, Any] | None:
    """The checkpoint that the run in ``out`` goes on from, None if it died before its first one."""
    path = out / CHECKPOINTS / LAST
    if not path.exists():
        return None
    saved = load_checkpoint(path)
    try:
        theirs = TrainSettings.from_json(saved["settings"])
    except ValueError as error:
        raise CheckpointError(f"the checkpoint {str(path)!r} is damaged: {error}") from error
    check_settings(settings, theirs, f"the run that left {str(path)!r}")
    return saved


class Run:
    """One run: its state, the step that updates it, and the recorder that logs it.

    Args:
        data: what the task's ``load`` gave.
        saved: the checkpoint to go on from.
        start: the network to start from.
    """

    def __init__(
        self,
        settings: TrainSettings,
        data: Any,
        out: Path,
        *,
        recipe: str | None,
        saved: dict[str, Any] | None,
        start: Start | None,
        show: bool,
    ) -> None:
        self.settings, self.data = settings, data
        self.task = settings.make_task()
        self.description = self.task.describe(data)
        identity = self.task.identity(data)
        if saved is not None and saved["data"] is not None:
            check_data(identity, saved["data"], f"the run in {str(out)!r}")
        self._plan(fresh=saved is None)

        decided = self.task.model_arguments(self.description)
        if saved is None and (clash := sorted(set(decided) & set(settings.model_options))):
            raise ValueError(f"model_options.{clash[0]} follows from the data, {decided[clash[0]]}; leave it out")

        torch.manual_seed(settings.seed)
        network = build_model(self._network_meta())
        started = read_json(out / RECORD).get("start") if saved is not None else None
        if start is not None:
            started = start_from(network, self._network_meta(), start)
        method = settings.make_method()
        weight_bytes = sum(tensor.numel() * tensor.element_size() for tensor in network.state_dict().values())
        copies = 13 if settings.ema else 10  # of the weights: three checkpoints, one of them half written; the model
        prepare_folder(out / CHECKPOINTS, copies * weight_bytes + 10_000_000)

        fabric = Fabric(accelerator="auto", devices=1, precision=settings.precision)  # type: ignore[arg-type]
        network.to(fabric.device)
        example = self.task.example(self.description)
        compiled = self._decide_compile(network, example) if saved is None else self._check_compile(saved["compiled"])
        memory_format = torch.channels_last if settings.channels_last else torch.contiguous_format
        network.to(memory_format=memory_format)  # type: ignore[call-overload]
        average = Average(network, settings.ema) if settings.ema else None  # before the method adds what listens
        loaded = self._load_teacher(saved, out)
        teacher = loaded and loaded.network
        if teacher is not None:
            teacher.to(fabric.device).to(memory_format=memory_format)  # type: ignore[call-overload]
        torch.manual_seed(mix(settings.seed, 2))  # the method's initial values do not depend on the teacher
        form, teacher = method.to(fabric.device).attach(network, teacher, self.task, example)
        self.state = State(
            settings,
            network,
            method,
            build_optimizer(network, settings),
            average=average,
            compiled=compiled,
            data=identity,
            teacher=loaded.digest if loaded else "",
        )
        if saved is not None:
            self.state.restore(saved, out / CHECKPOINTS / LAST, self.task.metrics, self.steps_per_epoch, self.steps)
        self.step = Step(self.state, self.task, fabric, form, teacher, memory_format)
        self.feed = self.task.feed(data, settings.augment, fabric.device)
        self.recorder = Recorder(
            self.state,
            self.task,
            self.description,
            out,
            recipe=recipe,
            dataset=settings.dataset,
            contents=self.task.contents(data),
            guide=loaded.scores if loaded else None,
            steps=self.steps,
            show=show,
            start=started,
        )
        if start is not None and started is not None:
            self.recorder.display.note(started["text"])
        if saved is not None and saved["data"] is None:
            self.recorder.display.note("the checkpoint does not say what data it was made with: they were not compared")

    def _plan(self, fresh: bool) -> None:
        """How many steps there are, and in which stages."""
        settings, examples = self.settings, self.task.count(self.data)
        if fresh and settings.batch_size > examples:
            raise ValueError(
                f"batch_size {settings.batch_size} is more than the {examples} training examples of "
                f"{settings.dataset!r}; give {examples} at most"
            )
        self.batch_size = min(settings.batch_size, examples)
        self.steps_per_epoch = examples // self.batch_size
        every = settings.epochs * self.steps_per_epoch
        self.steps = min(every, settings.max_steps or every)
        self.stages = plan_stages(settings, self.steps_per_epoch)
        if self.steps <= self.stages[-1].start:
            raise ValueError(f"max_steps {self.steps} ends before the second stage, at step {self.stages[-1].start}")

    def _network_meta(self) -> dict[str, Any]:
        settings = self.settings
        return {
            "task": settings.task,
            "task_options": settings.task_options,
            "model": settings.model,
            "options": settings.model_options,
            "scheme": settings.scheme,
            "scheme_options": settings.scheme_options,
            **self.description,
        }

    def _decide_compile(self, network: nn.Module, example: tuple[torch.Tensor, ...]) -> bool:
        if self.settings.compile == "auto":
            return compile_pays(network, example, self.steps * self.batch_size)
        return self._check_compile(self.settings.compile)

    def _check_compile(self, wish: bool) -> bool:
        if wish and not torch.cuda.is_available() and not has_compiler():
            raise ValueError(
                "compile true needs a C++ compiler (g++ or clang++), and none was found; give the setting compile false"
            )
        return wish

    def _load_teacher(self, saved: dict[str, Any] | None, out: Path) -> Teacher | None:
        """The teacher, None if the method has none; ValueError if it is not the checkpoint's."""
        settings = self.settings
        if settings.teacher is None:
            return None
        teacher = load_teacher(settings.teacher, settings.task, self.description, settings.dataset)
        if saved is not None and saved["teacher"] != teacher.digest:
            raise ValueError(
                f"the teacher in {settings.teacher!r} is not the one that the run in {str(out)!r} was started "
                "with; put that one back, or start another run in another folder"
            )
        return teacher

    def go(self) -> Result:
        """Train to the end; return what came out."""
        with StopRequest("stopping after this step") as stop, self.recorder:
            if self.state.compiled and self.state.step < self.steps:
                self.recorder.display.note("compiling; the first step takes about a minute")
            while self.state.step < self.steps:
                self._epoch(stop)
        return self.recorder.finish()

    def _epoch(self, stop: StopRequest) -> None:
        """The rest of the current epoch, its measurement, its checkpoint and its row of the record."""
        state, settings = self.state, self.settings
        epoch, done = divmod(state.step, self.steps_per_epoch)
        started, first_step = time.perf_counter(), state.step
        stage = self._stage()
        begins = state.step == stage.start
        enter_stage(stage, state.network, state.average, state.optimizer, settings, begins)
        set_progress(state.network, (state.step - done - stage.start) / stage.steps)
        if begins:
            state.layers.begin(_plain(layer_health(state.network, latent_signs(state.network))))
        if not done:
            state.tally.start()
        state.network.train()
        state.method.train()
        lr = 0.0
        feed = self.feed.batches(settings.seed, epoch, self.batch_size, first=done)
        for _ in range(done, self.steps_per_epoch):
            lr = self.step(feed, stage, self.steps_per_epoch)
            self.recorder.display.step(state.step)
            if stop.asked and state.step < self.steps and state.step % self.steps_per_epoch:
                state.seconds += time.perf_counter() - started
                self.recorder.checkpoint()
                raise Interrupted(state.step, self.steps)
            if state.step == self.steps:
                break
        means = state.tally.means()
        if not math.isfinite(means["train_loss"]):
            raise Diverged(f"the loss is not a finite number in epoch {epoch + 1}; lower lr (now {settings.lr})")
        train_seconds = time.perf_counter() - started
        scores: Scores | None = None
        inputs: dict[str, InputHealth] = {}
        if (epoch + 1) % settings.eval_every == 0 or state.step == self.steps:
            with watch_inputs(state.measured) as inputs:
                scores = self.task.evaluate(state.measured, self.data, self.description)
        state.layers.add(epoch + 1, _plain(layer_health(state.network, state.tally.signs, inputs)))
        seconds = time.perf_counter() - started
        state.seconds += seconds
        learned = {name: means.pop(name) for name in list(means) if name.startswith("train_")}
        row = {
            "epoch": epoch + 1,
            "step": state.step,
            "stage": stage.number,
            "lr": lr,
            **learned,
            **{f"test_{m.name}": scores.values[m.name] if scores else None for m in self.task.metrics},
            "flip_rate": state.tally.flip_rate(),
            **means,
            "seconds": round(seconds, 3),
            "images_per_second": round((state.step - first_step) * self.batch_size / train_seconds, 1),
        }
        self.recorder.epoch(row, scores)
        if stop.asked and state.step < self.steps:
            raise Interrupted(state.step, self.steps)

    def _stage(self) -> Stage:
        """The stage of the current step."""
        return [stage for stage in self.stages if stage.start <= self.state.step][-1]


def _plain(layers: dict[str, LayerHealth]) -> dict[str, dict[str, Any]]:
    """The numbers of the layers as the record holds them."""
    return {name: layer.as_json() for name, layer in layers.items()}
