"""JSON files, and whether a folder can take a run's files."""

import json
import math
import re
import shutil
import tempfile
from pathlib import Path
from typing import Any

from onebit.files import write_atomic

_NUMBERS = re.compile(r"\[\n((?: *(?:null|[-+.\deE]+),?\n)+) *\]")  # no string of JSON holds a line break


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` as JSON, atomically; NaN and infinity, which JSON cannot represent, become null.

    Lists of numbers take one line each, however long they are.
    """
    text = json.dumps(_finite(value), indent=1, allow_nan=False)
    text = _NUMBERS.sub(lambda found: "[" + " ".join(found[1].split()) + "]", text)
    write_atomic(path, (text + "\n").encode())


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _finite(entry) for name, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in ``path``; ValueError if it holds anything else, OSError if it cannot be read."""
    try:
        value = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{str(path)!r} is damaged: {error}") from error
    if not isinstance(value, dict):
        raise ValueError(f"{str(path)!r} is damaged: it holds no JSON object")
    return value


def prepare_folder(folder: Path, needed_bytes: int) -> None:
    """Make ``folder`` and see that it can be written and has room; OSError says what is wrong, first."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise OSError(error.errno, f"cannot write to the folder {str(folder)!r}: {error.strerror}") from error
    free = shutil.disk_usage(folder).free
    if free < needed_bytes:
        raise OSError(
            f"{str(folder)!r} has {free / 1e6:.0f} MB free, but the run needs about {needed_bytes / 1e6:.0f} MB; "
            "make room or choose another folder"
        )
