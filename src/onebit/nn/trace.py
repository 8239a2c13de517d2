"""Symbolic tracing of models with binary layers as leaf modules, like the layers of torch.nn."""

from typing import Any

from torch import fx, nn

from onebit.nn.activations import ChannelShuffle, FPReLU, RPReLU
from onebit.nn.layers import BinaryConv2d, BinaryLinear

_CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)
_LEAVES = (BinaryConv2d, BinaryLinear, FPReLU, RPReLU, ChannelShuffle)


def is_layer(module: nn.Module) -> bool:
    """Whether ``module`` is a leaf of the trace: a layer of torch.nn or of this package.

    A subclass of a torch.nn layer is a leaf too, unless it overrides forward.
    """
    if isinstance(module, _LEAVES):
        return True
    kind: Any = next(k for k in type(module).__mro__ if k.__module__.startswith(("torch.nn.modules.", "torch.ao.")))
    return kind is not nn.Module and not issubclass(kind, _CONTAINERS) and type(module).forward is kind.forward


class LayerTracer(fx.Tracer):
    """``torch.fx`` tracer that treats layers as leaves."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return is_layer(m)


def source_module(node: Any, modules: dict[str, nn.Module]) -> nn.Module | None:
    """The layer that an fx node calls, or None if it calls no layer."""
    return modules.get(node.target) if node.op == "call_module" else None
