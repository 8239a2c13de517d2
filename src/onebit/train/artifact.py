"""The trained model on disk: ``model.safetensors`` (weights) and ``model.json`` (what is needed to build it again), or
both in one file, the start of a network of the zoo.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from onebit.fields import check_fields, mapping, one_of, short, text
from onebit.files import write_atomic
from onebit.models import MODELS
from onebit.nn import as_scheme, parameter_roles
from onebit.nn.schemes import read_scheme_options
from onebit.registry import check_options
from onebit.tasks import TASKS, Task
from onebit.train.checkpoint import load_checkpoint, trained_weights
from onebit.train.files import read_json, write_json

FORMAT = 1
WEIGHTS = "model.safetensors"
DESCRIPTION = "model.json"
DESCRIBED = "model"  # entry of the metadata of a single file: what model.json holds
RULES = {  # and what the task's check asks for
    "format": one_of(FORMAT),
    "task": text(),
    "task_options": mapping(),
    "model": text(),
    "options": mapping(),
    "scheme": text(),
    "scheme_options": mapping(),
    "provenance": mapping(),
}


class ModelError(ValueError):
    """A trained model that is missing, damaged or inconsistent; the message names the file and the field."""


def build_model(meta: Mapping[str, Any]) -> nn.Module:
    """The untrained network that a description asks for: model, options, scheme and what the task decides.

    Raises ValueError for options that the model does not take.
    """
    name, options = meta["model"], meta["options"]
    scheme = as_scheme(meta["scheme"], **meta["scheme_options"])
    arguments = task_of(meta).model_arguments(dict(meta))
    try:
        return MODELS[name](scheme=scheme, **{**arguments, **options})
    except TypeError as error:
        unknown = re.search(r"unexpected keyword argument '(.*)'", str(error))
        what = f"it has no option {unknown.group(1)!r}" if unknown else str(error)
        raise ValueError(f"model {name!r} cannot be built with the options {short(options)}: {what}") from error
    except ValueError as error:
        of = str(error).partition(" ")[0]  # messages begin with the name of the argument
        owner = (
            "model_options." if of in options else f"model {name!r} does not fit the data: " if of in arguments else ""
        )
        raise ValueError(f"{owner}{error}") from error


def task_of(meta: Mapping[str, Any]) -> Task:
    """The task that a network of this description was trained for; ValueError for one that is not known."""
    factory = TASKS[meta["task"]]
    check_options("task_options", factory, meta["task_options"])
    return factory(**meta["task_options"])


def save_trained(folder: Path, network: dict[str, Tensor], meta: dict[str, Any]) -> None:
    """Write the weights, then the description, each atomically."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in network.items()}
    write_atomic(folder / WEIGHTS, safetensors.torch.save(tensors))
    write_json(folder / DESCRIPTION, meta)


def one_file(network: nn.Module, meta: Mapping[str, Any], latent: torch.dtype = torch.float32) -> bytes:
    """Content of one file that :func:`load_trained` reads: weights and description.

    Latent weights, of which the network uses signs and mean sizes, have the type ``latent``; all others keep theirs.
    """
    roles = parameter_roles(network)
    tensors = {
        name: (tensor.to(latent) if roles.get(name) == "latent" else tensor).detach().cpu().contiguous()
        for name, tensor in network.state_dict().items()
    }
    return safetensors.torch.save(tensors, metadata={DESCRIBED: json.dumps(meta, allow_nan=False)})


def load_trained(path: Path | str) -> tuple[nn.Module, dict[str, Any]]:
    """Rebuild a trained model from a run's folder, from one of its checkpoints, or from :func:`one_file`.

    Returns the model in evaluation mode and its description: task, task_options, model, options, scheme,
    scheme_options, provenance, and what the task says of inputs and outputs.

    Raises:
        ModelError: a file is missing, truncated or does not fit the model that it describes.
    """
    path = Path(path)
    if path.is_file() and path.suffix == ".safetensors":
        weights, meta = _read_one_file(path)
        source, described = path, path
    elif path.is_file():
        state = load_checkpoint(path)
        weights, meta, source, described = trained_weights(state), state["meta"], path, path
    elif path.is_dir():
        weights, meta = _read_folder(path)
        source, described = path / WEIGHTS, path / DESCRIPTION
    else:
        raise ModelError(f"there is no trained model {str(path)!r}: neither a run's folder nor a checkpoint")
    meta = _modern(meta)
    try:
        check_fields(meta, RULES)
        meta["scheme_options"] = read_scheme_options(meta["scheme"], meta["scheme_options"])
        task_of(meta).check(meta)
        with torch.device("meta"):  # allocates nothing, however large the described model is
            wanted = {name: tensor.shape for name, tensor in build_model(meta).state_dict().items()}
    except Exception as error:  # a model's factory may raise any exception
        raise ModelError(f"the description in {str(described)!r} cannot be used: {error}") from error
    _check_weights(weights, wanted, source)
    model = build_model(meta)
    model.load_state_dict(weights)
    return model.eval(), meta


_COLORS_BEFORE = {"grey": "L", "gray": "L", "rgb": "RGB"}


def _modern(meta: dict[str, Any]) -> dict[str, Any]:
    """A description as it is written now: runs were described without a task, and with other words for colors."""
    meta = {"task": "classification", "task_options": {}, "scheme_options": {}, **meta}
    if isinstance(image := meta.get("input"), dict):
        image = dict(image)
        color = image.pop("colour", image.get("color"))
        meta["input"] = {**image, "color": _COLORS_BEFORE.get(color, color) if isinstance(color, str) else color}
    return meta


def _read_folder(folder: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    for name in (DESCRIPTION, WEIGHTS):
        if not (folder / name).is_file():
            last = folder / "checkpoints" / "last.ckpt"
            mend = (
                f"the run is unfinished: resume it, or use its checkpoint {str(last)!r}"
                if last.is_file()
                else "is this the folder of a run?"
            )
            raise ModelError(f"{str(folder)!r} holds no {name}; {mend}")
    try:
        meta = read_json(folder / DESCRIPTION)
        weights = safetensors.torch.load((folder / WEIGHTS).read_bytes())
    except safetensors.SafetensorError as error:
        raise ModelError(f"{str(folder / WEIGHTS)!r} is damaged: {error}") from error
    except ValueError as error:
        raise ModelError(str(error)) from error
    return weights, meta


def _read_one_file(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    try:
        with safetensors.safe_open(path, "pt") as file:
            described = (file.metadata() or {}).get(DESCRIBED, "null")
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        meta = json.loads(described)
    except (safetensors.SafetensorError, ValueError, RecursionError) as error:
        raise ModelError(f"{str(path)!r} is damaged: {error}") from error
    if not isinstance(meta, dict):
        raise ModelError(f"{str(path)!r} holds weights without a description of their model; name the run's folder")
    return weights, meta


def _check_weights(weights: dict[str, Any], wanted: dict[str, torch.Size], source: Path) -> None:
    for name in sorted(set(wanted) ^ set(weights), key=str):
        which = "lacks" if name in wanted else "holds the unknown tensor"
        raise ModelError(f"{str(source)!r} does not fit the model that it describes: it {which} {name!r}")
    for name, tensor in weights.items():
        if not isinstance(tensor, Tensor):
            raise ModelError(f"{str(source)!r}: {name!r} must be a tensor, got {short(tensor)}")
        if tensor.shape != wanted[name]:
            raise ModelError(
                f"{str(source)!r}: tensor {name!r} has shape {tuple(tensor.shape)}, "
                f"the model wants {tuple(wanted[name])}"
            )
