"""Starting from a trained network's weights: fine-tuning, or a binary network from its real counterpart."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from onebit.nn.roles import NORMS
from onebit.train.artifact import load_trained
from onebit.train.teacher import digest
from onebit.zoo.by_name import Folder, name_of, start_file

LAYERS = (nn.Conv2d, nn.Linear)


@dataclass(frozen=True)
class Start:
    """The trained network that a run starts from.

    Attributes:
        named: as the setting ``start_from`` names it.
        meta: its description, as in ``model.json``.
    """

    named: str
    network: nn.Module
    meta: dict[str, Any]


def load_start(named: str | Path, zoo: Folder = None) -> Start:
    """The trained network that ``start_from`` names: a run's folder, a checkpoint, or ``zoo:NAME``.

    Args:
        zoo: folder of trained networks, as in :func:`onebit.zoo.load`.

    Raises:
        ValueError: no such network; one without a start; a file that is damaged or not the one of its card.
        FileNotFoundError: a start that is not at hand.
    """
    name = name_of(str(named))
    return Start(str(named), *load_trained(named if name is None else start_file(name, folder=zoo)))


@torch.no_grad()
def start_from(network: nn.Module, meta: Mapping[str, Any], start: Start) -> dict[str, Any]:
    """Give ``network``, described by ``meta``, the weights of ``start``, in place.

    Whatever has the same name and shape is taken.  Convolutions, linear layers and norms must all find theirs, but for
    the last layer where the classes are others: it stays as it is.  What else the network has (scales, thresholds,
    slopes) may start as usual, since a real network knows nothing of it.  Learned weight scales that do not come along
    start from the weights that do.

    Returns:
        The record's entry: from, model, scheme, dataset and sha256 of the start, anew (the name of the last layer where
        it was not taken, or null), and text, one line.

    Raises:
        ValueError: a layer that finds no tensor of its name and shape; the message says what else differs.
    """
    anew = _last_layer(network) if start.meta.get("classes") != meta.get("classes") else None
    theirs, mine = start.network.state_dict(), network.state_dict()
    taken = {
        name: tensor
        for name, tensor in theirs.items()
        if name in mine and tensor.shape == mine[name].shape and not (anew and name.startswith(f"{anew}."))
    }
    for prefix, module in network.named_modules():
        if not isinstance(module, (*LAYERS, *NORMS)):
            continue
        own = [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]
        for name, tensor in ((f"{prefix}.{name}", tensor) for name, tensor in own):
            fits = name in taken
            if prefix == anew:  # as many inputs, but another number of outputs
                fits = name in theirs and theirs[name].shape[1:] == tensor.shape[1:]
            if not fits:
                found = f"one of shape {tuple(theirs[name].shape)}" if name in theirs else "none"
                other = ", ".join(f"{setting} {value!r}" for setting, value in _other(meta, start.meta))
                raise ValueError(
                    f"start_from {start.named!r}: the network wants {name} of shape {tuple(tensor.shape)}, the "
                    f"{start.meta['model']!r} there has {found}; name a run of the same model with the same options"
                    + (f", or give this one {other}" if other else "")
                )
    network.load_state_dict({**mine, **taken})
    for prefix, module in network.named_modules():
        binarizer = getattr(module, "weight_binarizer", None)
        if binarizer is None:
            continue
        scales = [f"{prefix}.weight_binarizer.{name}" for name, _ in binarizer.named_parameters()]
        if not all(name in taken for name in scales):
            binarizer.restart(module.weight)
    return {
        "from": start.named,
        "model": start.meta["model"],
        "scheme": start.meta["scheme"],
        "dataset": start.meta["provenance"].get("dataset"),
        "sha256": digest(start.network, start.meta),
        "anew": anew,
        "text": _in_words(meta, start, anew),
    }


def _last_layer(network: nn.Module) -> str:
    return [name for name, module in network.named_modules() if isinstance(module, LAYERS)][-1]


def _other(meta: Mapping[str, Any], theirs: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """The settings that decide the shapes of a network, and their values there, where they are others than here."""
    if meta["model"] != theirs["model"]:
        yield "model", theirs["model"]
    if meta["options"] != theirs["options"]:
        yield "model_options", theirs["options"]
    here, there = meta.get("input", {}), theirs.get("input", {})
    for setting, name in (("image_size", "size"), ("color", "color")):
        if here.get(name) != there.get(name):
            yield setting, there.get(name)


def _in_words(meta: Mapping[str, Any], start: Start, anew: str | None) -> str:
    """What was taken, what was not, and how the images differ."""
    dataset = start.meta["provenance"].get("dataset")
    parts = [f"starts from {start.named!r}, {start.meta['model']!r} trained on {dataset!r}"]
    if anew:
        there, here = (len(each.get("classes") or ()) for each in (start.meta, meta))
        classes = f"{there} classes there, {here} here" if there != here else f"{here} other classes"
        parts.append(f"its last layer, {anew!r}, starts anew: {classes}")
    here, there = meta.get("input", {}), start.meta.get("input", {})
    if here.get("size") != there.get("size"):
        parts.append(f"images have side {here.get('size')}, there {there.get('size')}")
    if (here.get("mean"), here.get("std")) != (there.get("mean"), there.get("std")):
        parts.append("images are normalized by mean and std of this data set")
    return "; ".join(parts)
