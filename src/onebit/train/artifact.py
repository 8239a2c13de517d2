"""The trained model on disk: ``model.safetensors`` (weights) and ``model.json`` (what is needed to build it again)."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
from torch import Tensor, nn

from onebit.files import write_atomic
from onebit.format.graph import Fit, InputSpec
from onebit.models import MODELS
from onebit.nn import Scheme, as_scheme
from onebit.nn.schemes import read_scheme_options
from onebit.train.checkpoint import load_checkpoint
from onebit.train.files import read_json, write_json

FORMAT = 1
WEIGHTS = "model.safetensors"
DESCRIPTION = "model.json"
FIELDS = {
    "format": int,
    "model": str,
    "options": dict,
    "scheme": str,
    "num_classes": int,
    "in_channels": int,
    "input": dict,  # as describe_input gives it
    "classes": list,
    "provenance": dict,
}


_COLORS_BEFORE = {"grey": "L", "gray": "L", "rgb": "RGB"}  # how runs were described before


class ModelError(ValueError):
    """A trained model that is missing, damaged or inconsistent; the message names the file and the field."""


def build_model(name: str, options: dict[str, Any], *, scheme: Scheme, num_classes: int, in_channels: int) -> nn.Module:
    """The named model; ValueError for options that it does not know."""
    factory = MODELS[name]
    try:
        return factory(num_classes=num_classes, in_channels=in_channels, scheme=scheme, **options)
    except TypeError as error:
        raise ValueError(f"model {name!r} cannot be built with the options {options}: {error}") from error


def save_trained(folder: Path, network: dict[str, Tensor], meta: dict[str, Any]) -> None:
    """Write the weights, then the description, each atomically."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in network.items()}
    write_atomic(folder / WEIGHTS, safetensors.torch.save(tensors))
    write_json(folder / DESCRIPTION, meta)


def load_trained(path: Path | str) -> tuple[nn.Module, dict[str, Any]]:
    """Rebuild a trained model from a run's folder or from one of its checkpoints.

    Returns the model in evaluation mode and its description: model, options, scheme, num_classes, in_channels, input
    (an InputSpec), classes, provenance.

    Raises:
        ModelError: a file is missing, truncated or does not fit the model that it describes.
    """
    path = Path(path)
    if path.is_file():
        state = load_checkpoint(path)
        weights, meta, source = state["network"], state["meta"], path
    elif path.is_dir():
        weights, meta, source = _read_folder(path)
    else:
        raise ModelError(f"there is no trained model {str(path)!r}: neither a run's folder nor a checkpoint")
    _check_description(meta, source)
    meta["input"] = _read_input(meta, source)
    model = build_model(
        meta["model"],
        meta["options"],
        scheme=as_scheme(meta["scheme"], **read_scheme_options(meta["scheme"], meta.get("scheme_options", {}))),
        num_classes=meta["num_classes"],
        in_channels=meta["in_channels"],
    )
    _fill(model, weights, source)
    return model.eval(), meta


def _read_folder(folder: Path) -> tuple[dict[str, Tensor], dict[str, Any], Path]:
    for name in (DESCRIPTION, WEIGHTS):
        if not (folder / name).is_file():
            unfinished = (folder / "checkpoints" / "last.ckpt").is_file()
            mend = (
                f"the run is unfinished: 'onebit train --out {folder} --resume' goes on with it, "
                f"or use its checkpoint {str(folder / 'checkpoints' / 'last.ckpt')!r}"
                if unfinished
                else "is this the folder that --out named?"
            )
            raise ModelError(f"{str(folder)!r} holds no {name}; {mend}")
    try:
        meta = read_json(folder / DESCRIPTION)
        weights = safetensors.torch.load((folder / WEIGHTS).read_bytes())
    except safetensors.SafetensorError as error:
        raise ModelError(f"{str(folder / WEIGHTS)!r} is damaged: {error}") from error
    except ValueError as error:
        raise ModelError(str(error)) from error
    return weights, meta, folder / WEIGHTS


def _check_description(meta: dict[str, Any], source: Path) -> None:
    for field, kind in FIELDS.items():
        if not isinstance(meta.get(field), kind):
            raise ModelError(f"the description of {str(source)!r} is damaged: field {field!r} is no {kind.__name__}")
    if meta["format"] != FORMAT:
        raise ModelError(f"the description of {str(source)!r} has format {meta['format']}, this version reads {FORMAT}")


def describe_input(spec: InputSpec) -> dict[str, Any]:
    """What ``model.json`` holds of the input: size, mean, std, color, fit."""
    fit = {} if spec.fit is None else {"fit": asdict(spec.fit)}
    return {"size": spec.height, "mean": list(spec.mean), "std": list(spec.std), "color": spec.color, **fit}


def _read_input(meta: dict[str, Any], source: Path) -> InputSpec:
    image, channels = meta["input"], meta["in_channels"]
    try:
        color = image["color"] if "color" in image else image["colour"]
        color = _COLORS_BEFORE.get(color, color)
        fit = Fit(**image["fit"]) if "fit" in image else None
        return InputSpec(
            image["size"], image["size"], channels, tuple(image["mean"]), tuple(image["std"]), color, fit=fit
        )
    except (KeyError, TypeError) as error:
        raise ModelError(f"the description of {str(source)!r} is damaged: field 'input': {error}") from error


def _fill(model: nn.Module, weights: dict[str, Tensor], source: Path) -> None:
    wanted = model.state_dict()
    for name in sorted(set(wanted) ^ set(weights)):
        which = "lacks" if name in wanted else "holds the unknown tensor"
        raise ModelError(f"{str(source)!r} does not fit the model that it describes: it {which} {name!r}")
    for name, tensor in weights.items():
        if tensor.shape != wanted[name].shape:
            raise ModelError(
                f"{str(source)!r}: tensor {name!r} has shape {tuple(tensor.shape)}, "
                f"the model wants {tuple(wanted[name].shape)}"
            )
    model.load_state_dict(weights)
