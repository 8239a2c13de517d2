"""Files that are either the old one or the new one, never half: write beside the target, then rename."""

import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any


def write_atomic(path: Path, content: bytes) -> None:
    """Replace ``path`` by ``content`` in one step that a crash cannot split; OSError names the file and the reason."""
    temporary: str | None = None
    try:
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
    except OSError as error:
        raise OSError(error.errno, f"cannot write {str(path)!r}: {error.strerror}") from error
    finally:
        if temporary is not None and os.path.exists(temporary):
            os.unlink(temporary)


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` as JSON, atomically."""
    write_atomic(path, (json.dumps(value, indent=1) + "\n").encode())


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in ``path``; ValueError if it holds anything else, OSError if it cannot be read."""
    try:
        value = json.loads(path.read_bytes())
    except ValueError as error:
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
            "make room or choose another folder with --out"
        )


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
