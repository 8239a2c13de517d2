"""A run's folder belongs to one process at a time; the lock ends with its process, however that ends."""

import json
import os
import socket
import time
from pathlib import Path
from types import TracebackType

try:
    import fcntl
except ModuleNotFoundError:  # Windows: nothing keeps two runs apart there
    fcntl = None  # type: ignore[assignment]

NAME = ".lock"


class Busy(ValueError):
    """Another process trains in this folder; the message says which, and since when."""


class FolderLock:
    """Context in which no other ``FolderLock`` of the folder can be entered, by any process of this machine.

    It makes the folder, and takes it away again if it has stayed empty.

    Raises:
        Busy: another one is in force.
        OSError: the folder cannot be made or written to.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._path = folder / NAME

    def __enter__(self) -> "FolderLock":
        try:
            self._made = not self.folder.exists()
            self.folder.mkdir(parents=True, exist_ok=True)
            self._handle = self._lock()
        except OSError as error:
            raise OSError(error.errno, f"cannot write to the folder {str(self.folder)!r}: {error.strerror}") from error
        holder = {"pid": os.getpid(), "host": socket.gethostname(), "since": time.strftime("%Y-%m-%d %H:%M:%S")}
        os.write(self._handle, json.dumps(holder).encode())
        return self

    def _lock(self) -> int:
        while True:
            handle = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o666)
            try:
                if fcntl is not None:
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                message = self._holder(handle)
                os.close(handle)
                raise Busy(message) from None
            except OSError:  # a file system without locks
                pass
            if _is_still_there(handle, self._path):  # and not removed by its last holder in the meantime
                os.ftruncate(handle, 0)
                return handle
            os.close(handle)

    def _holder(self, handle: int) -> str:
        who = "another process"
        try:
            holder = json.loads(os.pread(handle, 1000, 0))
            who = f"process {int(holder['pid'])} on {str(holder['host'])!r}, since {str(holder['since'])[:19]},"
        except (ValueError, KeyError, TypeError):  # it has not written its name yet
            pass
        return f"{who} trains in the folder {str(self.folder)!r}; wait for it, stop it, or choose another folder"

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if fcntl is not None:
            self._path.unlink(missing_ok=True)  # as long as the lock is ours
        os.close(self._handle)
        if fcntl is None:  # where an open file cannot be removed
            self._path.unlink(missing_ok=True)
        if self._made and not any(self.folder.iterdir()):
            self.folder.rmdir()


def _is_still_there(handle: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), os.stat(path))
    except FileNotFoundError:
        return False
