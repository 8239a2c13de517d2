"""The machine that measurements are taken on."""

import os
import platform

from onebit._core import cpu_name

__all__ = ["cpu_name", "describe"]


def describe() -> str:
    """CPU, number of cores and operating system, for the header of a report."""
    return f"{cpu_name()}, {os.cpu_count()} cores, {platform.system()} {platform.machine()}"
