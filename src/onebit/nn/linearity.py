"""Linearity of binary networks (FTBNN, arXiv:2010.09294), measured on a batch of images.

FTBNN argues that a binary convolution whose output follows that of the full-precision one too closely leaves the
network with too little non-linearity.  The two measures below are ours.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from onebit.nn.layers import BinaryConv2d
from onebit.nn.modes import evaluating
from onebit.nn.names import match_names

# Shape letters: B batch, C channels, H W map, S samples = B H W.


@dataclass(frozen=True)
class Linearity:
    """One measurement: the fraction of the variance of a layer's or block's output that a linear map explains."""

    name: str
    kind: str  # "convolution" or "block"
    r2: float


def probe_linearity(model: nn.Module, images_BCHW: Tensor, *, blocks: Sequence[str] = ()) -> list[Linearity]:
    """Measure every binary convolution of ``model``, and the blocks selected by ``blocks``, on a batch of images.

    "convolution": R^2 of the best linear fit per channel from the output of the full-precision convolution (latent
    weights, full-precision inputs) to that of the binary one, averaged over the channels; 1 - R^2 is the effect of
    binarization beyond scaling. "block": R^2 of the best 1x1 linear map (with bias) from the block's input,
    average-pooled to the size of the output, to its output; low values mean that the block computes something that a
    linear layer cannot.

    Args:
        model: any model with binary layers; evaluated without gradients, in eval mode, and not changed.
        images_BCHW: normalized images; a few hundred suffice.
        blocks: names or patterns, as in :func:`onebit.nn.names.match_names`, of modules with one input map and one
            output map.  Of nested modules the outermost are measured: ``"blocks.*"`` selects the blocks.

    Raises:
        ValueError: no binary convolution, a name that matches no module, a module that does not return a map.
    """
    modules = dict(model.named_modules())
    wanted: dict[str, str] = {name: "convolution" for name, m in modules.items() if _is_binary(m)}
    if not wanted:
        raise ValueError("the model has no binary convolution; convert it with binarize_")
    found = match_names(blocks, filter(None, modules), "blocks", "module")
    outer = [name for name in found if not any(name.startswith(f"{other}.") for other in found)]
    wanted.update({name: "block" for name in outer if not _is_binary(modules[name])})
    results: dict[str, Linearity] = {}

    def watch(name: str, kind: str) -> Callable[..., None]:
        def hook(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
            if not isinstance(output, Tensor) or output.ndim != 4 or args[0].ndim != 4:
                raise ValueError(f"{name} gives no map (B, C, H, W), so it cannot be probed as a {kind}")
            r2 = _of_convolution(module, args[0], output) if kind == "convolution" else _of_block(args[0], output)
            results[name] = Linearity(name, kind, r2)

        return hook

    handles = [modules[name].register_forward_hook(watch(name, kind)) for name, kind in wanted.items()]
    try:
        with evaluating(model), torch.no_grad():
            model(images_BCHW)
    finally:
        for handle in handles:
            handle.remove()
    return [results[name] for name in wanted if name in results]


def _is_binary(module: nn.Module) -> bool:
    return isinstance(module, BinaryConv2d) and bool(module.weight_binarizer or module.input_binarizer)


def _of_convolution(layer: nn.Module, x_BCHW: Tensor, binary_BCHW: Tensor) -> float:
    real = copy.copy(layer)  # shares the weights
    real._modules = {**layer._modules, "weight_binarizer": None, "input_binarizer": None}
    real._forward_hooks = type(layer._forward_hooks)()
    a_CS, b_CS = (y.transpose(0, 1).flatten(1).double() for y in (real(x_BCHW), binary_BCHW))
    a_CS, b_CS = a_CS - a_CS.mean(1, keepdim=True), b_CS - b_CS.mean(1, keepdim=True)
    shared_C = (a_CS * b_CS).sum(1).square() / (a_CS.square().sum(1) * b_CS.square().sum(1)).clamp_min(1e-30)
    return float(shared_C.mean())


def _of_block(x_BCHW: Tensor, y_BCHW: Tensor) -> float:
    if x_BCHW.shape[2:] != y_BCHW.shape[2:]:
        x_BCHW = F.adaptive_avg_pool2d(x_BCHW, (y_BCHW.shape[2], y_BCHW.shape[3]))
    x_SC, y_SC = (z.transpose(0, 1).flatten(1).T.double() for z in (x_BCHW, y_BCHW))
    x_SC, y_SC = x_SC - x_SC.mean(0), y_SC - y_SC.mean(0)
    gram_CC = x_SC.T @ x_SC
    gram_CC.diagonal().add_(1e-9 * gram_CC.diagonal().mean())
    rest_SC = y_SC - x_SC @ torch.linalg.solve(gram_CC, x_SC.T @ y_SC)
    return 1 - float(rest_SC.square().sum() / y_SC.square().sum().clamp_min(1e-30))
