"""Symbolic tracing of models with binary layers: they stay whole, as torch's own layers do."""

from typing import Any

from torch import fx, nn

from onebit.nn.activations import ChannelShuffle, FPReLU, RPReLU
from onebit.nn.layers import BinaryConv2d, BinaryLinear

_LEAVES = (BinaryConv2d, BinaryLinear, FPReLU, RPReLU, ChannelShuffle)


class LayerTracer(fx.Tracer):
    """``torch.fx`` tracer whose leaves are torch's layers and this package's."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, _LEAVES) or super().is_leaf_module(m, module_qualified_name)


def source_module(node: Any, modules: dict[str, nn.Module]) -> nn.Module | None:
    """The layer that an fx node calls, or None if it is no layer call."""
    return modules.get(node.target) if node.op == "call_module" else None
