"""Starting from another network's weights: a run's, or a trained network's that ships."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from onebit.cli.main import main
from onebit.train import TrainSettings, build_model, load_trained, train
from onebit.train.artifact import ModelError, one_file
from onebit.train.start import load_start, start_from
from onebit.zoo.by_name import start_file

SHIPPED = "vgg-small-digits"
GOOD = ["--start_from", f"zoo:{SHIPPED}"]


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    folder = tmp_path_factory.mktemp("real")
    settings = TrainSettings(
        model="resnet20",
        model_options={"width": 0.5},
        scheme="float",
        dataset="digits",
        epochs=1,
        batch_size=128,
        lr=5e-3,
        max_steps=2,
        compile=False,
    )
    train(settings, folder, show=False)
    return settings, folder


@pytest.fixture
def pictures(tmp_path):
    """Three classes of colored pictures, 24x20: 4 to train on and 2 to test on of each."""
    root = tmp_path / "pictures"
    generator = np.random.default_rng(0)
    for part, count in (("train", 4), ("val", 2)):
        for label, name in enumerate(("apple", "leaf", "sky")):
            (root / part / name).mkdir(parents=True)
            for k in range(count):
                pixels = generator.integers(0, 60, (20, 24, 3), dtype=np.uint8)
                pixels[..., label] += 150
                Image.fromarray(pixels).save(root / part / name / f"{k}.png")
    return root


def described(folder, **changes):
    """What a network like that of the run in ``folder`` is, but for these changes."""
    return {**load_trained(folder)[1], **changes}


def began(folder, **changes):
    """A new network with the weights of the run in ``folder``, and what the record says of it."""
    meta = described(folder, **changes)
    network = build_model(meta)
    return network, start_from(network, meta, load_start(folder))


@pytest.mark.parametrize("scheme", ["rbcn", "trained-binarization", "reactnet", "bireal"])
def test_weights_come_along_and_scales_start_from_them(real, scheme):
    _, folder = real
    network, told = began(folder, scheme=scheme)
    theirs = load_trained(folder)[0].state_dict()
    mine = network.state_dict()
    assert all(torch.equal(mine[name], tensor) for name, tensor in theirs.items())
    assert told["anew"] is None
    layer = network.blocks[3].body[0]
    size = layer.weight.abs().mean()
    if scheme == "rbcn":
        torch.testing.assert_close(layer.weight_binarizer.rectifier, size.expand(layer.weight.shape[1:]))
    if scheme == "trained-binarization":
        torch.testing.assert_close(layer.weight_binarizer.alpha, size)


def test_fine_tuning_keeps_learned_scales(real, tmp_path):
    settings, _ = real
    binary = replace(settings, scheme="trained-binarization")
    train(binary, tmp_path / "first", show=False)
    network = load_trained(tmp_path / "first")[0]
    alpha = network.blocks[0].body[0].weight_binarizer.alpha
    fresh, _ = began(tmp_path / "first")
    assert torch.equal(fresh.blocks[0].body[0].weight_binarizer.alpha, alpha)


def test_a_run_starts_there_and_resumes_without_it(real, tmp_path, interrupted):
    settings, folder = real
    binary = replace(settings, scheme="rbcn", start_from=str(folder), lr=1e-9, max_steps=3)
    interrupted(binary, tmp_path / "run", step=1)
    before = json.loads((tmp_path / "run" / "record.json").read_text())["start"]
    folder.rename(folder.with_name("elsewhere"))
    try:
        train(binary, tmp_path / "run", resume=True, show=False)
    finally:
        folder.with_name("elsewhere").rename(folder)
    theirs, mine = load_trained(folder)[0], load_trained(tmp_path / "run")[0]
    torch.testing.assert_close(mine.classifier.weight, theirs.classifier.weight, rtol=0, atol=1e-6)
    assert json.loads((tmp_path / "run" / "record.json").read_text())["start"] == before
    assert {name: before[name] for name in ("from", "model", "scheme", "dataset", "anew")} == {
        "from": str(folder),
        "model": "resnet20",
        "scheme": "float",
        "dataset": "digits",
        "anew": None,
    }


@pytest.mark.parametrize("classes", [["a", "b", "c"], list("abcdefghij")], ids=["fewer", "others"])
def test_the_last_layer_starts_anew_for_other_classes(real, classes):
    _, folder = real
    changes = {"classes": classes, "num_classes": len(classes)}
    torch.manual_seed(1)
    untouched = build_model(described(folder, **changes)).state_dict()
    torch.manual_seed(1)
    network, told = began(folder, **changes)
    theirs = load_trained(folder)[0].state_dict()
    for name, tensor in network.state_dict().items():
        anew = name.startswith("classifier.")
        assert torch.equal(tensor, untouched[name] if anew else theirs[name]), name
    assert told["anew"] == "classifier"
    counts = "10 classes there, 3 here" if len(classes) == 3 else "10 other classes"
    assert f"its last layer, 'classifier', starts anew: {counts}" in told["text"]


@pytest.mark.parametrize(
    ("changes", "mend"),
    [
        ({"options": {"width": 1.0}}, "or give this one model_options {'width': 0.5}"),
        ({"options": {"width": 0.5, "downsample": "conv1x1"}}, "or give this one model_options {'width': 0.5}"),
        ({"options": {"width": 1.0}, "classes": ["a", "b"], "num_classes": 2}, "model_options {'width': 0.5}"),
        ({"model": "resnet32"}, "or give this one model 'resnet20'"),
        ({"in_channels": 3, "input": {"size": 8, "mean": [0.5] * 3, "std": [0.5] * 3, "color": "RGB"}}, "color 'L'"),
    ],
)
def test_another_network_is_refused_by_name(real, changes, mend):
    _, folder = real
    with pytest.raises(ValueError, match=r"wants .* there has (one of shape .*|none); name a run of the same") as found:
        began(folder, **changes)
    assert mend in str(found.value)


def test_another_size_of_images_is_a_mismatch_only_where_a_layer_depends_on_it(real):
    """The last layer of VGG-Small sees every pixel of its map, whatever the number of classes."""
    _, folder = real
    size = {"size": 32, "mean": [0.5], "std": [0.5], "color": "L"}
    assert "images have side 32, there 8; images are normalized by mean" in began(folder, input=size)[1]["text"]
    start = load_start(f"zoo:{SHIPPED}")
    for classes in (start.meta["classes"], ["a", "b"]):
        meta = {**start.meta, "classes": classes, "num_classes": len(classes), "input": size}
        with pytest.raises(ValueError, match=r"wants classifier.weight .*, or give this one image_size 16"):
            start_from(build_model(meta), meta, start)


def test_a_single_file_holds_latent_weights_in_float16_and_all_others_as_they_were(real, tmp_path):
    settings, _ = real
    train(replace(settings, scheme="trained-binarization"), tmp_path / "run", show=False)
    network, meta = load_trained(tmp_path / "run")
    path = tmp_path / "one.safetensors"
    path.write_bytes(one_file(network, meta, torch.float16))
    again, told = load_trained(path)
    assert told == meta
    kinds = set()
    for name, tensor in again.state_dict().items():
        wanted = network.state_dict()[name]
        kinds.add(torch.equal(tensor, wanted))
        if not torch.equal(tensor, wanted):
            assert name.startswith("blocks.")
            assert name.endswith(".weight")
            torch.testing.assert_close(tensor, wanted.half().float(), rtol=0, atol=0)
            assert torch.equal(tensor < 0, wanted < 0)
    assert kinds == {True, False}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda content: content[:-9], "is damaged"),
        (lambda content: b"", "is damaged"),
        (lambda content: content.replace(b'"model":', b'"no":   ', 1), "without a description of their model"),
        (lambda content: content.replace(rb"resnet20", b"resnet99", 1), "cannot be used: Unknown model"),
    ],
)
def test_a_damaged_single_file(real, tmp_path, change, message):
    network, meta = load_trained(real[1])
    path = tmp_path / "one.safetensors"
    path.write_bytes(change(one_file(network, meta)))
    with pytest.raises(ModelError, match=message):
        load_start(path)


class TestCommandLine:
    """``onebit train vgg-small-digits --start_from zoo:vgg-small-digits`` on a folder of pictures."""

    def train(self, capsys, out, *arguments, code):
        flags = ["--epochs", "1", "--batch_size", "6", "--lr", "1e-9", "--compile", "false", "--out", str(out)]
        assert main(["train", "vgg-small-digits", *flags, *arguments]) == code
        return capsys.readouterr().err

    def test_fine_tuning_on_a_folder_of_pictures(self, capsys, pictures, tmp_path):
        data = ["--dataset", "folder", "--data_dir", str(pictures), "--color", "L"]
        told = self.train(capsys, tmp_path / "run", *data, "--start_from", f"zoo:{SHIPPED}", code=0)
        line = next(line for line in told.splitlines() if line.startswith("starts from"))
        assert line == (
            f"starts from 'zoo:{SHIPPED}', 'vgg-small' trained on 'digits'; its last layer, 'classifier', starts anew: "
            "10 classes there, 3 here; images are normalized by mean and std of this data set"
        )
        record = json.loads((tmp_path / "run" / "record.json").read_text())
        assert (record["start"]["text"], record["start"]["anew"]) == (line, "classifier")
        assert record["settings"]["start_from"] == f"zoo:{SHIPPED}"
        mine, meta = load_trained(tmp_path / "run")
        theirs, _ = load_trained(start_file(SHIPPED))
        assert meta["classes"] == ["apple", "leaf", "sky"]
        assert (meta["in_channels"], meta["input"]["color"]) == (1, "L")
        assert mine.classifier.out_features == 3
        for name, weight in mine.named_parameters():
            if not name.startswith("classifier."):  # two steps of 1e-9
                torch.testing.assert_close(weight, dict(theirs.named_parameters())[name], rtol=0, atol=1e-7)
        assert main(["eval", str(tmp_path / "run"), "--data_dir", str(pictures), "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["images"] == 6

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["--start_from", "zoo:vgg-smal-digits"], f"did you mean '{SHIPPED}'?"),
            (["--start_from", "zoo:"], "Unknown trained network ''; choose one of"),
            ([*GOOD, "--from", "none"], "'none' is no folder of trained networks"),
            ([*GOOD, "--dataset", "random16", "--image_size", "16"], "or give this one color 'L'"),
            ([*GOOD, "--model_options.width", "0.5"], "or give this one --model_options {'width': 0.25}"),
            ([*GOOD, "--image_size", "32"], "or give this one --image_size 16"),
            (["--start_from", "zoo:ftbnn-20-digits"], "or give this one model 'ftbnn-20', --model_options {}"),
            (["--color", "RGB"], "color 'RGB': the images of data set 'digits' are 'L', and only picture files"),
        ],
    )
    def test_what_is_refused_before_training_starts(self, capsys, tmp_path, arguments, message):
        told = self.train(capsys, tmp_path / "run", "--batch_size", "8", *arguments, code=1)
        assert message in told
        assert len(told.splitlines()) == 1
        assert not (tmp_path / "run").exists()
