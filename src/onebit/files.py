"""Files that are either the old one or the new one, never half."""

import os


def write_atomic(path: str | os.PathLike[str], content: bytes) -> None:
    """Replace ``path`` by ``content``: write beside it, then rename, a step that a crash cannot split.

    Raises OSError, naming the file and the reason (no permission, disk full, ...), and then leaves nothing behind.
    """
    import tempfile  # only who writes waits for it

    folder, name = os.path.split(os.path.abspath(path))
    temporary: str | None = None
    try:
        handle, temporary = tempfile.mkstemp(dir=folder, prefix=f".{name}.")
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~_umask())  # mkstemp makes private files; this is to be an ordinary one
        os.replace(temporary, path)
    except OSError as error:
        raise OSError(error.errno, f"cannot write {os.fspath(path)!r}: {error.strerror}") from error
    finally:
        if temporary is not None and os.path.exists(temporary):
            os.unlink(temporary)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
