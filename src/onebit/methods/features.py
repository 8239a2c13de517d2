"""Feature maps of layers chosen by name: a network that returns its outputs and, beside them, what the layers gave."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from onebit.nn import BinaryConv2d
from onebit.nn.binarizers import Binarizer
from onebit.nn.modes import evaluating
from onebit.nn.names import match_names

# Shape letters: B batch, C channels, H W map.

_CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)

Reduce = Callable[[Tensor], Tensor]


def whole(map_BCHW: Tensor) -> Tensor:
    """The map itself."""
    return map_BCHW


def pooled(map_BCHW: Tensor) -> Tensor:
    """Mean over the positions: (B, C, H, W) -> (B, C); (B, C) stays."""
    return map_BCHW.flatten(2).mean(2) if map_BCHW.dim() > 2 else map_BCHW


class Features(nn.Module):
    """``network`` with a second output: ``(its own, (reduce(map) of each named layer, in that order))``.

    A layer that runs several times in one forward pass gives its last map.  Works under ``torch.compile``, as part of
    one graph.

    Args:
        layers: names of modules of ``network``, as :func:`find_layers` gives them.
        reduce: applied to each map inside the forward pass, so that what is not needed is never kept.
    """

    def __init__(self, network: nn.Module, layers: Sequence[str], reduce: Reduce = whole) -> None:
        super().__init__()
        self.network = network
        self.layers = tuple(layers)
        self.reduce = reduce
        self._listening = False  # evaluation calls the network itself, which then records no maps
        self._maps: dict[str, Tensor] = {}
        self._handles = [
            network.get_submodule(layer).register_forward_hook(self._keeper(layer)) for layer in self.layers
        ]

    def remove(self) -> None:
        """Take the hooks off the network: packing refuses layers that have some."""
        for handle in self._handles:
            handle.remove()

    def _keeper(self, layer: str) -> Callable[[nn.Module, Any, Tensor], None]:
        def keep(module: nn.Module, inputs: Any, out: Tensor) -> None:
            if self._listening:
                self._maps[layer] = self.reduce(out)

        return keep

    def forward(self, *inputs: Tensor) -> tuple[Any, tuple[Tensor, ...]]:
        self._listening = True
        try:
            outputs = self.network(*inputs)
            return outputs, tuple(self._maps[layer] for layer in self.layers)
        finally:
            self._listening = False
            self._maps.clear()


def find_layers(network: nn.Module, patterns: Sequence[str] | None, owner: str = "layers") -> list[str]:
    """Names of the modules that match any of the ``patterns``, in the network's order, each once.

    None stands for the blocks of all binary convolutions: of each, the innermost module around it that is neither a
    plain container (Sequential, ModuleList, ModuleDict) nor the whole network, and the convolution itself where there
    is none.  So a residual block gives its output after shortcut and activation.

    Args:
        patterns: as in :func:`onebit.nn.names.match_names`.
        owner: how messages call the network's setting.

    Raises:
        ValueError: a pattern that matches nothing; no patterns and no binary convolution.
        TypeError: one text instead of a list of them.
    """
    modules = {name: module for name, module in network.named_modules() if name and not isinstance(module, Binarizer)}
    if patterns is None:
        found = {_block(name, modules) for name, module in modules.items() if isinstance(module, BinaryConv2d)}
        if not found:
            raise ValueError(f"{owner}: the network has no binary convolution; name the layers to look at")
        return [name for name in modules if name in found]
    return list(match_names(patterns, modules, owner))


def _block(name: str, modules: dict[str, nn.Module]) -> str:
    around = name.rpartition(".")[0]
    while around and isinstance(modules[around], _CONTAINERS):
        around = around.rpartition(".")[0]
    return around or name


@torch.no_grad()
def map_shapes(network: nn.Module, layers: Sequence[str], example: tuple[Tensor, ...]) -> dict[str, tuple[int, ...]]:
    """Shape, without the batch, of each layer's map for ``example``, the inputs of a batch of one.

    Raises ValueError for a layer that does not run, or does not return one tensor.
    """
    shapes: dict[str, tuple[int, ...]] = {}

    def keeper(layer: str) -> Callable[[nn.Module, Any, Any], None]:
        def keep(module: nn.Module, inputs: Any, out: Any) -> None:
            if not isinstance(out, Tensor):
                raise ValueError(f"layer {layer!r} returns {type(out).__name__}, not one feature map; name another")
            shapes[layer] = tuple(out.shape[1:])

        return keep

    handles = [network.get_submodule(layer).register_forward_hook(keeper(layer)) for layer in layers]
    try:
        device = next(network.parameters()).device
        with evaluating(network):
            network(*(each.to(device) for each in example))
    finally:
        for handle in handles:
            handle.remove()
    for layer in layers:
        if layer not in shapes:
            raise ValueError(f"layer {layer!r} does not run in the forward pass; name another")
    return shapes


def check_same_maps(
    network: dict[str, tuple[int, ...]], teacher: dict[str, tuple[int, ...]], dims: slice = slice(None)
) -> None:
    """ValueError that names the first layers, in order, whose shapes differ within ``dims``."""
    for (name, mine), (other, theirs) in zip(network.items(), teacher.items(), strict=True):
        if mine[dims] != theirs[dims]:
            of = "" if name == other else f" of its layer {other!r}"
            raise ValueError(
                f"layer {name!r} gives maps {mine}, the teacher {theirs}{of}; the two must be of one size: "
                "train the teacher with the same model and options, or choose other layers"
            )
