"""Checkpoints: everything that a run needs to go on as if it had never stopped.

Order, augmentation, learning rate and progress are functions of the settings and the step, so the state is the weights,
the optimizers, the step, and what has been measured.  A checkpoint is read without unpickling anything but tensors and
plain values.
"""

import io
from pathlib import Path
from typing import Any

import torch

from onebit.files import write_atomic

FORMAT = 2
FIELDS = {
    "format": int,
    "settings": dict,  # TrainSettings.as_json()
    "compiled": bool,
    "step": int,  # optimizer steps done
    "network": dict,
    "method": dict,
    "method_optimizers": list,  # of what the method owns, in its order
    "teacher": str,  # digest of the teacher's weights; empty without one
    "optimizer": dict,
    "tally": dict,  # what has been measured over the part of the current epoch that is done
    "history": list,  # one row per finished epoch
    "seconds": float,
    "meta": dict,  # as in model.json
}


class CheckpointError(ValueError):
    """A checkpoint that is missing, damaged, or of another run; the message says which and what to do."""


def save_checkpoint(state: dict[str, Any], *paths: Path) -> None:
    """Write ``state`` to each of ``paths`` in turn, each atomically."""
    assert set(state) | {"format"} == set(FIELDS), sorted(set(state) ^ set(FIELDS))
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
    except Exception as error:  # torch.load raises whatever the bytes make it stumble over
        raise CheckpointError(
            f"{str(path)!r} is damaged or not a checkpoint of onebit; give the folder of a run, one of its .ckpt files "
            "or a .onebit file where a packed network is taken"
        ) from error
    if not isinstance(state, dict) or not isinstance(state.get("format"), int):
        raise CheckpointError(f"{str(path)!r} is not a checkpoint of onebit")
    if state["format"] != FORMAT:
        raise CheckpointError(f"{str(path)!r} has checkpoint format {state['format']}, this version reads {FORMAT}")
    for field, kind in FIELDS.items():
        if not isinstance(state.get(field), kind):
            raise CheckpointError(f"the checkpoint {str(path)!r} is damaged: field {field!r} is no {kind.__name__}")
    return state
