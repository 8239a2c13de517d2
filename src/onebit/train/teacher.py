"""The teacher of a run: a network that another run trained."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from torch import nn

from onebit.fields import number, short
from onebit.tasks import TASKS
from onebit.tasks.base import Description
from onebit.train.artifact import load_trained
from onebit.train.settings import TrainSettings


def check_teacher(settings: TrainSettings) -> None:
    """ValueError if the method needs a teacher and none is named, or the other way round."""
    needed = settings.make_method().needs_teacher
    if needed and settings.teacher is None:
        raise ValueError(
            f"method {settings.method!r} with the options {settings.method_options} needs a teacher: "
            "give the setting teacher the folder of a finished run on the same data"
        )
    if settings.teacher is not None and not needed:
        raise ValueError(
            f"method {settings.method!r} with the options {settings.method_options} has no use for a teacher; "
            f"leave the setting teacher out, {settings.teacher!r}"
        )


class Teacher(NamedTuple):
    """A trained network, frozen and in evaluation mode.

    Attributes:
        digest: by which a resumed run recognizes it.
        scores: its scores on the test images of the run's data set, by name, as far as they are known.
    """

    network: nn.Module
    digest: str
    scores: dict[str, float]


def load_teacher(folder: str, task: str, description: Description, dataset: str) -> Teacher:
    """The trained network in ``folder``.

    Raises ValueError if there is none, if it was trained for another task, or if its inputs or outputs are not those of
    the run's networks.
    """
    teacher, meta = load_trained(folder)
    for name, mine, theirs in differences({"task": task, **description}, meta):
        raise ValueError(
            f"the teacher in {folder!r} was trained with {name} {short(theirs)}, the data set {dataset!r} has "
            f"{short(mine)}; name a teacher that was trained on the same data"
        )
    told = meta["provenance"]
    names = [metric.name for metric in TASKS[task].metrics] if told.get("dataset") == dataset else []
    scores = {name: told[name] for name in names if number().accepts(told.get(name))}
    return Teacher(teacher.requires_grad_(False), digest(teacher, meta), scores)


def differences(one: Description, other: Mapping[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    """(name, value, other value) of what both say, and differently; within inner objects too.

    What only one says is no difference: descriptions did not always say how pictures are brought to size.
    """
    for name, value in one.items():
        found = other.get(name, value)
        if isinstance(value, dict) and isinstance(found, dict):
            yield from differences(value, found)
        elif value != found:
            yield name, value, found


def digest(network: nn.Module, meta: dict[str, Any]) -> str:
    """SHA-256 of what a trained network computes: its description and its weights, wherever they lie."""
    described = [meta["model"], meta["options"], meta["scheme"], meta.get("scheme_options", {})]
    found = hashlib.sha256(json.dumps(described, sort_keys=True).encode())
    for name, tensor in sorted(network.state_dict().items()):
        found.update(name.encode())
        found.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return found.hexdigest()
