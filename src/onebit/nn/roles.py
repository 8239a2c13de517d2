"""Roles of parameters, determined by the layer that owns them, never by their names."""

from __future__ import annotations

import torch
from torch import nn

from onebit.nn.binarizers import Binarizer
from onebit.nn.layers import BinaryConv2d, BinaryLinear

ROLES = ("latent", "weight-scale", "input-scale", "slope", "norm", "real")

NORMS = (nn.modules.batchnorm._NormBase, nn.GroupNorm, nn.LayerNorm)


def parameter_roles(model: nn.Module) -> dict[str, str]:
    """Map the name of every parameter to its role.

    "latent": the full-precision weight of a binary layer; "weight-scale", "input-scale": learned scales; "slope":
    slopes, shifts and thresholds of activations; "norm": scale and shift of a normalization; "real": everything else,
    including biases of binary layers.  Custom layers declare roles with a class attribute ``roles = {"parameter":
    "role"}``.
    """
    roles: dict[str, str] = {}
    seen: set[int] = set()
    for prefix, module in model.named_modules():
        declared = getattr(type(module), "roles", {})
        for name, parameter in module.named_parameters(prefix="", recurse=False):
            if id(parameter) in seen:
                continue
            seen.add(id(parameter))
            roles[f"{prefix}.{name}" if prefix else name] = _role(module, name, declared)
    return roles


def parameters_by_role(model: nn.Module) -> dict[str, list[nn.Parameter]]:
    """Map each role to its parameters, without duplicates, in the order of the model."""
    parameters = dict(model.named_parameters())
    members: dict[str, list[nn.Parameter]] = {}
    for name, role in parameter_roles(model).items():
        members.setdefault(role, []).append(parameters[name])
    return members


def _role(module: nn.Module, name: str, declared: dict[str, str]) -> str:
    if name in declared:
        if declared[name] == "latent" and getattr(module, "weight_binarizer", None) is None:
            return "real"
        return declared[name]
    if isinstance(module, NORMS):
        return "norm"
    return "slope" if isinstance(module, nn.PReLU) else "real"


def keep_positive_(model: nn.Module) -> None:
    """Clamp all learned scales to at least 1e-4, in place; call it after each optimizer step."""
    for module in model.modules():
        if isinstance(module, Binarizer):
            module.keep_positive_()


def set_progress(model: nn.Module, progress: float) -> None:
    """Set the training progress of every binarizer; ValueError outside [0, 1]."""
    if not 0 <= progress <= 1:
        raise ValueError(f"progress must be from 0 to 1, got {progress}")
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, Binarizer):
                module.progress.fill_(progress)


def set_real_weights(model: nn.Module, real: bool) -> None:
    """Let the binary layers use their latent weights (True) or the signs of them (False).

    The first step of the two-step schedule trains binary activations with full-precision weights (Real-to-Binary,
    arXiv:2003.11535; ReActNet, arXiv:2003.03488).
    """
    for module in model.modules():
        if isinstance(module, BinaryConv2d | BinaryLinear):
            module.real_weights = real
