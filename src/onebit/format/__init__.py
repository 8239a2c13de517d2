"""The packed file: graph, ops, bits, costs; depends only on NumPy."""
