"""Digits, IDX files, folders of pictures, and what all data sets share."""

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from onebit.data import DATASETS, DataError, MemorySet, epoch_order
from onebit.data.base import Contents, mix
from onebit.format.graph import Fit


@pytest.mark.parametrize("name", ["digits", "random16"])
def test_sets_without_files_are_always_the_same(name):
    one, other = DATASETS[name](), DATASETS[name]()
    for a, b in ((one.train, other.train), (one.test, other.test)):
        assert torch.equal(a.images_NCHW, b.images_NCHW)
        assert torch.equal(a.labels_N, b.labels_N)
    assert one.image_shape == one.train.images_NCHW.shape[1:] == one.test.images_NCHW.shape[1:]
    assert len(one.input.mean) == len(one.input.std) == one.input.channels
    assert int(one.train.labels_N.max()) < len(one.classes)


def test_digits_split():
    data = DATASETS["digits"]()
    assert (len(data.train), len(data.test), data.image_shape, data.input.color) == (1437, 360, (1, 8, 8), "L")
    assert data.train.images_NCHW.max() == 255
    assert set(data.test.labels_N.bincount().tolist()) <= {35, 36, 37}  # stratified
    rows = torch.cat([data.train.images_NCHW, data.test.images_NCHW]).flatten(1)
    assert len(rows.unique(dim=0)) == len(rows)  # no test image among the training images
    pixels = data.train.images_NCHW.double() / 255
    assert data.input.mean[0] == pytest.approx(float(pixels.mean()))
    assert data.input.std[0] == pytest.approx(float(pixels.std(correction=0)))


def test_digits_larger():
    data = DATASETS["digits"](image_size=16)
    assert data.image_shape == (1, 16, 16)
    assert data.train.images_NCHW.shape == (1437, 1, 16, 16)
    assert data.train.images_NCHW.dtype == torch.uint8


def test_memory_set_checks_its_tensors():
    with pytest.raises(ValueError, match="images must be uint8"):
        MemorySet(torch.zeros(2, 3, 4, 4), torch.zeros(2).long())
    with pytest.raises(ValueError, match="2 images but 3 labels"):
        MemorySet(torch.zeros(2, 3, 4, 4).byte(), torch.zeros(3).long())


def test_order_depends_on_seed_and_epoch_alone():
    order = epoch_order(1000, seed=3, epoch=5)
    torch.manual_seed(99)
    assert torch.equal(order, epoch_order(1000, 3, 5))
    assert order.sort().values.equal(torch.arange(1000))
    for seed, epoch in ((3, 6), (4, 5), (5, 3)):
        assert not torch.equal(order, epoch_order(1000, seed, epoch))


def test_mixed_seeds_differ():
    seeds = {mix(a, b) for a in range(50) for b in range(50)} | {mix(a) for a in range(50)}
    assert len(seeds) == 2550
    assert all(0 <= seed < 2**63 for seed in seeds)


def write_idx(path, array, magic=(0, 0, 8), sides=None):
    raw = bytes((*magic, array.ndim)) + struct.pack(f">{array.ndim}I", *(sides or array.shape)) + array.tobytes()
    path.write_bytes(gzip.compress(raw) if path.suffix == ".gz" else raw)


@pytest.fixture
def mnist(tmp_path):
    rng = np.random.default_rng(0)
    arrays = {}
    for part, count in (("train", 12), ("t10k", 4)):
        arrays[part] = rng.integers(0, 256, (count, 28, 28), dtype=np.uint8), np.arange(count, dtype=np.uint8) % 10
        write_idx(tmp_path / f"{part}-images-idx3-ubyte.gz", arrays[part][0])
        write_idx(tmp_path / f"{part}-labels-idx1-ubyte", arrays[part][1])
    return tmp_path, arrays


