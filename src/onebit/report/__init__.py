"""Plots of run records and profiles; never imports torch."""

from onebit.report.style import PALETTE, figure

__all__ = ["PALETTE", "figure"]
