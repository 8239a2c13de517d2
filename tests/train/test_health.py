"""Training health, end to end: networks that are made sick, and one that is not; what is shown, kept and resumed."""

import json
import shutil
from contextlib import nullcontext
from dataclasses import replace

import pytest
import torch

from onebit.report.health import LayerNumbers
from onebit.train import CheckpointError, TrainSettings, train
from onebit.train.step import Step

LAYERS = ["features.3", "features.7", "features.10", "features.14", "features.17"]


@pytest.fixture(scope="module")
def healthy():
    """The smallest VGG on the digits: 4 epochs of 5 steps at a constant learning rate."""
    return TrainSettings(
        model="vgg-small",
        model_options={"width": 0.0625},
        scheme="reactnet",
        dataset="digits",
        epochs=4,
        batch_size=256,
        lr=5e-3,
        schedule="constant",
        compile=False,
    )


@pytest.fixture(scope="module")
def well(healthy, tmp_path_factory):
    """A healthy run, which nobody changes."""
    out = tmp_path_factory.mktemp("well")
    train(healthy, out, show=False)
    return out


def read(out):
    return json.loads((out / "record.json").read_text())


def make_sick(monkeypatch, change):
    """Let ``change`` alter the network before the first step."""
    original = Step.__init__

    def init(self, state, *arguments):
        with torch.no_grad():
            change(state.network.features)
        original(self, state, *arguments)

    monkeypatch.setattr(Step, "__init__", init)


def test_a_healthy_run(well):
    record = read(well)
    assert record["health"] == record["result"]["health"] == []
    assert record["guide"] is None
    assert record["layers"]["epochs"] == [1, 2, 3, 4]
    assert list(record["layers"]["layers"]) == LAYERS
    layers = record["layers"]["layers"].values()
    flips = [sum(layer["weights"] * layer["flipped"][i] for layer in layers) for i in range(4)]
    weights = sum(layer["weights"] for layer in layers)
    assert [row["flip_rate"] for row in record["epochs"]] == pytest.approx([n / weights for n in flips], rel=1e-3)
    assert all(0 < layer["start_scale"] != layer["scale"][-1] for layer in layers)
    assert all(len(layer["constant"]) == 4 and layer["constant"][-1] < 0.25 for layer in layers)
    assert "layers" not in (well / "metrics.csv").read_text()
    assert (well / "record.json").read_text().count('"flipped": [') == 5  # lists of numbers take one line each


def test_no_flips(healthy, tmp_path, capsys):
    train(replace(healthy, epochs=6, lr_factors={"latent": 0.0}), tmp_path)
    shown = capsys.readouterr().err
    line = "features.3: 0.0% of signs flipped for 5 epochs: raise the learning rate or check the estimator"
    assert shown.count("signs flipped") == 1  # not in the sixth epoch again, and once for all layers
    assert shown.index("epoch 5/6") < shown.index(f"{line} (and so in 4 other layers)") < shown.index("epoch 6/6")
    found = read(tmp_path)["health"]
    assert [each["layer"] for each in found] == LAYERS
    assert {(each["rule"], each["value"], each["epochs"]) for each in found} == {("no-flips", 0.0, 6)}
    assert found[0]["text"] == line.replace("5 epochs", "6 epochs")


def test_restless_signs(healthy, tmp_path):
    """Latent weights that are pulled to 0 more strongly than the loss pulls them anywhere."""
    options = {"weight_estimator": "identity"}
    settings = replace(healthy, epochs=6, scheme="bireal", scheme_options=options, latent_decay=30.0)
    found = train(settings, tmp_path, show=False).health
    assert ("features.17", "restless-signs") in {(each["layer"], each["rule"]) for each in found}


def sick(settings, out, monkeypatch, change):
    """The findings of a run whose network ``change`` alters."""
    with monkeypatch.context() as patch:
        make_sick(patch, change)
        return {(each["layer"], each["rule"]) for each in train(settings, out, show=False).health}


def test_latents_outside_the_window(healthy, tmp_path, monkeypatch):
    found = sick(healthy, tmp_path, monkeypatch, lambda layers: layers[7].weight.mul_(1000))
    assert found == {("features.7", "dead-latents")}


