"""The machine that numbers are measured on."""

import os
import platform

from onebit._core import cpu_name

__all__ = ["cpu_name", "describe"]


def describe() -> str:
    """CPU, number of cores and system, for the head of a measurement."""
    return f"{cpu_name()}, {os.cpu_count()} cores, {platform.system()} {platform.machine()}"
