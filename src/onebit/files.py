"""Atomic writes: readers see either the old or the new content of a file."""

import os

try:
    import fcntl
except ModuleNotFoundError:  # Windows: temporary files of killed processes are not removed
    fcntl = None  # type: ignore[assignment]

_TEMPORARY = ".onebit-tmp-"  # and 16 digits


def write_atomic(path: str | os.PathLike[str], content: bytes) -> None:
    """Replace the content of ``path`` atomically: write a temporary file in the same folder, then rename it.

    A process that is killed while it writes leaves a hidden ``.onebit-tmp-…`` file, which the next write to that folder
    removes.  Raises OSError with the name of the file and the reason (no permission, disk full, ...), and then leaves
    no temporary file behind.
    """
    folder = os.path.dirname(os.path.abspath(path))
    temporary: str | None = None
    try:
        sweep(folder)
        handle, temporary = _create(folder)
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
            if fcntl is not None:
                os.replace(temporary, path)  # while the lock keeps other processes from removing it
        if fcntl is None:  # an open file cannot be renamed there
            os.replace(temporary, path)
    except OSError as error:
        raise OSError(error.errno, f"cannot write {os.fspath(path)!r}: {error.strerror}") from error
    finally:
        if temporary is not None and os.path.exists(temporary):
            os.unlink(temporary)


def sweep(folder: str | os.PathLike[str]) -> None:
    """Remove the temporary files of killed processes from ``folder``; files that are being written stay.

    Writers hold a lock on their temporary file, which the system releases when the process dies.
    """
    if fcntl is None:
        return
    with os.scandir(folder) as entries:
        found = [entry.path for entry in entries if entry.name.startswith(_TEMPORARY)]
    for path in found:
        try:
            handle = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:  # already removed, or owned by another user
            continue
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.unlink(path)
        except OSError:  # being written
            continue
        finally:
            os.close(handle)


def _create(folder: str) -> tuple[int, str]:
    """Create a locked temporary file in ``folder`` with default permissions; return its handle and its path."""
    while True:
        path = os.path.join(folder, _TEMPORARY + os.urandom(8).hex())
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666)
        if fcntl is None or _locked(handle):
            return handle, path
        os.close(handle)


def _locked(handle: int) -> bool:
    """Lock the new file; False if another process has already removed it."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
    except OSError:  # a file system without locks, where no process removes files
        return True
    return os.fstat(handle).st_nlink > 0