def test_idx_plain_and_gzipped(mnist):
    folder, arrays = mnist
    data = DATASETS["mnist"](folder)
    assert np.array_equal(data.train.images_NCHW[:, 0].numpy(), arrays["train"][0])
    assert data.test.labels_N.tolist() == arrays["t10k"][1].tolist()
    assert data.classes == tuple("0123456789")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda path: path.unlink(), "neither t10k-images-idx3-ubyte nor t10k-images-idx3-ubyte.gz is in"),
        (lambda path: path.write_bytes(path.read_bytes()[:-20]), "is damaged"),
        (lambda path: path.write_bytes(b"hello"), "is damaged"),
        (lambda path: write_idx(path, np.zeros((4, 28, 28), np.uint8), (0, 0, 13)), "is no IDX file of unsigned bytes"),
        (lambda path: write_idx(path, np.zeros((0, 28, 28), np.uint8)), "0 images but .* 4 labels"),
        (lambda path: write_idx(path, np.zeros((4, 0, 28), np.uint8)), r"holds test images of shape \(4, 1, 0, 28\)"),
        (
            lambda path: write_idx(path, np.zeros((4, 28, 28), np.uint8), sides=(4, 28, 29)),
            "4x28x29 bytes, fewer follow",
        ),
        (
            lambda path: write_idx(path, np.zeros((4, 28, 28), np.uint8), sides=(4, 28, 27)),
            "4x28x27 bytes, more follow",
        ),
        (
            lambda path: write_idx(path, np.zeros((4, 28, 28), np.uint8), sides=(2**31,) * 3),
            "x2147483648 bytes, fewer follow",
        ),
        (lambda path: write_idx(path, np.zeros((3, 28, 28), np.uint8)), "3 images but .* 4 labels"),
    ],
)
def test_damaged_idx(mnist, spoil, message):
    folder, _ = mnist
    spoil(folder / "t10k-images-idx3-ubyte.gz")
    with pytest.raises(DataError, match=message):
        DATASETS["mnist"](folder)


@pytest.fixture
def pictures(tmp_path):
    """train: 3 cats, 3 dogs; val: 1 each; each image has the gray level 10 * class + number."""
    for part, count in (("train", 3), ("val", 1)):
        for label, name in enumerate(("cat", "dog")):
            (tmp_path / part / name).mkdir(parents=True)
            for k, ending in zip(range(count), ("png", "jpg", "webp"), strict=False):
                Image.new("RGB", (40, 30), (100 * label + k,) * 3).save(tmp_path / part / name / f"{k}.{ending}")
    return tmp_path


def test_folder(pictures):
    data = DATASETS["folder"](pictures, image_size=16)
    assert data.classes == ("cat", "dog")
    images, labels = data.train.batch(torch.tensor([5, 0, 3]))
    assert images.shape == (3, 3, 16, 16)
    assert images.dtype == torch.uint8
    assert labels.tolist() == [1, 0, 1]
    assert images[:, 0, 8, 8].tolist() == pytest.approx([102, 0, 100], abs=2)


def test_folder_in_gray(pictures):
    """As the packed network will see the pictures: what its input's color says, with the statistics of such images."""
    red = np.zeros((16, 16, 3), np.uint8)
    red[..., 0] = 200
    Image.fromarray(red).save(pictures / "val" / "cat" / "0.png")
    data = DATASETS["folder"](pictures, image_size=16, color="L")
    assert (data.input.channels, data.input.color, len(data.input.mean), len(data.input.std)) == (1, "L", 1, 1)
    images, _ = data.test.batch(torch.tensor([0, 1]))
    assert images.shape == (2, 1, 16, 16)
    assert images[0].unique().tolist() == [round(0.299 * 200)]
    color = DATASETS["folder"](pictures, image_size=16).input
    weights = (0.299, 0.587, 0.114)
    for gray, rgb in ((data.input.mean, color.mean), (data.input.std, color.std)):
        assert gray[0] == pytest.approx(sum(map(float.__mul__, weights, rgb)), abs=5e-4)
    assert DATASETS["folder"](pictures, image_size=16, color="RGB").input == color


