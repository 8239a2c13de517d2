"""What a run leaves behind, and that the settings do what they say."""

import csv
import json
from dataclasses import replace
from importlib.metadata import version

import pytest
import torch

from onebit.data import DATASETS
from onebit.nn import parameter_roles
from onebit.tasks.classification import Classification
from onebit.tasks.images import describe_input
from onebit.train import Diverged, ModelError, load_trained, task_of, train
from onebit.train.deploy import pack_trained


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The folder and the result of one run that learns: 6 epochs, about 2 seconds."""
    from onebit.train import TrainSettings

    settings = TrainSettings(
        model="vgg-small",
        model_options={"width": 0.125},
        dataset="digits",
        epochs=6,
        batch_size=64,
        lr=1e-2,
        compile=False,
        eval_every=2,
    )
    out = tmp_path_factory.mktemp("run")
    return out, train(settings, out, recipe="some-recipe", show=False)


def test_it_learns(finished):
    out, result = finished
    rows = json.loads((out / "record.json").read_text())["epochs"]
    assert rows[-1]["train_loss"] < rows[0]["train_loss"] / 3
    assert result.scores["accuracy"] > 0.85


def test_record(finished):
    out, result = finished
    record = json.loads((out / "record.json").read_text())
    assert record["recipe"] == "some-recipe"
    assert record["settings"]["lr"] == 1e-2
    assert record["result"]["accuracy"] == result.scores["accuracy"] == record["epochs"][-1]["test_accuracy"]
    assert [row["test_accuracy"] is not None for row in record["epochs"]] == [False, True] * 3
    assert [row["step"] for row in record["epochs"]] == [22, 44, 66, 88, 110, 132]
    assert record["versions"]["torch"] == version("torch")
    assert record["machine"]["cores"] >= 1
    with (out / "metrics.csv").open() as file:
        assert [float(row["train_loss"]) for row in csv.DictReader(file)] == [r["train_loss"] for r in record["epochs"]]


def test_pictures_and_logs(finished):
    out, _ = finished
    assert (out / "curve.png").read_bytes().startswith(b"\x89PNG")
    assert list((out / "tensorboard").glob("events*"))


def test_the_stored_model_scores_what_the_record_says(finished):
    out, result = finished
    model, meta = load_trained(out)
    assert not model.training
    data = DATASETS["digits"]()
    scores = task_of(meta).evaluate(model, data, meta)
    assert scores.values == result.scores
    assert meta["provenance"]["accuracy"] == result.scores["accuracy"]
    assert meta["input"] == describe_input(data.input)["input"]
    assert meta["input"]["fit"] == {"resize": "crop", "crop_pct": 1.0}
    assert meta["classes"] == list("0123456789")


def damage(finished, tmp_path, name, change):
    out, _ = finished
    for path in ("model.safetensors", "model.json"):
        (tmp_path / path).write_bytes((out / path).read_bytes())
    (tmp_path / name).write_bytes(change((tmp_path / name).read_bytes()))


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("model.safetensors", lambda raw: raw[:-10], r"model\.safetensors' is damaged"),
        ("model.safetensors", lambda raw: b"", r"model\.safetensors' is damaged"),
        ("model.json", lambda raw: raw[:-10], r"model\.json' is damaged"),
        ("model.json", lambda raw: b"[]", "it holds no JSON object"),
        ("model.json", lambda raw: raw.replace(b'"vgg-small"', b'"resnet20"'), "does not fit the model"),
        ("model.json", lambda raw: raw.replace(b'"width": 0.125', b'"width": 0.25'), "has shape .* the model wants"),
        (
            "model.json",
            lambda raw: raw.replace(b'"scheme"', b'"sheme"'),
            "model.json' cannot be used: field 'scheme' is missing; it must be a string",
        ),
        (
            "model.json",
            lambda raw: raw.replace(b'"format": 1', b'"format": 2'),
            r"field 'format' must be one of \[1\], got 2",
        ),
    ],
)
def test_a_damaged_model_is_named(finished, tmp_path, name, change, message):
    damage(finished, tmp_path, name, change)
    with pytest.raises(ValueError, match=message):
        load_trained(tmp_path)


@pytest.mark.parametrize(("field", "word"), [("color", "gray"), ("colour", "grey"), ("color", "L")])
def test_colors_in_the_words_of_before(finished, tmp_path, field, word):
    meta = json.loads((finished[0] / "model.json").read_text())
    fit = meta["input"].pop("fit")  # runs did not say
    assert (meta["input"].pop("color"), fit) == ("L", {"resize": "crop", "crop_pct": 1.0})
    meta["input"][field] = word
    damage(finished, tmp_path, "model.json", lambda _: json.dumps(meta).encode())
    packed = pack_trained(tmp_path)
    assert (packed.graph.input.color, packed.graph.input.fit) == ("L", None)


def test_a_model_that_was_described_in_the_words_of_before(finished, tmp_path):
    before = b'"scheme_options": {"weights": "trained", "input_scale_start": 2.0, "weight_granularity": "layer"}'
    damage(finished, tmp_path, "model.json", lambda raw: raw.replace(b'"scheme_options": {}', before))
    assert before in (tmp_path / "model.json").read_bytes()
    want, got = (load_trained(folder)[0].state_dict() for folder in (finished[0], tmp_path))
    assert all(torch.equal(tensor, got[name]) for name, tensor in want.items())


def test_missing_model(tmp_path):
    with pytest.raises(ModelError, match="there is no trained model"):
        load_trained(tmp_path / "nothing")
    with pytest.raises(ModelError, match=r"holds no model\.json; is this the folder of a run\?"):
        load_trained(tmp_path)


def test_a_loss_that_is_no_number_stops_the_run(tiny, tmp_path, monkeypatch):
    nan = float("nan")
    monkeypatch.setattr(Classification, "losses", lambda self, logits, labels: {"cross_entropy": logits.sum() * nan})
    with pytest.raises(Diverged, match="not a finite number in epoch 1; lower lr"):
        train(tiny, tmp_path, show=False)


def test_unknown_model_option(tiny, tmp_path):
    with pytest.raises(ValueError, match=r"model 'vgg-small' cannot be built with .*: it has no option 'wdth'"):
        train(replace(tiny, model_options={"wdth": 2}), tmp_path, show=False)


def latent_weights(out):
    model, _ = load_trained(out)
    roles = parameter_roles(model)
    return [p for name, p in model.named_parameters() if roles[name] == "latent"]


def test_latent_weights_are_clipped_on_request(tiny, tmp_path):
    settings = replace(tiny, lr=1.0, max_steps=5)
    train(settings, tmp_path / "free", show=False)
    train(replace(settings, clip_latent=True), tmp_path / "clipped", show=False)
    assert max(w.abs().max() for w in latent_weights(tmp_path / "free")) > 1
    assert max(w.abs().max() for w in latent_weights(tmp_path / "clipped")) <= 1


def test_learned_scales_stay_positive(tiny, tmp_path):
    train(replace(tiny, lr=1.0, max_steps=5), tmp_path, show=False)
    model, _ = load_trained(tmp_path)
    scales = [p for n, p in model.named_parameters() if parameter_roles(model)[n] in ("weight-scale", "input-scale")]
    assert len(scales) == 10
    assert all((scale > 0).all() for scale in scales)


def test_keeping_the_best_epoch(tiny, tmp_path):
    result = train(replace(tiny, keep="best", epochs=5, lr=0.02), tmp_path, show=False)
    assert result.scores == result.best
    _, meta = load_trained(tmp_path)
    assert meta["provenance"]["epoch"] == result.best_epoch
    assert meta["provenance"]["accuracy"] == result.best["accuracy"]


def test_float_scheme_and_bfloat16(tiny, tmp_path):
    result = train(replace(tiny, scheme="float", precision="bf16-mixed"), tmp_path, show=False)
    assert result.scores["accuracy"] > 0.5


def test_max_steps_ends_in_the_middle_of_an_epoch(tiny, tmp_path):
    result = train(replace(tiny, max_steps=13), tmp_path, show=False)
    assert (result.steps, result.epochs) == (13, 2)
    rows = json.loads((tmp_path / "record.json").read_text())["epochs"]
    assert rows[-1]["test_accuracy"] == result.scores["accuracy"]