def test_thresholds_that_are_too_high(healthy, tmp_path, monkeypatch):
    def change(layers):
        layers[10].input_binarizer.shift[: len(layers[10].input_binarizer.shift) // 2] = -10

    assert sick(healthy, tmp_path, monkeypatch, change) == {("features.10", "saturated-thresholds")}


def test_inputs_outside_the_window(healthy, tmp_path, monkeypatch):
    found = sick(healthy, tmp_path, monkeypatch, lambda layers: layers[8].weight.fill_(1000))
    assert found == {("features.10", "dead-inputs")}


@pytest.mark.parametrize("role", ["weight-scale", "input-scale"])
def test_scales_that_explode(healthy, tmp_path, role):
    settings = replace(healthy, epochs=5, scheme="trained-binarization", lr_factors={role: 5000.0})
    found = train(settings, tmp_path, show=False).health
    assert f"{role}-drift" in {each["rule"] for each in found}


@pytest.fixture(scope="module")
def guide(healthy, tmp_path_factory):
    """A real network of one step."""
    out = tmp_path_factory.mktemp("guide")
    train(replace(healthy, scheme="float", epochs=1, max_steps=1), out, show=False)
    return out


def test_a_guide_far_ahead(healthy, guide, tmp_path):
    settings = replace(healthy, method="distillation", teacher=str(guide), epochs=2, lr=1e-6)
    train(settings, tmp_path / "one", show=False)
    score = read(guide)["result"]["accuracy"]
    assert read(tmp_path / "one")["guide"]["accuracy"] == score
    assert read(tmp_path / "one")["health"] == []
    meta = json.loads((guide / "model.json").read_text())
    meta["provenance"]["accuracy"] = 0.99
    ahead = shutil.copytree(guide, tmp_path / "ahead")
    (ahead / "model.json").write_text(json.dumps(meta))
    (found,) = train(replace(settings, teacher=str(ahead)), tmp_path / "two", show=False).health
    last = read(tmp_path / "two")["epochs"][-1]["test_accuracy"]
    assert (found["layer"], found["rule"], found["value"]) == (None, "guide-gap", pytest.approx(0.99 - last))
    meta["provenance"]["dataset"] = "mnist"  # of other images: no score to compare with
    (ahead / "model.json").write_text(json.dumps(meta))
    train(replace(settings, teacher=str(ahead)), tmp_path / "three", show=False)
    assert read(tmp_path / "three")["guide"] == {}


def test_a_float_network_has_no_binary_layers(guide):
    assert read(guide)["layers"] == {"epochs": [1], "layers": {}}


@pytest.mark.parametrize("step", [4, 7])  # the last one of an epoch; one in the middle
def test_resuming_gives_the_same_numbers(healthy, well, interrupted, tmp_path, step):
    interrupted(healthy, tmp_path, step)
    train(healthy, tmp_path, resume=True, show=False)
    assert read(tmp_path)["layers"] == read(well)["layers"]


def test_two_stages(healthy, tmp_path):
    train(replace(healthy, scheme="trained-binarization", two_step=0.5, epochs=4, eval_every=3), tmp_path, show=False)
    for layer in read(tmp_path)["layers"]["layers"].values():
        for name in ("flipped", "outside", "scale"):
            assert [value is None for value in layer[name]] == [True, True, False, False]
        assert [value is None for value in layer["constant"]] == [True, True, False, False]
        assert layer["start_scale"] > 0
        assert layer["start_input_scale"] == 1.0


def test_measuring_does_not_change_the_weights(healthy, well, tmp_path, monkeypatch):
    monkeypatch.setattr("onebit.train.loop.watch_inputs", lambda network: nullcontext({}))
    monkeypatch.setattr("onebit.train.loop.layer_health", lambda *_: {})
    train(healthy, tmp_path, show=False)
    assert (tmp_path / "model.safetensors").read_bytes() == (well / "model.safetensors").read_bytes()


class TestCheckpoints:
    @pytest.fixture
    def stopped(self, healthy, interrupted, tmp_path):
        interrupted(healthy, tmp_path, 12)  # in the third epoch
        return tmp_path

    def alter(self, out, change):
        path = out / "checkpoints" / "last.ckpt"
        state = torch.load(path, weights_only=True)
        change(state)
        torch.save(state, path)

    def test_of_before_have_no_numbers(self, healthy, well, stopped):
        def change(state):
            del state["layers"]
            state["format"] = 4

        self.alter(stopped, change)
        train(healthy, stopped, resume=True, show=False)
        want, got = (LayerNumbers.from_json(read(out)["layers"]) for out in (well, stopped))
        assert got.epochs == [3, 4]
        assert got.layers["features.3"].flipped == want.layers["features.3"].flipped[2:]
        assert got.layers["features.3"].start_scale is None
        assert (stopped / "model.safetensors").read_bytes() == (well / "model.safetensors").read_bytes()

    @pytest.mark.parametrize(
        ("change", "said"),
        [
            (lambda layers: layers.update(epochs=[2]), "flipped' must be a list of 1"),
            (
                lambda layers: layers.update(epochs=[2, 3]),
                r"'layers.epochs' must be the last of 2 epochs, got \[2, 3",
            ),
            (lambda layers: layers["layers"].pop("features.3"), "'layers.layers' must have the layers and weights"),
        ],
    )
    def test_that_are_damaged(self, healthy, stopped, change, said):
        self.alter(stopped, lambda state: change(state["layers"]))
        with pytest.raises(CheckpointError, match=said):
            train(healthy, stopped, resume=True, show=False)
