"""The teacher of a run: a trained network that another run left behind."""

import hashlib
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from torch import nn

from onebit.data import ImageData
from onebit.methods import METHODS
from onebit.train.artifact import describe_input, load_trained

if TYPE_CHECKING:
    from onebit.train.settings import TrainSettings


def check_teacher(settings: "TrainSettings") -> None:
    """ValueError if the method needs a teacher and none is named, or the other way round."""
    method = METHODS[settings.method](**settings.method_options)
    if method.needs_teacher and settings.teacher is None:
        raise ValueError(
            f"method {settings.method!r} with the options {settings.method_options} needs a teacher: "
            "give teacher (--teacher) the folder of a finished run on the same data"
        )
    if settings.teacher is not None and not method.needs_teacher:
        raise ValueError(
            f"method {settings.method!r} with the options {settings.method_options} has no use for a teacher; "
            f"leave teacher {settings.teacher!r} out"
        )


def load_teacher(folder: str, data: ImageData) -> tuple[nn.Module, str]:
    """The trained network in ``folder``, frozen and in evaluation mode, and its digest.

    Raises ValueError if there is none, or if its classes or its input are not those of ``data``.
    """
    teacher, meta = load_trained(folder)
    image = meta["input"]
    image = replace(image, fit=image.fit or data.input.fit)  # runs did not always say
    mine = {"classes": list(data.classes), "in_channels": data.input.channels, **describe_input(data.input)}
    theirs = {"classes": meta["classes"], "in_channels": image.channels, **describe_input(image)}
    for name, value in mine.items():
        if theirs[name] != value:
            raise ValueError(
                f"the teacher in {folder!r} was trained with {name} {_short(theirs[name])}, the data set {data.name!r} "
                f"has {_short(value)}; name a teacher that was trained on the same data"
            )
    return teacher.requires_grad_(False), digest(teacher, meta)


def digest(network: nn.Module, meta: dict[str, Any]) -> str:
    """SHA-256 of what a trained network computes: its description and its weights, wherever they lie."""
    described = [meta["model"], meta["options"], meta["scheme"], meta.get("scheme_options", {})]
    found = hashlib.sha256(json.dumps(described, sort_keys=True).encode())
    for name, tensor in sorted(network.state_dict().items()):
        found.update(name.encode())
        found.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return found.hexdigest()


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
