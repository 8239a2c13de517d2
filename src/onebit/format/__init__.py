"""The packed file: graph, ops, bits, costs; NumPy alone."""
