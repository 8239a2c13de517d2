"""The packed file: graph, ops, bits, costs; depends only on NumPy."""

from onebit.format.errors import FormatError
from onebit.format.file import load_graph, save_graph
from onebit.format.graph import Fit, Graph, InputSpec, Node

__all__ = ["Fit", "FormatError", "Graph", "InputSpec", "Node", "load_graph", "save_graph"]
