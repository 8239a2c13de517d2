"""Checkpoints: everything that a run needs to go on as if it had never stopped.

Order, augmentation, learning rate and progress are functions of the settings and the step, so the state is the weights,
the optimizers, the step, and what has been measured.  A checkpoint is read without unpickling anything but tensors and
plain values.
"""

import io
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from onebit.fields import Rule, check_fields, flag, list_of, mapping, number, optional, short, text, whole
from onebit.files import write_atomic
from onebit.report.health import LayerNumbers

FORMAT = 5
READABLE = (2, 3, 4, 5)  # of fields that came later, older formats have what load_checkpoint gives them
FACTS = (whole(), text(), list_of(text()))
RULES = {
    "settings": mapping(),  # TrainSettings.as_json()
    "data": optional(  # Task.identity
        Rule(
            lambda v: mapping().accepts(v) and all(any(rule.accepts(fact) for rule in FACTS) for fact in v.values()),
            "an object of integers, strings and lists of strings",
        )
    ),
    "compiled": flag(),
    "step": whole(),  # optimizer steps done
    "network": mapping(),
    "average": optional(mapping()),  # of the network's weights, as Average has them; null without
    "method": mapping(),
    "method_optimizers": list_of(mapping()),  # of what the method owns, in its order
    "teacher": text(),  # digest of the teacher's weights; empty without one
    "optimizer": mapping(),
    "tally": mapping(),  # what has been measured over the part of the current epoch that is done
    "history": list_of(mapping()),  # one row per finished epoch
    "layers": mapping(),  # LayerNumbers.as_json()
    "seconds": number(low=0),
    "meta": mapping(),  # as in model.json
}


class CheckpointError(ValueError):
    """A checkpoint that is missing, damaged, or of another run; the message says which and what to do."""


def save_checkpoint(state: dict[str, Any], *paths: Path) -> None:
    """Write ``state`` to each of ``paths`` in turn, each atomically."""
    assert set(state) == set(RULES), sorted(set(state) ^ set(RULES))
    buffer = io.BytesIO()
    torch.save({"format": FORMAT, **state}, buffer)
    for path in paths:
        write_atomic(path, buffer.getvalue())


def load_checkpoint(path: Path) -> dict[str, Any]:
    """The state in ``path``, on the CPU; CheckpointError if it is missing, damaged or not ours."""
    if not path.is_file():
        raise CheckpointError(f"there is no checkpoint {str(path)!r}")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load may raise any exception on damaged bytes
        raise CheckpointError(
            f"{str(path)!r} is damaged or not a checkpoint of onebit; give the folder of a run, one of its .ckpt files "
            "or a .onebit file where a packed network is taken"
        ) from error
    if not isinstance(state, dict) or not whole().accepts(state.get("format")):
        raise CheckpointError(f"{str(path)!r} is not a checkpoint of onebit")
    if state["format"] not in READABLE:
        readable = f"{', '.join(map(str, READABLE[:-1]))} and {READABLE[-1]}"
        raise CheckpointError(f"{str(path)!r} has checkpoint format {state['format']}, this version reads {readable}")
    if state["format"] < 3:
        state["data"] = None  # it did not say what the data were
    if state["format"] < 4:
        state["average"] = None
    if state["format"] < 5:
        state["layers"] = LayerNumbers().as_json()  # none of the epochs so far
    try:
        check_fields(state, RULES)
    except ValueError as error:
        raise CheckpointError(f"the checkpoint {str(path)!r} is damaged: {error}") from error
    return state


def trained_weights(state: dict[str, Any]) -> dict[str, Tensor]:
    """The weights that are measured and kept of a checkpoint: the average where there is one."""
    weights: dict[str, Tensor] = state["network"] if state["average"] is None else state["average"]
    return weights


def check_like(name: str, saved: object, own: dict[str, Tensor]) -> None:
    """ValueError unless ``saved`` holds tensors of the names, shapes and kinds of numbers that ``own`` does."""
    if not isinstance(saved, dict) or set(saved) != set(own):
        odd = sorted(set(own) ^ set(saved if isinstance(saved, dict) else ()), key=str)
        raise ValueError(f"field {name!r} has other tensors: {odd[:5]} are in one of them only")
    for key, wanted in own.items():
        check_tensor(f"{name}.{key}", saved[key], wanted)


def check_tensor(name: str, saved: object, wanted: Tensor) -> None:
    """ValueError unless ``saved`` is a tensor like ``wanted``."""
    if not isinstance(saved, Tensor) or saved.layout != torch.strided:
        raise ValueError(f"field {name!r} must be a tensor, got {short(saved)}")
    if saved.shape != wanted.shape or saved.dtype != wanted.dtype:
        raise ValueError(
            f"field {name!r} must be a tensor of {wanted.dtype} and shape {tuple(wanted.shape)}, "
            f"got {saved.dtype} and {tuple(saved.shape)}"
        )