def test_folder_tells_what_it_took_and_what_it_left_out(pictures):
    assert DATASETS["folder"](pictures).contents == Contents("folder", 6, 2, 2, {})
    (pictures / "train" / "cat" / "more").mkdir()
    for name in ("a.bmp", "b.tif", "c.gif", "d.jfif", "more/e.PNG"):
        Image.new("RGB", (40, 30)).save(pictures / "train" / "cat" / name, "JPEG" if name.endswith("jfif") else None)
    for name in (".ipynb_checkpoints/0.png", "cat/._0.png", "cat/list.txt", "cat/more/a.xcf", "labels.csv"):
        (pictures / "train" / name).parent.mkdir(exist_ok=True)
        (pictures / "train" / name).write_bytes(b"x")
    data = DATASETS["folder"](pictures, image_size=16)
    assert data.classes == ("cat", "dog")
    assert data.train.batch(torch.arange(len(data.train)))[1].tolist() == [0] * 8 + [1] * 3
    assert data.contents.left_out == {"hidden": 2, ".txt": 1, ".xcf": 1, "next to the class folders": 1}
    assert str(data.contents) == (
        "folder: 11 training and 2 test images of 2 classes; "
        "left out: 2 hidden, 1 .txt, 1 .xcf, 1 next to the class folders"
    )


def test_gray_pictures_of_16_bits_are_not_white(pictures):
    samples = np.arange(16 * 16, dtype=np.uint16).reshape(16, 16) * 256
    Image.fromarray(samples).save(pictures / "val" / "cat" / "0.png")
    images, _ = DATASETS["folder"](pictures, image_size=16).test.batch(torch.tensor([0]))
    assert np.array_equal(images[0, 1].numpy(), samples >> 8)


def test_folder_turns_pictures_as_their_camera_was_held(pictures):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise
    stored = np.zeros((16, 16, 3), np.uint8)
    stored[:8] = 255  # the upper half becomes the right one
    Image.fromarray(stored).save(pictures / "val" / "cat" / "0.png", exif=exif)
    images, _ = DATASETS["folder"](pictures, image_size=16).test.batch(torch.tensor([0]))
    assert images[0].float().mean((0, 1)).tolist() == [0.0] * 8 + [255.0] * 8


def test_folder_stretches_on_request(tmp_path):
    for part in ("train", "val"):
        (tmp_path / part / "wide").mkdir(parents=True)
        picture = np.zeros((16, 64, 3), np.uint8)
        picture[:, 24:40] = 255
        Image.fromarray(picture).save(tmp_path / part / "wide" / "0.png")
    cropped, stretched = (
        DATASETS["folder"](tmp_path, image_size=16, fit=Fit(resize)) for resize in ("crop", "stretch")
    )
    assert cropped.test.batch(torch.tensor([0]))[0].min() == 255
    assert stretched.test.batch(torch.tensor([0]))[0].float().mean() == pytest.approx(255 / 4, abs=1)
    assert (cropped.input.fit, stretched.input.fit) == (Fit("crop"), Fit("stretch"))


def test_damaged_picture_is_named(pictures):
    path = pictures / "train" / "dog" / "0.png"
    path.write_bytes(path.read_bytes()[:40])
    data = DATASETS["folder"](pictures, image_size=16)
    with pytest.raises(DataError, match=r"'.*dog/0\.png' cannot be read as a picture"):
        data.train.batch(torch.arange(len(data.train)))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda root: (root / "train" / "cow").mkdir(), r"\['cow'\] are in one of them only"),
        (
            lambda root: [p.unlink() for p in (root / "val" / "cat").iterdir()],
            r"no pictures in '.*val/cat'; add some, or remove the folder",
        ),
        (
            lambda root: (root / "val" / "cat" / "0.png").rename(root / "val/cat/a.xcf"),
            r"cat' \(left out: 1 \.xcf\); add",
        ),
        (lambda root: (root / "train" / "cat" / "0.png").write_bytes(b""), r"empty image files: \['.*cat/0\.png'\]"),
        (
            lambda root: (root / "train" / "c\udcfft").mkdir(),
            r"whose names are not UTF-8: \['c\\udcfft'\]; rename them",
        ),
    ],
)
def test_bad_folders(pictures, spoil, message):
    spoil(pictures)
    with pytest.raises(DataError, match=message):
        DATASETS["folder"](pictures)


def test_folder_without_pictures(tmp_path):
    with pytest.raises(DataError, match=r"no class folders in '.*train'"):
        DATASETS["folder"](Path(tmp_path))
