"""Pages and plots of runs and profiles; never imports torch."""

from onebit.report.style import PALETTE, figure

__all__ = ["PALETTE", "figure"]
