"""Refusals of what packing cannot see: forwards of one's own, hooks, binarizers that do more than they say."""

from __future__ import annotations

from typing import Any

from torch import nn

from onebit.export.draft import PackError
from onebit.nn.binarizers import InputBinarizer, WeightBinarizer


def check_forward(name: str, layer: nn.Module, kind: type[nn.Module]) -> None:
    """Refuse a layer that computes something else than the class that packing knows."""
    if type(layer).forward is not kind.forward:
        raise PackError(
            f"{name}: {type(layer).__name__} has a forward of its own, which packing cannot know; "
            f"write it as a {kind.__name__} and layers around it"
        )
    if layer._forward_hooks or layer._forward_pre_hooks:
        raise PackError(f"{name}: the layer has forward hooks, which a packed network cannot run; remove them first")


def check_binarizers(name: str, weights: Any, inputs: Any) -> None:
    """Refuse binarizers that do more than the levels, thresholds and scales that packing reads off them."""
    for binarizer, known in ((weights, WeightBinarizer), (inputs, InputBinarizer)):
        if binarizer is not None and type(binarizer).forward is not known.forward:
            raise PackError(
                f"{name}: {type(binarizer).__name__} has a forward of its own, which packing cannot know; "
                "give it a scale(), a threshold() or an offset() and leave forward as it is"
            )
