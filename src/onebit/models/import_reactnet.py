"""Weights of ReActNet's authors (github.com/liuzechun/ReActNet) into our models.

Only names and shapes of tensors are theirs.  Each of their tensors is used exactly once:

| ResNet version | MobileNet version | here |
|---|---|---|
| ``conv1``, ``bn1`` | ``feature.0.conv1``, ``feature.0.bn1`` | ``stem.0``, ``stem.1`` |
| ``layerS.B`` | ``feature.N`` | ``blocks.I``, counted on from 0 |
| ``move0``, ``binary_conv``, ``bn1`` | ``move11``, ``binary_3x3``, ``bn1`` | shift, weight, norm |
| ``move1``, ``prelu``, ``move2`` | ``move12``, ``prelu1``, ``move13`` | ``before``, ``negative``, ``after`` |
| ``downsample.1``, ``downsample.2`` | | ``shortcut.1``, ``shortcut.2`` |
| | ``move21``, ``binary_pw``, ``bn2``, or ``binary_pw_down1/2``, ``bn2_1/2`` | ``pointwise.0``, ``pointwise.1`` |
| | ``move22``, ``prelu2``, ``move23`` | ``activation2`` |
| ``fc`` | ``fc`` | ``classifier`` |

Two point-wise convolutions of one block share their shift there and have one each here, equal after the import.

Their code takes the sign of 0 as 0, ours as +1: a weight or a shifted input that is exactly 0 differs, no other.
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from onebit.models.base import whole_numbers
from onebit.models.reactnet import WIDTHS, ReActNetA, reactnet18, reactnet_a

COUNTER = "num_batches_tracked"  # of a norm; older files do not have it, and it changes no result
NORM = ("weight", "bias", "running_mean", "running_var", COUNTER)


def read_checkpoint(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Tensors of a ``torch.save`` file, on the CPU; no code in it is executed.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is damaged, or holds objects other than tensors, numbers, strings and containers of them.
    """
    path = Path(path)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        raise ValueError(
            f"{path} is damaged, or holds more than tensors, numbers and strings, which are not read, as that would "
            "run code; save the state_dict alone with torch.save"
        ) from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} must hold a dictionary of tensors, got a {type(content).__name__}")
    return content


def load_reactnet18(
    state: Mapping[str, Any],
    *,
    stages: str | Sequence[int] = (64, 128, 256, 512),
    blocks: str | Sequence[int] = (2, 2, 2, 2),
) -> nn.Module:
    """The model ``reactnet18`` for 224x224 images with the weights of the authors' ResNet version.

    Args:
        state: their state dict, as it is, under the key "state_dict", or with DataParallel's "module." in its names.
        stages, blocks: of the model, where the checkpoint is not ResNet-18's; 3-4-6-3 is their ``birealnet34``.

    Raises:
        ValueError: a tensor that is missing, too many, or of another shape; the message names it.
        TypeError: something in the state dict that is no tensor.
    """
    tensors = _unwrapped(state)
    stages, blocks = whole_numbers("stages", stages, 4, multiple=8), whole_numbers("blocks", blocks, 4)
    model = reactnet18(num_classes=_classes(tensors), stages=stages, blocks=blocks)
    names = {"stem.0.weight": "conv1.weight", **_norm("stem.1", "bn1"), **_classifier()}
    index = 0
    for stage, count in enumerate(blocks):
        for position in range(2 * count):
            ours, theirs = f"blocks.{index}", f"layer{stage + 1}.{position}"
            names |= {
                f"{ours}.body.0.input_binarizer.shift": f"{theirs}.move0.bias",
                f"{ours}.body.0.weight": f"{theirs}.binary_conv.weight",
                **_norm(f"{ours}.body.1", f"{theirs}.bn1"),
                **_rprelu(f"{ours}.activation", theirs, "move1", "prelu", "move2"),
            }
            if f"{ours}.shortcut.1.weight" in model.state_dict():
                names[f"{ours}.shortcut.1.weight"] = f"{theirs}.downsample.1.weight"
                names |= _norm(f"{ours}.shortcut.2", f"{theirs}.downsample.2")
            index += 1
    return _filled(model, tensors, names, flattened=())


