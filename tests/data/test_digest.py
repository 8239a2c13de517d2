"""The digest of a data set: equal for equal data, another one for whatever a run must not be resumed with."""

import shutil
from dataclasses import replace

import pytest
import torch
from PIL import Image

from onebit.data import DATASETS, MemorySet


def changed(images, labels):
    images[0, 0, 0, 0] ^= 1
    return images, labels


def relabeled(images, labels):
    labels[0] ^= 1
    return images, labels


@pytest.mark.parametrize(
    "change",
    [changed, relabeled, lambda x, y: (x[:-1], y[:-1]), lambda x, y: (x.flip(0), y), lambda x, y: (x.mT, y)],
)
@pytest.mark.parametrize("part", ["train", "test"])
def test_in_memory(change, part):
    data, again = DATASETS["random16"](), DATASETS["random16"]()
    assert data.digest == again.digest
    known = getattr(data, part)
    other = MemorySet(*change(known.images_NCHW.clone(), known.labels_N.clone()))
    assert replace(data, **{part: other}).digest != data.digest
    assert replace(data, classes=data.classes[::-1]).digest != data.digest


@pytest.fixture
def root(tmp_path):
    """train: 3 cats, 3 dogs; val: 1 each."""
    for part, count in (("train", 3), ("val", 1)):
        for label, name in enumerate(("cat", "dog")):
            (tmp_path / "data" / part / name).mkdir(parents=True)
            for k in range(count):
                picture = Image.new("RGB", (8, 8 + k), (100 * label + k,) * 3)
                picture.save(tmp_path / "data" / part / name / f"{k}.png")
    return tmp_path / "data"


def digest(root):
    return DATASETS["folder"](root, image_size=8).digest


def test_a_folder_that_moved_is_the_same(root, tmp_path):
    before = digest(root)
    shutil.move(root, tmp_path / "elsewhere")
    assert digest(tmp_path / "elsewhere") == before


@pytest.mark.parametrize(
    "change",
    [
        lambda root: (root / "train/cat/0.png").rename(root / "train/cat/00.png"),
        lambda root: (root / "train/cat/0.png").rename(root / "train/dog/00.png"),
        lambda root: (root / "val/cat/0.png").write_bytes((root / "val/cat/0.png").read_bytes() + b"\0"),
        lambda root: [(root / part / "dog").rename(root / part / "doge") for part in ("train", "val")],
        lambda root: (root / "train/dog/2.png").unlink(),
    ],
)
def test_a_folder_that_changed_is_not(root, change):
    before = digest(root)
    change(root)
    assert digest(root) != before


def test_it_is_known_before_any_picture_is_decoded(root, monkeypatch):
    data = DATASETS["folder"](root, image_size=8)
    monkeypatch.setattr(torch, "stack", lambda *_: pytest.fail("decoded"))
    assert len(data.digest) == 64
