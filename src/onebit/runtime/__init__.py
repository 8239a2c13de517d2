"""Run packed networks with NumPy and the C++ core; never imports torch."""
