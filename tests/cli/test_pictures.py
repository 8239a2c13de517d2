"""Pictures on the command line: `run`, `verify` and `eval` see the pixels that the network was trained on."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import onebit
from onebit.cli.main import main
from onebit.data import DATASETS
from onebit.format.file import save_graph
from onebit.runtime.images import CROP

SIDE = 16
CLASSES = ("left", "right")


@pytest.fixture(autouse=True)
def _no_tracebacks(monkeypatch):
    monkeypatch.delenv("ONEBIT_DEBUG", raising=False)


def pack(fit, channels=3):
    """A network that answers "left" where the first two columns are brighter than the last two."""
    linear = nn.Linear(channels * SIDE**2, 2)
    weight = torch.zeros(channels, SIDE, SIDE)
    weight[:, :, :2], weight[:, :, -2:] = 1, -1
    linear.weight.data = torch.stack([weight.flatten(), -weight.flatten()])
    linear.bias.data.zero_()
    model = nn.Sequential(nn.Flatten(), linear)
    return onebit.pack(model, (channels, SIDE, SIDE), classes=CLASSES, fit=fit, provenance={"dataset": "folder"})


@pytest.fixture(scope="module")
def wide(tmp_path_factory):
    """Pictures of 2:1: what tells the classes apart is at the sides of the middle; beyond it, every second one lies."""
    root = tmp_path_factory.mktemp("wide")
    for part in ("train", "val"):
        for name in CLASSES:
            (root / part / name).mkdir(parents=True)
            for number in range(4):
                picture = np.full((2 * SIDE, 4 * SIDE, 3), 100, np.uint8)
                bright = slice(16, 22) if name == "left" else slice(42, 48)
                picture[:, bright] = 200
                picture[:, slice(0, 10) if (name == "left") == (number % 2 == 0) else slice(54, 64)] = 255
                Image.fromarray(picture).save(root / part / name / f"{number}.png")
    return root


def answer(capsys, *argv):
    assert main([*map(str, argv), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def refused(capsys, *argv):
    assert main([*map(str, argv)]) == 1
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1, captured.err
    return captured.err


def accuracy_of_run(capsys, file, folder, *flags):
    """The share of pictures that `run` puts into the class whose folder they are in."""
    images = answer(capsys, "run", file, folder, *flags)["images"]
    assert len(images) == 8
    return np.mean([f"/{entry['classes'][0]['class']}/" in entry["image"] for entry in images])


@pytest.mark.parametrize(("resize", "accuracy"), [("crop", 1.0), ("stretch", 0.5)])
def test_run_sees_what_eval_sees(wide, tmp_path, capsys, resize, accuracy):
    file = tmp_path / "net.onebit"
    pack(onebit.Fit(resize)).save(file)
    assert answer(capsys, "eval", file, "--data_dir", wide)["accuracy"] == accuracy
    assert accuracy_of_run(capsys, file, wide / "val") == accuracy
    assert accuracy_of_run(capsys, file, wide / "val", "--fit", "crop") == 1.0
    assert accuracy_of_run(capsys, file, wide / "val", "--fit", "stretch") == 0.5
    assert main(["inspect", str(file)]) == 0
    assert re.search(rf"^pictures +{resize}$", capsys.readouterr().out, re.MULTILINE)


def test_what_training_did_to_pictures_reaches_run(wide, tmp_path, capsys):
    (wide / "train" / "notes.txt").write_text("x")
    out, file = tmp_path / "run", tmp_path / "net.onebit"
    tiny = ["--dataset", "folder", "--image_size", "8", "--batch_size", "8", "--model_options.width", "0.0625"]
    settings = [*tiny, "--fit", "stretch", "--max_steps", "1", "--augment", "none", "--compile", "false"]
    result = answer(capsys, "train", "vgg-small-digits", *settings, "--data_dir", wide, "--out", out)
    contents = {"dataset": "folder", "train_images": 8, "test_images": 8, "classes": 2}
    assert result["contents"] == {**contents, "left_out": {"next to the class folders": 1}}
    assert json.loads((out / "model.json").read_text())["input"]["fit"] == {"resize": "stretch", "crop_pct": 1.0}
    assert main(["pack", str(out), "--out", str(file)]) == 0
    assert onebit.load(file).input.fit == onebit.Fit("stretch")
    capsys.readouterr()
    for model in (out, file):
        assert main(["eval", str(model), "--data_dir", str(wide)]) == 0
        told = capsys.readouterr().out.splitlines()
        assert told[0] == "folder: 8 training and 8 test images of 2 classes; left out: 1 next to the class folders"
    evaluated = answer(capsys, "eval", file, "--data_dir", wide)
    assert evaluated["contents"] == result["contents"]
    assert evaluated["accuracy"] == accuracy_of_run(capsys, file, wide / "val")


def test_a_file_that_does_not_say_refuses_other_sizes(wide, tmp_path, capsys):
    file = tmp_path / "net.onebit"
    pack(None).save(file)
    for verb in ("run", "verify"):
        line = refused(capsys, verb, file, wide / "val" / "left" / "0.png")
        assert "0.png': the picture has 64x32 pixels, the network takes 16x16: scale it, or add --fit crop or" in line
    Image.new("L", (SIDE, SIDE)).save(tmp_path / "gray.png")
    line = refused(capsys, "run", file, tmp_path / "gray.png")
    assert "gray.png': the picture is gray (L), the network takes RGB: convert it, or add --fit crop or" in line
    assert accuracy_of_run(capsys, file, wide / "val", "--fit", "crop") == 1.0
    assert answer(capsys, "verify", file, wide / "val", "--fit", "crop")["images"] == 8


def test_a_choice_of_the_same_kind_keeps_the_part_of_the_crop(wide, tmp_path, capsys):
    file = tmp_path / "net.onebit"
    pack(onebit.Fit("crop", 0.5)).save(file)
    one = answer(capsys, "run", file, wide / "val" / "left" / "0.png")
    assert one == answer(capsys, "run", file, wide / "val" / "left" / "0.png", "--fit", "crop")
    assert main(["inspect", str(file)]) == 0
    assert re.search(r"^pictures +crop to 0.5 of each side$", capsys.readouterr().out, re.MULTILINE)


def test_folders_are_read_whole_and_in_order(wide, tmp_path, capsys):
    file = tmp_path / "net.onebit"
    pack(CROP).save(file)
    (tmp_path / "mixed" / "sub").mkdir(parents=True)
    single = wide / "val" / "right" / "0.png"
    for name in ("b.png", "a.png", "sub/c.png"):
        (tmp_path / "mixed" / name).write_bytes(single.read_bytes())
    for name in ("notes.txt", ".hidden.png"):
        (tmp_path / "mixed" / name).write_bytes(b"x")
    result = answer(capsys, "run", file, single, tmp_path / "mixed", single)
    assert [entry["image"] for entry in result["images"]] == [
        str(single), *(str(tmp_path / "mixed" / name) for name in ("a.png", "b.png", "sub/c.png")), str(single)
    ]  # fmt: skip
    assert result["left_out"] == {".txt": 1, "hidden": 1}
    assert main(["run", str(file), str(tmp_path / "mixed")]) == 0
    assert capsys.readouterr().out.endswith("left out: 1 .txt, 1 hidden\n")
    assert answer(capsys, "verify", file, tmp_path / "mixed")["left_out"] == {".txt": 1, "hidden": 1}
    assert main(["verify", str(file), str(tmp_path / "mixed")]) == 0
    assert capsys.readouterr().out.startswith("left out: 1 .txt, 1 hidden\n")


def test_folders_without_pictures_and_missing_ones(tmp_path, capsys):
    file = tmp_path / "net.onebit"
    pack(CROP).save(file)
    (tmp_path / "empty").mkdir()
    assert "empty: no pictures in this folder" in refused(capsys, "run", file, tmp_path / "empty")
    (tmp_path / "empty" / "a.npy").write_bytes(b"")
    assert "no pictures in this folder (left out: 1 .npy)" in refused(capsys, "verify", file, tmp_path / "empty")
    assert "nowhere: no such file or folder" in refused(capsys, "run", file, tmp_path / "nowhere")


@pytest.mark.parametrize("size", [None, 5, 16])
@pytest.mark.parametrize("name", ["digits", "random16"])
def test_a_data_sets_image_as_a_file_gives_what_eval_sees(tmp_path, capsys, name, size):
    """Written as it is stored and read at the network's size, it is the image that the data set gives at that size."""
    stored, wanted = DATASETS[name](image_size=None), DATASETS[name](image_size=size)
    spec = wanted.input
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(spec.channels * spec.height * spec.width, 10))
    options = {"mean": spec.mean, "std": spec.std, "color": spec.color, "fit": spec.fit, "classes": wanted.classes}
    packed = onebit.pack(model, wanted.image_shape, **options)
    packed.save(tmp_path / "net.onebit")
    (tmp_path / "pictures").mkdir()
    for number, image_CHW in enumerate(stored.test.images_NCHW[:8]):
        picture = image_CHW.permute(1, 2, 0).numpy()
        Image.fromarray(picture[:, :, 0] if spec.color == "L" else picture).save(
            tmp_path / "pictures" / f"{number}.png"
        )
    images = answer(capsys, "run", tmp_path / "net.onebit", tmp_path / "pictures", "--top", 10)["images"]
    pixels_NHWC = wanted.test.images_NCHW[:8].permute(0, 2, 3, 1).numpy()
    network = onebit.load(tmp_path / "net.onebit")
    for entry, pixels_HWC in zip(images, pixels_NHWC, strict=True):
        want = network.classify(pixels_HWC)
        assert [found["class"] for found in entry["classes"]] == [found.label for found in want]
        assert [found["probability"] for found in entry["classes"]] == [round(found.probability, 6) for found in want]


