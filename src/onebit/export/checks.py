"""Checks for what packing cannot see: custom forward methods, hooks, binarizers with additional behavior."""

from __future__ import annotations

from typing import Any

from torch import nn

from onebit.export.draft import PackError
from onebit.nn.binarizers import InputBinarizer, WeightBinarizer


def check_forward(name: str, layer: nn.Module, kind: type[nn.Module]) -> None:
    """Raise PackError for a layer that computes something else than the class that packing knows."""
    if type(layer).forward is not kind.forward:
        raise PackError(
            f"{name}: {type(layer).__name__} overrides forward, which packing cannot convert; "
            f"write it as a {kind.__name__} and layers around it"
        )
    if layer._forward_hooks or layer._forward_pre_hooks:
        raise PackError(f"{name}: the layer has forward hooks, which a packed network cannot run; remove them first")


def check_binarizers(name: str, weights: Any, inputs: Any) -> None:
    """Raise PackError for binarizers that compute more than their levels, thresholds, offsets and scales."""
    for binarizer, known in ((weights, WeightBinarizer), (inputs, InputBinarizer)):
        if binarizer is not None and type(binarizer).forward is not known.forward:
            raise PackError(
                f"{name}: {type(binarizer).__name__} overrides forward, which packing cannot convert; "
                "give it a scale(), a threshold() or an offset() and leave forward as it is"
            )
