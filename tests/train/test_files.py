"""Files are whole or untouched, and what stands in the way is said before work starts."""

import errno
import os
import shutil

import pytest
import torch

from onebit.files import write_atomic
from onebit.train import CheckpointError, load_trained, train
from onebit.train.checkpoint import load_checkpoint
from onebit.train.files import prepare_folder


def test_a_failed_write_leaves_the_old_file_and_no_litter(tmp_path, monkeypatch):
    path = tmp_path / "x"
    write_atomic(path, b"old")

    def full(handle):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=r"cannot write '.*x': No space left on device"):
        write_atomic(path, b"new")
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["x"]


def test_full_disk_is_noticed_before_training(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: shutil._ntuple_diskusage(10**9, 10**9 - 5, 5))
    with pytest.raises(OSError, match=r"has 0 MB free, but the run needs about \d+ MB"):
        train(tiny, tmp_path, show=False)


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="cannot write to the folder"):
        prepare_folder(tmp_path / "file" / "run", 1)


class Evil:
    """Makes a folder when it is unpickled."""

    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        return (os.mkdir, (str(self.folder),))


@pytest.mark.parametrize("wrap", [lambda evil: evil, lambda evil: {"format": 2, "network": evil}])
def test_a_checkpoint_cannot_run_code(tmp_path, wrap):
    torch.save(wrap(Evil(tmp_path / "was here")), tmp_path / "evil.ckpt")
    with pytest.raises(CheckpointError, match=r"evil\.ckpt' is damaged or not a checkpoint"):
        load_checkpoint(tmp_path / "evil.ckpt")
    assert not (tmp_path / "was here").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1, 2], "is not a checkpoint of onebit"),
        ({"format": 99}, "has checkpoint format 99, this version reads 2, 3, 4 and 5"),
        ({"format": 3}, "is damaged: field 'settings' is missing; it must be an object"),
    ],
)
def test_other_files_are_not_checkpoints(tmp_path, content, message):
    torch.save(content, tmp_path / "x.ckpt")
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(tmp_path / "x.ckpt")


def test_text_is_not_a_checkpoint(tmp_path):
    (tmp_path / "x.ckpt").write_text("hello")
    with pytest.raises(CheckpointError, match="is damaged or not a checkpoint"):
        load_trained(tmp_path / "x.ckpt")