def load_reactnet_a(state: Mapping[str, Any], *, stages: str | Sequence[int] = WIDTHS) -> nn.Module:
    """The model ``reactnet-a`` for 224x224 images with the weights of the authors' MobileNet version.

    Args:
        state: as in :func:`load_reactnet18`.
        stages: of the model, where the checkpoint is not ReActNet-A's.

    Raises:
        ValueError, TypeError: as there.
    """
    tensors = _unwrapped(state)
    model = reactnet_a(num_classes=_classes(tensors), stages=stages)
    assert isinstance(model, ReActNetA)
    names = {"stem.0.weight": "feature.0.conv1.weight", **_norm("stem.1", "feature.0.bn1"), **_classifier()}
    for index, block in enumerate(model.blocks):
        ours, theirs = f"blocks.{index}", f"feature.{index + 1}"
        names |= {
            f"{ours}.spatial.0.input_binarizer.shift": f"{theirs}.move11.bias",
            f"{ours}.spatial.0.weight": f"{theirs}.binary_3x3.weights",
            **_norm(f"{ours}.spatial.1", f"{theirs}.bn1"),
            **_rprelu(f"{ours}.activation1", theirs, "move12", "prelu1", "move13"),
            **_rprelu(f"{ours}.activation2", theirs, "move22", "prelu2", "move23"),
        }
        double = len(block.pointwise) == 2  # type: ignore[arg-type]
        pairs = [("binary_pw_down1", "bn2_1"), ("binary_pw_down2", "bn2_2")] if double else [("binary_pw", "bn2")]
        for part, (convolution, norm) in enumerate(pairs):
            names |= {
                f"{ours}.pointwise.{part}.0.input_binarizer.shift": f"{theirs}.move21.bias",
                f"{ours}.pointwise.{part}.0.weight": f"{theirs}.{convolution}.weights",
                **_norm(f"{ours}.pointwise.{part}.1", f"{theirs}.{norm}"),
            }
    return _filled(model, tensors, names, flattened=(".weights",))


def _norm(ours: str, theirs: str) -> dict[str, str]:
    return {f"{ours}.{name}": f"{theirs}.{name}" for name in NORM}


def _rprelu(ours: str, theirs: str, before: str, slope: str, after: str) -> dict[str, str]:
    return {
        f"{ours}.before": f"{theirs}.{before}.bias",
        f"{ours}.negative": f"{theirs}.{slope}.weight",
        f"{ours}.after": f"{theirs}.{after}.bias",
    }


def _classifier() -> dict[str, str]:
    return {"classifier.weight": "fc.weight", "classifier.bias": "fc.bias"}


def _unwrapped(state: Mapping[str, Any]) -> dict[str, Tensor]:
    """The tensors by their plain names."""
    inner = state.get("state_dict", state)
    if not isinstance(inner, Mapping):
        raise TypeError(f"state_dict must be a dictionary of tensors, got a {type(inner).__name__}")
    for name, value in inner.items():
        if not isinstance(value, Tensor):
            raise TypeError(f"{name!r} must be a tensor, got a {type(value).__name__}; give the state dict alone")
    plain = {name.removeprefix("module."): value for name, value in inner.items()}
    if len(plain) < len(inner):
        raise ValueError("the state dict has the same names with and without 'module.'; keep one of both")
    return plain


def _classes(tensors: dict[str, Tensor]) -> int:
    if "fc.bias" not in tensors:
        raise ValueError(f"the state dict has no tensor 'fc.bias'; it starts with {list(tensors)[:3]}")
    return tensors["fc.bias"].numel()


def _filled(
    model: nn.Module, tensors: dict[str, Tensor], names: dict[str, str], flattened: tuple[str, ...]
) -> nn.Module:
    """``model`` in eval mode with the values of ``tensors``; ``names``: ours -> theirs."""
    own = model.state_dict()
    assert set(names) == set(own), set(names) ^ set(own)
    left = [name for name in tensors if name not in set(names.values())]
    if left:
        raise ValueError(
            f"the state dict has {len(left)} tensor(s) that no layer takes, first {left[0]!r}; wrong model?"
        )
    values = {}
    for ours, theirs in names.items():
        if theirs not in tensors:
            if ours.endswith(COUNTER):
                values[ours] = own[ours]
                continue
            raise ValueError(f"the state dict has no tensor {theirs!r}, which {ours!r} takes; wrong model?")
        shape = _their_shape(theirs, own[ours].shape, flattened)
        if tuple(tensors[theirs].shape) != shape:
            raise ValueError(
                f"{theirs!r} must have the shape {shape}, got {tuple(tensors[theirs].shape)}; wrong model?"
            )
        values[ours] = tensors[theirs].reshape(own[ours].shape)
    model.load_state_dict(values)
    return model.eval()


def _their_shape(name: str, shape: Sequence[int], flattened: tuple[str, ...]) -> tuple[int, ...]:
    """Shape that the tensor has there, where ours has ``shape``."""
    if ".move" in name:
        return (1, *shape, 1, 1)
    if name.endswith(flattened) and flattened:
        return (torch.Size(shape).numel(), 1)
    return tuple(shape)
