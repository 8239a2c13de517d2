"""How long the rest of a study takes."""

import time
from pathlib import Path

import torch
from torch import nn

from onebit.format.graph import Fit
from onebit.study.plan import PlannedRun, Study
from onebit.study.runner import is_done
from onebit.study.worker import MODEL
from onebit.train import build_model
from onebit.train.files import read_json
from onebit.train.record import RECORD

_STEPS = 3  # that are timed, behind one that is not
_MODEL = ("model", "model_options", "scheme", "scheme_options", "task", "dataset", "image_size")
_DECIDE = (*_MODEL, "batch_size", "precision", "teacher")  # settings on which the pace depends


def estimate_hours(study: Study, folder: Path, data_dir: Path | None) -> dict[str, float]:
    """Hours that each unfinished run is expected to take on this machine, by key, in the order of :meth:`in_order`.

    A run that has begun is expected to go on at the pace of its last epochs.  For another one, a few steps of its
    network are timed, uncompiled.  Of what its method computes besides, only the teacher's forward pass is counted.
    """
    paces: dict[str, float] = {}
    hours = {}
    for run in study.in_order():
        if is_done(run, folder):
            continue
        out = folder / run.key
        epochs = read_json(out / RECORD)["epochs"] if (out / RECORD).exists() else []
        if (out / MODEL).exists():
            hours[run.key] = 0.0
            continue
        if epochs:
            recent = sorted(row["seconds"] for row in epochs[-5:])
            pace = recent[len(recent) // 2]
        else:
            settings = run.settings
            alike = repr([getattr(settings, name) for name in _DECIDE])
            pace = paces.get(alike) or _seconds_per_epoch(run, data_dir)
            paces[alike] = pace
        hours[run.key] = (run.settings.epochs - len(epochs)) * pace / 3600
    return hours


def _seconds_per_epoch(run: PlannedRun, data_dir: Path | None) -> float:
    settings = run.settings
    task = settings.make_task()
    data = task.load(settings.dataset, data_dir, settings.image_size, Fit(settings.fit), settings.color)
    description = task.describe(data)
    meta = {
        "task": settings.task,
        "task_options": settings.task_options,
        "model": settings.model,
        "options": settings.model_options,
        "scheme": settings.scheme,
        "scheme_options": settings.scheme_options,
        **description,
    }
    network = build_model(meta)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    network.to(device, memory_format=torch.channels_last if settings.channels_last else torch.contiguous_format)  # type: ignore[call-overload]
    inputs = [x.expand(settings.batch_size, *x.shape[1:]).clone().to(device) for x in task.example(description)]
    step = _timed(network, inputs, settings.precision, backward=True)
    forward = _timed(network, inputs, settings.precision, backward=False)
    steps = task.count(data) // settings.batch_size
    return steps * (step + (forward if settings.teacher is not None else 0.0))


def _timed(network: nn.Module, inputs: list[torch.Tensor], precision: str, backward: bool) -> float:
    """Least seconds of a pass through ``network``."""
    least = float("inf")
    network.train(backward)
    for _ in range(1 + _STEPS):
        started = time.perf_counter()
        with (
            torch.set_grad_enabled(backward),
            torch.autocast(inputs[0].device.type, torch.bfloat16, enabled=precision == "bf16-mixed"),
        ):
            outputs = network(*inputs)
        if backward:
            outputs.float().square().mean().backward()
        if inputs[0].is_cuda:
            torch.cuda.synchronize()
        least = min(least, time.perf_counter() - started)
    return least
