"""Writing files: whole or not at all, with ordinary permissions, and without litter that stays."""

import os
import signal
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from onebit import files
from onebit.files import sweep, write_atomic


def test_the_umask_of_the_process_is_left_alone(tmp_path, monkeypatch):
    """It belongs to all threads: another one's files would come out open to everybody."""
    before = os.umask(0o027)
    try:
        with monkeypatch.context() as patch:
            patch.setattr(os, "umask", lambda mask: pytest.fail("the umask was touched"))
            write_atomic(tmp_path / "x", b"1")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "x").stat().st_mode) == 0o640


def killed_while_writing(path: Path) -> None:
    code = (
        "import os, signal, sys\nfrom onebit.files import write_atomic\n"
        "os.fsync = lambda handle: os.kill(os.getpid(), signal.SIGKILL)\n"
        "write_atomic(sys.argv[1], b'new')"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], check=False)
    assert done.returncode == -signal.SIGKILL


def test_what_a_killed_process_left_is_removed_by_the_next_writer(tmp_path):
    write_atomic(tmp_path / "x", b"old")
    killed_while_writing(tmp_path / "x")
    assert (tmp_path / "x").read_bytes() == b"old"
    (litter,) = (name for name in os.listdir(tmp_path) if name != "x")
    assert litter.startswith(".onebit-tmp-")
    (tmp_path / ".onebit-tmp-is-a-folder").mkdir()  # nor is this ours
    (tmp_path / ".onebit-tmp-link").symlink_to(tmp_path / "x")
    write_atomic(tmp_path / "y", b"another file")
    assert sorted(os.listdir(tmp_path)) == [".onebit-tmp-is-a-folder", ".onebit-tmp-link", "x", "y"]
    assert (tmp_path / "x").read_bytes() == b"old"


def test_a_file_that_is_being_written_is_not_swept(tmp_path, monkeypatch):
    writing, go_on = threading.Event(), threading.Event()
    fsync = os.fsync

    def wait(handle):
        writing.set()
        assert go_on.wait(20)
        fsync(handle)

    monkeypatch.setattr(os, "fsync", wait)
    thread = threading.Thread(target=write_atomic, args=(tmp_path / "x", b"first"))
    thread.start()
    assert writing.wait(20)
    monkeypatch.setattr(os, "fsync", fsync)
    write_atomic(tmp_path / "y", b"second")
    sweep(tmp_path)
    go_on.set()
    thread.join()
    assert (tmp_path / "x").read_bytes() == b"first"
    assert sorted(os.listdir(tmp_path)) == ["x", "y"]


def test_a_file_swept_before_it_was_locked_is_made_again(tmp_path, monkeypatch):
    locked = files._locked
    swept = []

    def late(handle):
        if not swept:
            swept.extend(os.listdir(tmp_path))
            sweep(tmp_path)
        return locked(handle)

    monkeypatch.setattr(files, "_locked", late)
    write_atomic(tmp_path / "x", b"content")
    assert len(swept) == 1
    assert os.listdir(tmp_path) == ["x"]


def test_without_locks(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "fcntl", None)
    write_atomic(tmp_path / "x", b"content")
    sweep(tmp_path)
    assert os.listdir(tmp_path) == ["x"]
    assert (tmp_path / "x").read_bytes() == b"content"


@pytest.mark.parametrize("missing", ["folder/x", "x/x"])
def test_what_stands_in_the_way_is_named(tmp_path, missing):
    (tmp_path / "x").write_bytes(b"")
    with pytest.raises(OSError, match=rf"cannot write '.*{missing}': (No such file|Not a directory)"):
        write_atomic(tmp_path / missing, b"content")
