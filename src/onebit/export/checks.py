"""Refusals of what packing cannot see: forwards of one's own, hooks, tensors changed in place."""

from __future__ import annotations

import operator
from typing import Any

import torch.nn.functional as F
from torch import fx, nn

from onebit.export.draft import PackError
from onebit.nn.binarizers import InputBinarizer, WeightBinarizer


def in_place(node: fx.Node, layer: nn.Module | None) -> bool:
    """Whether the call changes the tensor that it is given."""
    if getattr(layer, "inplace", False) or node.kwargs.get("inplace") or node.target is operator.iadd:
        return True
    if node.target in (F.relu, F.relu6, F.hardtanh, F.leaky_relu) and node.args[-1] is True:
        return True
    return node.op == "call_method" and str(node.target).endswith("_")


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
