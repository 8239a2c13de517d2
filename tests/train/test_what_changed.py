"""A run goes on with its own data, settings and checkpoint, alone in its folder; anything else is refused by name."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from PIL import Image

from onebit.train import Busy, CheckpointError, TrainSettings, lock, train
from onebit.train.checkpoint import load_checkpoint
from onebit.train.lock import FolderLock

SETTINGS = TrainSettings(
    model="vgg-small",
    model_options={"width": 0.0625},
    dataset="folder",
    image_size=8,
    epochs=2,
    batch_size=2,
    lr=1e-3,
    compile=False,
)


@pytest.fixture(scope="module")
def stopped(tmp_path_factory, interrupted):
    """A folder of pictures, 3 cats and 3 dogs, and a run on it that was stopped after 2 of its 6 steps."""
    folder = tmp_path_factory.mktemp("stopped")
    for part, count in (("train", 3), ("val", 1)):
        for label, name in enumerate(("cat", "dog")):
            (folder / "data" / part / name).mkdir(parents=True)
            for k in range(count):
                picture = Image.new("RGB", (8, 8), (100 * label + k,) * 3)
                picture.save(folder / "data" / part / name / f"{k}.png")
    interrupted(SETTINGS, folder / "run", data_dir=folder / "data")
    return folder


class TestData:
    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (
                lambda root: [shutil.copytree(root / part / "dog", root / part / "zebra") for part in ("train", "val")],
                "was started with 2 classes, the data have 3: 'zebra' is new; put the data back",
            ),
            (
                lambda root: [(root / part / "dog").rename(root / part / "doge") for part in ("train", "val")],
                "was started with 2 classes, the data have 2: 'doge' is new, 'dog' is gone",
            ),
            (
                lambda root: shutil.copy(root / "train/dog/0.png", root / "train/dog/9.png"),
                "was started with 6 training images, the data have 7",
            ),
            (
                lambda root: (root / "train/dog/0.png").rename(root / "train/cat/9.png"),
                "was started with other images or labels, as many as there are now",
            ),
        ],
    )
    def test_other_data_are_refused(self, stopped, tmp_path, change, message):
        root = tmp_path / "data"
        shutil.copytree(stopped / "data", root)
        shutil.copytree(stopped / "run", tmp_path / "run")
        change(root)
        before = (tmp_path / "run" / "record.json").read_bytes()
        with pytest.raises(ValueError, match=message):
            train(SETTINGS, tmp_path / "run", data_dir=root, resume=True, show=False)
        assert (tmp_path / "run" / "record.json").read_bytes() == before

    def test_data_that_moved_are_the_same(self, stopped, tmp_path):
        shutil.copytree(stopped / "data", tmp_path / "elsewhere")
        shutil.copytree(stopped / "run", tmp_path / "run")
        result = train(SETTINGS, tmp_path / "run", data_dir=tmp_path / "elsewhere", resume=True, show=False)
        assert result.steps == 6
        record = json.loads((tmp_path / "run" / "record.json").read_text())
        assert record["data"]["classes"] == ["cat", "dog"]
        assert (record["data"]["training images"], record["data"]["test images"]) == (6, 2)


class TestCheckpoint:
    @pytest.mark.parametrize("change", [{"seed": 1}, {"lr": 0.01}, {"augment": "none"}])
    def test_of_another_run_is_refused(self, tiny, interrupted, tmp_path, change):
        interrupted(tiny, tmp_path / "run")
        interrupted(replace(tiny, **change), tmp_path / "other")
        shutil.copy(tmp_path / "other/checkpoints/last.ckpt", tmp_path / "run/checkpoints/last.ckpt")
        ((name, value),) = change.items()
        with pytest.raises(ValueError, match=rf"the run that left '.*last\.ckpt' was started with {name} {value!r}"):
            train(tiny, tmp_path / "run", resume=True, show=False)

    def test_of_format_2_does_not_say_what_the_data_were(self, tiny, interrupted, tmp_path, capsys):
        train(tiny, tmp_path / "whole", show=False)
        interrupted(tiny, tmp_path / "run", step=14)
        path = tmp_path / "run/checkpoints/last.ckpt"
        state = torch.load(path, weights_only=True)
        before = {name: value for name, value in state.items() if name not in ("data", "average")} | {"format": 2}
        for name in ("task", "task_options", "best_by", "ema", "mixup", "cutmix"):
            del before["settings"][name]
        for name in ("task", "task_options"):
            del before["meta"][name]
        torch.save(before, path)
        assert load_checkpoint(path)["data"] is None
        train(tiny, tmp_path / "run", resume=True)
        assert "does not say what data it was made with: they were not compared" in capsys.readouterr().err
        first, second = (tmp_path / name / "model.safetensors" for name in ("whole", "run"))
        assert first.read_bytes() == second.read_bytes()
        assert load_checkpoint(path)["data"]["training images"] == 1437

    def test_what_a_killed_process_left_is_removed(self, tiny, interrupted, tmp_path):
        interrupted(tiny, tmp_path)
        left = [tmp_path / ".onebit-tmp-0123456789abcdef", tmp_path / "checkpoints" / ".onebit-tmp-fedcba9876543210"]
        for path in left:
            path.write_bytes(b"half")
        (tmp_path / "checkpoints" / "last.ckpt").write_bytes(b"")
        with pytest.raises(CheckpointError, match="is damaged"):  # before anything is written
            train(tiny, tmp_path, resume=True, show=False)
        assert not any(path.exists() for path in left)


def test_a_batch_of_more_than_there_is_is_refused(tiny, tmp_path):
    with pytest.raises(ValueError, match="batch_size 1438 is more than the 1437 training examples of 'digits'"):
        train(replace(tiny, batch_size=1438), tmp_path / "run", show=False)
    assert not (tmp_path / "run").exists()


class TestLock:
    def test_a_second_run_is_told_who_has_the_folder(self, tiny, tmp_path):
        out = tmp_path / "run"
        with FolderLock(out):
            told = rf"process {os.getpid()} on '.*', since 20..-..-.. ..:..:.., trains in the folder '{out}'"
            with pytest.raises(Busy, match=told):
                train(tiny, out, show=False)
        assert not out.exists()  # it stayed empty

    def test_resuming_waits_for_nobody(self, tiny, interrupted, tmp_path):
        interrupted(tiny, tmp_path)
        assert not (tmp_path / lock.NAME).exists()
        with FolderLock(tmp_path), pytest.raises(Busy, match=f"process {os.getpid()} on"):
            train(tiny, tmp_path, resume=True, show=False)
        train(tiny, tmp_path, resume=True, show=False)

    def test_it_ends_with_its_process(self, tmp_path):
        script = (
            "import runpy, sys, time\nfrom pathlib import Path\n"
            "with runpy.run_path(sys.argv[1])['FolderLock'](Path(sys.argv[2])):\n"
            "    print('locked', flush=True)\n    time.sleep(60)"
        )
        child = subprocess.Popen(
            [sys.executable, "-c", script, lock.__file__, str(tmp_path)], stdout=subprocess.PIPE, text=True
        )
        assert child.stdout.readline() == "locked\n"
        with pytest.raises(Busy, match=f"process {child.pid} on"), FolderLock(tmp_path):
            pass
        child.kill()
        child.wait()
        child.stdout.close()
        assert (tmp_path / lock.NAME).exists()
        with FolderLock(tmp_path):
            assert json.loads((tmp_path / lock.NAME).read_text())["pid"] == os.getpid()
        assert not (tmp_path / lock.NAME).exists()

    def test_a_holder_without_a_name(self, tmp_path):
        with FolderLock(tmp_path):
            (tmp_path / lock.NAME).write_text("{")
            with pytest.raises(Busy, match="another process trains in the folder"), FolderLock(tmp_path):
                pass

    def test_a_folder_that_cannot_be_made(self, tmp_path):
        (tmp_path / "file").write_text("")
        with pytest.raises(OSError, match="cannot write to the folder"), FolderLock(tmp_path / "file" / "run"):
            pass
