"""The run record: what was run, where, with what, and every number it gave; one JSON file per run."""

import csv
import io
import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from onebit.files import write_atomic
from onebit.runtime.cpu import cpu_name
from onebit.train.files import write_json

FORMAT = 1
RECORD = "record.json"
METRICS = "metrics.csv"
CURVE = "curve.png"
PACKED = "packed.onebit"  # the packed network, where a study made it


def new_record(recipe: str | None, settings: dict[str, Any]) -> dict[str, Any]:
    """A record without measurements."""
    return {
        "format": FORMAT,
        "recipe": recipe,
        "settings": settings,
        "commit": source_commit(),
        "versions": versions(),
        "machine": machine(),
        "compiled": None,
        "seconds": 0.0,
        "epochs": [],
        "result": None,
    }


def write_record(folder: Path, record: dict[str, Any]) -> None:
    """Write the record, and its epochs as CSV for spreadsheets."""
    write_json(folder / RECORD, record)
    rows = record["epochs"]
    if rows:
        text = io.StringIO()
        names = list(dict.fromkeys(name for row in rows for name in row))
        writer = csv.DictWriter(text, fieldnames=names)
        writer.writeheader()
        writer.writerows(rows)
        write_atomic(folder / METRICS, text.getvalue().encode())


def source_commit() -> str | None:
    """The commit of the checkout that this package runs from ("-dirty" if changed), or None outside of one."""
    here = Path(__file__).parent

    def git(*arguments: str) -> str | None:
        try:
            done = subprocess.run(["git", *arguments], cwd=here, capture_output=True, text=True, timeout=10)
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    if git("ls-files", "--error-unmatch", Path(__file__).name) is None:
        return None  # installed, though perhaps inside somebody else's checkout
    commit = git("rev-parse", "HEAD")
    return f"{commit}-dirty" if commit and git("status", "--porcelain", "--untracked-files=no", "..") else commit


def versions() -> dict[str, str]:
    """Versions of what the numbers depend on."""
    found = {"python": platform.python_version()}
    for package in ("onebit", "torch", "lightning", "kornia", "numpy"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def machine() -> dict[str, Any]:
    """The processor, its threads, and the accelerator if there is one."""
    return {
        "system": platform.platform(),
        "cpu": cpu_name(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }
