"""CIFAR in both layouts: real files when ONEBIT_DATA names them, small ones of the same format always."""

import hashlib
import os
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from onebit.data import DATASETS, DataError
from onebit.data.base import statistics
from onebit.data.cifar import CIFAR10, CIFAR100, read

COUNT = 5


def make(folder, layout):
    """Write a small set in both layouts; return the layout that knows its sums, and its records per file."""
    rng = np.random.default_rng(0)
    sums, records = {}, {}
    heads = len(layout.label_keys)
    for part in ("binary_folder", "python_folder"):
        (folder / getattr(layout, part)).mkdir(parents=True)
    for stem in (*layout.train, *layout.test):
        labels = rng.integers(0, 10, (COUNT, heads), dtype=np.uint8)
        records[stem] = np.concatenate([labels, rng.integers(0, 256, (COUNT, 3072), dtype=np.uint8)], axis=1)
        raw = records[stem].tobytes()
        (folder / layout.binary_folder / f"{stem}.bin").write_bytes(raw)
        batch = {key: labels[:, k].tolist() for k, key in enumerate(layout.label_keys)}
        pickled = pickle.dumps({**batch, b"data": records[stem][:, heads:]}, protocol=2)
        (folder / layout.python_folder / stem).write_bytes(pickled)
        sums[stem] = (hashlib.md5(pickled).hexdigest(), hashlib.md5(raw).hexdigest())
    return replace(layout, md5=sums, images=dict.fromkeys(sums, COUNT)), records


@pytest.fixture(params=[CIFAR10, CIFAR100], ids=lambda layout: layout.name)
def small(request, tmp_path):
    return (*make(tmp_path, request.param), tmp_path)


@pytest.mark.parametrize("part", ["binary_folder", "python_folder"])
def test_both_layouts_hold_the_same_images(small, part):
    layout, records, folder = small
    data = read(layout, folder / getattr(layout, part), None)
    expected = np.concatenate([records[stem] for stem in layout.train])
    heads = len(layout.label_keys)
    assert torch.equal(data.train.images_NCHW.flatten(1), torch.from_numpy(expected[:, heads:]))
    assert data.train.labels_N.tolist() == expected[:, heads - 1].tolist()
    assert data.train.images_NCHW.shape[1:] == (3, 32, 32)
    assert len(data.test) == COUNT


def test_the_folder_around_will_do(small):
    layout, _, folder = small
    assert len(read(layout, folder, None).test) == COUNT


def test_a_changed_byte_is_noticed(small):
    layout, _, folder = small
    path = folder / layout.binary_folder / f"{layout.test[0]}.bin"
    raw = bytearray(path.read_bytes())
    raw[-1] ^= 1
    path.write_bytes(raw)
    with pytest.raises(DataError, match=rf"{path.name}' is damaged \(md5 .*, official .*\); unpack the official"):
        read(layout, folder, None)


def test_a_truncated_file_is_noticed(small):
    layout, _, folder = small
    path = folder / layout.binary_folder / f"{layout.test[0]}.bin"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DataError, match=r"bytes, not \d+"):
        read(layout, folder, None)


def test_a_missing_file_is_named(small):
    layout, _, folder = small
    (folder / layout.binary_folder / f"{layout.test[0]}.bin").unlink()
    with pytest.raises(DataError, match=rf"\['{layout.test[0]}\.bin'\] missing in '.*{layout.binary_folder}'"):
        read(layout, folder, None)


def test_no_folder(tmp_path, monkeypatch):
    with pytest.raises(DataError, match=r"'cifar-10-batches-bin' or 'cifar-10-batches-py', but '.*' holds neither"):
        DATASETS["cifar10"](tmp_path)
    with pytest.raises(DataError, match=r"'.*nowhere' is not a folder"):
        DATASETS["cifar10"](tmp_path / "nowhere")
    monkeypatch.delenv("ONEBIT_DATA", raising=False)
    with pytest.raises(DataError, match="give the folder that holds it with --data_dir or the environment variable"):
        DATASETS["cifar10"]()


@pytest.mark.parametrize("label", [-1, 256, 0.5, "cat", None])
def test_labels_that_are_none_are_noticed(small, label):
    layout, records, folder = small
    heads = len(layout.label_keys)
    labels = [*records[layout.test[0]][1:, 0].tolist(), label]
    batch = dict.fromkeys(layout.label_keys, labels) | {b"data": records[layout.test[0]][:, heads:]}
    path = folder / layout.python_folder / layout.test[0]
    path.write_bytes(pickle.dumps(batch, protocol=2))
    with pytest.raises(DataError, match=r"cannot be read \(.*label.* integers from 0 to 255\); unpack the official"):
        read(layout, path.parent, None)


class Evil:
    """Makes a folder when it is unpickled."""

    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        return (os.mkdir, (str(self.folder),))


def test_a_python_batch_cannot_run_code(small, tmp_path):
    layout, _, folder = small
    path = folder / layout.python_folder / layout.test[0]
    path.write_bytes(pickle.dumps({b"data": Evil(tmp_path / "was here")}, protocol=2))
    with pytest.raises(DataError, match=r"cannot be read \(posix\.mkdir does not belong in a CIFAR file\)"):
        read(layout, path.parent, None)
    assert not (tmp_path / "was here").exists()


@pytest.mark.skipif(not os.environ.get("ONEBIT_DATA"), reason="ONEBIT_DATA names no folder with CIFAR-10")
class TestOfficialFiles:
    def test_statistics_and_counts(self):
        data = DATASETS["cifar10"]()
        assert (len(data.train), len(data.test), data.image_shape) == (50_000, 10_000, (3, 32, 32))
        assert data.train.labels_N.bincount().tolist() == [5000] * 10
        assert data.test.labels_N.bincount().tolist() == [1000] * 10
        mean, std = statistics(data.train.images_NCHW)
        assert mean == pytest.approx(data.input.mean, abs=1e-4)
        assert std == pytest.approx(data.input.std, abs=1e-4)

    @pytest.mark.slow
    def test_both_layouts_are_the_same_images(self):
        root = Path(os.environ["ONEBIT_DATA"])
        if not (root / CIFAR10.python_folder).is_dir() or not (root / CIFAR10.binary_folder).is_dir():
            pytest.skip("ONEBIT_DATA holds one layout only")
        one, other = (DATASETS["cifar10"](root / name) for name in (CIFAR10.binary_folder, CIFAR10.python_folder))
        assert torch.equal(one.test.images_NCHW, other.test.images_NCHW)
        assert torch.equal(one.train.labels_N, other.train.labels_N)
