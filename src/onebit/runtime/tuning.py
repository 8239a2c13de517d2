"""Selection of kernels by timing, and the file that caches it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import onebit._core as _core
from onebit.files import write_atomic
from onebit.runtime.cpu import cpu_name


@contextmanager
def remembered(path: str | os.PathLike[str]) -> Iterator[None]:
    """Within this context, engines reuse the selections in ``path`` instead of timing, and add new ones to it.

    The file is JSON: the CPU, the kernels of this build, and layer -> kernel.  It is created if missing, and replaced
    if it is from another CPU or build.  Raises ValueError if it is not a tuning cache, and OSError if it cannot be read
    or written.
    """
    file = Path(path)
    here = {"cpu": cpu_name(), "kernels": sorted(name for _, name, _ in _core.kernels())}
    known: dict[str, str] = {}
    if file.exists():
        stored = _read(file)
        if {key: stored.get(key) for key in here} == here:
            known = stored["layers"]
            _core.set_tuned_kernels(known)
    yield
    layers = {**known, **_core.tuned_kernels()}
    if layers != known:
        write_atomic(file, (json.dumps({**here, "layers": layers}, indent=1, sort_keys=True) + "\n").encode())


def _read(file: Path) -> dict[str, Any]:
    try:
        stored = json.loads(file.read_bytes())
    except ValueError:
        stored = None
    layers = stored.get("layers") if isinstance(stored, dict) else None
    if not isinstance(layers, dict) or not all(isinstance(kernel, str) for kernel in layers.values()):
        raise ValueError(f"{file} is not a file of tuned kernels; name another, or delete it to start anew")
    return stored