def test_one_image_is_in_memory_at_a_time(wide, tmp_path, monkeypatch):
    """Pictures are read as they are run, so an interrupt is heard between two of them and memory is that of one."""
    pack(CROP).save(tmp_path / "net.onebit")
    from onebit.cli import images

    order = []
    read = images.read_picture
    monkeypatch.setattr(images, "read_picture", lambda path, spec: (order.append("read"), read(path, spec))[1])
    classify = onebit.Model.classify
    monkeypatch.setattr(onebit.Model, "classify", lambda model, image: (order.append("run"), classify(model, image))[1])
    assert main(["run", str(tmp_path / "net.onebit"), str(wide / "val"), "--json"]) == 0
    assert order == ["read", "run"] * 8


def test_a_network_without_fit_in_the_middle_of_a_crop(tmp_path):
    """The graph of a packed file carries the fit; a copy without it is the file of before."""
    packed = pack(onebit.Fit("crop", 0.875))
    assert packed.graph.input.fit == onebit.Fit("crop", 0.875)
    before = replace(packed.graph, input=replace(packed.graph.input, fit=None))
    assert save_graph(before, tmp_path / "before.onebit") < len(packed.data)
    assert onebit.load(tmp_path / "before.onebit").input.fit is None


def test_fit_is_an_object(tmp_path):
    with pytest.raises(TypeError, match=r"fit must be an onebit\.Fit, got 'crop'; write onebit\.Fit\('crop'\)"):
        pack("crop")


