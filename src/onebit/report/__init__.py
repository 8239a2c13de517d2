"""Pages and plots of runs and profiles; never imports torch."""

from onebit.report.health import Course, Finding, LayerNumbers, findings, new_findings
from onebit.report.style import PALETTE, figure

__all__ = ["PALETTE", "Course", "Finding", "LayerNumbers", "figure", "findings", "new_findings"]
