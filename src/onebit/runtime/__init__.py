"""Run packed networks with NumPy and the C++ core; never imports torch."""

from onebit.runtime.errors import FormatError
from onebit.runtime.graph import Graph, InputSpec, Node, validate

__all__ = ["FormatError", "Graph", "InputSpec", "Node", "validate"]
