"""Files that are either the old one or the new one, never half."""

import os

try:
    import fcntl
except ModuleNotFoundError:  # Windows: what a killed process leaves behind stays there
    fcntl = None  # type: ignore[assignment]

_TEMPORARY = ".onebit-tmp-"  # and 16 digits


def write_atomic(path: str | os.PathLike[str], content: bytes) -> None:
    """Replace ``path`` by ``content``: write beside it, then rename, a step that a crash cannot split.

    A process that is killed while it writes leaves a hidden ``.onebit-tmp-…``; whoever writes into that folder next
    removes it.  Raises OSError, naming the file and the reason (no permission, disk full, ...), and then leaves nothing
    behind.
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
                os.replace(temporary, path)  # as long as the lock keeps others from sweeping it
        if fcntl is None:  # where an open file cannot be renamed
            os.replace(temporary, path)
    except OSError as error:
        raise OSError(error.errno, f"cannot write {os.fspath(path)!r}: {error.strerror}") from error
    finally:
        if temporary is not None and os.path.exists(temporary):
            os.unlink(temporary)


def sweep(folder: str | os.PathLike[str]) -> None:
    """Remove what killed processes left of :func:`write_atomic` in ``folder``; files that are being written stay.

    Whoever writes holds a lock on the file, which the system takes back where the process dies.
    """
    if fcntl is None:
        return
    with os.scandir(folder) as entries:
        found = [entry.path for entry in entries if entry.name.startswith(_TEMPORARY)]
    for path in found:
        try:
            handle = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:  # gone by now, or another user's
            continue
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.unlink(path)
        except OSError:  # somebody writes it
            continue
        finally:
            os.close(handle)


def _create(folder: str) -> tuple[int, str]:
    """A new file in ``folder`` with the permissions of an ordinary one, locked: its handle and its path."""
    while True:
        path = os.path.join(folder, _TEMPORARY + os.urandom(8).hex())
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666)
        if fcntl is None or _locked(handle):
            return handle, path
        os.close(handle)


def _locked(handle: int) -> bool:
    """Lock the new file; False where somebody swept it before."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
    except OSError:  # a file system without locks: there nobody can sweep either
        return True
    return os.fstat(handle).st_nlink > 0