def test_what_is_wrong_with_an_image_names_the_file(tmp_path, capsys):
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(4 * (SIDE - 2) ** 2, 2))
    onebit.pack(model, (3, SIDE, SIDE), stem="int8", classes=CLASSES).save(tmp_path / "int8.onebit")
    np.save(tmp_path / "good.npy", np.zeros((SIDE, SIDE, 3), np.float32))
    np.save(tmp_path / "bad.npy", np.full((SIDE, SIDE, 3), 7, np.float32))
    line = refused(capsys, "run", tmp_path / "int8.onebit", tmp_path / "good.npy", tmp_path / "bad.npy")
    assert "bad.npy: the network takes pixels" in line
    np.save(tmp_path / "huge.npy", np.full((SIDE, SIDE, 3), 3e38, np.float32))
    pack(None).save(tmp_path / "net.onebit")
    line = refused(capsys, "run", tmp_path / "net.onebit", tmp_path / "good.npy", tmp_path / "huge.npy")
    assert "huge.npy: the network's outputs are NaN or infinite" in line


def test_an_image_that_fails_does_not_stop_the_others(wide, tmp_path, capsys):
    pack(CROP).save(tmp_path / "net.onebit")
    (tmp_path / "text.png").write_text("no picture")
    np.save(tmp_path / "huge.npy", np.full((SIDE, SIDE, 3), 3e38, np.float32))
    good = wide / "val" / "left" / "0.png"
    names = [str(tmp_path / "net.onebit"), *map(str, (tmp_path / "text.png", good, tmp_path / "huge.npy"))]
    assert main(["run", *names]) == 1
    told = capsys.readouterr()
    assert told.out == f"{good}  left 100.0%  right 0.0%\n"
    no_picture, infinite = told.err.splitlines()
    assert "text.png' cannot be read as a picture" in no_picture
    assert "huge.npy: the network's outputs are NaN or infinite" in infinite
    assert main(["run", *names, "--json"]) == 1
    result = json.loads(capsys.readouterr().out)
    assert [entry["image"] for entry in result["images"]] == [str(good)]
    assert [f"onebit: error: {error}" for error in result["errors"]] == [no_picture, infinite]


def test_networks_that_give_a_map(wide, tmp_path, capsys):
    packed = onebit.pack(nn.Sequential(nn.Conv2d(3, 2, 3)), (3, SIDE, SIDE), fit=CROP)
    packed.save(tmp_path / "map.onebit")
    (entry,) = answer(capsys, "run", tmp_path / "map.onebit", wide / "val" / "left" / "0.png")["images"]
    assert entry["map"]["shape"] == [2, SIDE - 2, SIDE - 2]
    assert main(["run", str(tmp_path / "map.onebit"), str(wide / "val" / "left" / "0.png")]) == 0
    assert "0.png  map of 2x14x14 (C, H, W)  min " in capsys.readouterr().out


def test_a_missing_picture_is_noticed_before_the_network_is_loaded(tmp_path, capsys):
    (tmp_path / "net.onebit").write_bytes(b"no network")
    assert "nowhere.png: no such file or folder" in refused(
        capsys, "run", tmp_path / "net.onebit", tmp_path / "nowhere.png"
    )
