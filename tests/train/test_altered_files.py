"""Whatever the files of a run are altered to hold ends in their own error, which names the file, or works."""

import copy
import json
import math
import os
import random

import pytest
import torch

from onebit.fields import short
from onebit.train import CheckpointError, ModelError, TrainSettings, load_trained, stored_settings, train

SAMPLES = int(os.environ.get("ONEBIT_ALTERATIONS", "40"))  # of each file; "100000" tries them all
DEEP = json.loads("[" * 300 + "]" * 300)
VALUES = (
    None, True, False, 0, -1, 1, 2, 10**9, 10**30, 10**400, 0.5, -0.5, 1e300, math.nan, math.inf,
    "", "x", "1", "\0", "\ud800", "x" * 5000, [], [1], ["x"], [None], {}, {"x": 1}, DEEP,
)  # fmt: skip
TENSORS = (
    torch.zeros(()), torch.zeros(3), torch.zeros(0), torch.full((1, 1, 1, 1), math.nan),
    torch.zeros(2, dtype=torch.int64), torch.zeros(2, dtype=torch.complex64), torch.zeros(2, 2).to_sparse(),
)  # fmt: skip
GONE = object()
EXTRA = object()


def places(document, path=()):
    """The path of every value within a document of dicts and lists."""
    entries = document.items() if isinstance(document, dict) else enumerate(document)
    for name, value in entries:
        yield (*path, name)
        if isinstance(value, dict | list):
            yield from places(value, (*path, name))


def altered(document, path, value):
    """A copy of ``document`` with another value at ``path``."""
    document = copy.deepcopy(document)
    inner = document
    for name in path[:-1]:
        inner = inner[name]
    if value is GONE:
        del inner[path[-1]]
    elif value is EXTRA:
        if isinstance(inner, dict):
            inner["unheard of"] = 1
        else:
            inner.append(inner[0])
    else:
        inner[path[-1]] = value
    return document


def alterations(document, values, samples=SAMPLES):
    """``samples`` of all (path, value), always the same ones."""
    every = [(path, value) for path in places(document) for value in (*values, GONE, EXTRA)]
    return random.Random(0).sample(every, min(samples, len(every)))


def told(path, value):
    names = {id(GONE): "gone", id(EXTRA): "one more"}
    return f"{'.'.join(map(str, path))} = {names.get(id(value)) or short(value)}"


def works(action, errors, source, case):
    """Whether ``action`` works; a failed test unless it does or raises one of ``errors`` that names ``source``."""
    try:
        action()
    except Exception as error:
        if not isinstance(error, errors) or str(source) not in str(error):
            pytest.fail(f"{case}: {type(error).__name__}: {error}")
        return False
    return True


SETTINGS = TrainSettings(
    model="vgg-small",
    model_options={"width": 0.0625},
    scheme_options={"weight_granularity": "channel"},
    dataset="random16",
    epochs=3,
    batch_size=8,
    lr=1e-3,
    compile=False,
    method="rbcn",
    method_options={"gan": False},
    lr_factors={"latent": 0.5},
    ema=0.9,
    mixup=0.2,
)


@pytest.fixture(scope="module")
def run(tmp_path_factory, interrupted):
    """A run of 3 epochs of 2 steps that was stopped in the middle of the third; its folder also holds a model."""
    out = tmp_path_factory.mktemp("run")
    interrupted(SETTINGS, out, step=4)
    whole = tmp_path_factory.mktemp("whole")
    train(SETTINGS, whole, show=False)
    for name in ("model.json", "model.safetensors"):
        (out / name).write_bytes((whole / name).read_bytes())
    return out


def test_model_json(run, tmp_path):
    (tmp_path / "model.safetensors").write_bytes((run / "model.safetensors").read_bytes())
    document = json.loads((run / "model.json").read_bytes())
    for place, value in alterations(document, VALUES):
        (tmp_path / "model.json").write_text(json.dumps(altered(document, place, value)))
        works(lambda: load_trained(tmp_path), ModelError, tmp_path, told(place, value))


def test_record(run, tmp_path):
    path = tmp_path / "record.json"
    document = json.loads((run / "record.json").read_bytes())
    document["epochs"] = document["epochs"][:1]
    for place, value in alterations(document, VALUES):
        path.write_text(json.dumps(altered(document, place, value)))
        works(lambda: stored_settings(tmp_path)[0].as_json(), CheckpointError, path, told(place, value))


@pytest.mark.slow
def test_checkpoint_to_go_on_from(run, monkeypatch):
    """What is not refused before the first step trains to the end."""
    document = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    before = {name: (run / name).read_bytes() for name in ("record.json", "checkpoints/last.ckpt")}
    for place, value in alterations(document, (*VALUES, *TENSORS), -(-SAMPLES // 3)):
        other = altered(document, place, value)
        monkeypatch.setattr(torch, "load", lambda *_, other=other, **__: other)
        # A ValueError speaks of another run, or of other data.
        errors = ValueError if place[0] in ("settings", "data", "teacher") else CheckpointError
        if works(lambda: train(SETTINGS, run, resume=True, show=False), errors, run, told(place, value)):
            for name, content in before.items():
                (run / name).write_bytes(content)


def test_checkpoint_as_a_model(run, monkeypatch):
    path = run / "checkpoints" / "last.ckpt"
    whole = torch.load(path, weights_only=True)
    document = {name: whole[name] for name in ("format", "network", "average", "meta")}
    for place, value in alterations(document, (*VALUES, *TENSORS)):
        other = whole | altered(document, place, value)
        if value is GONE and len(place) == 1:
            del other[place[0]]
        monkeypatch.setattr(torch, "load", lambda *_, other=other, **__: other)
        works(lambda: load_trained(path), (ModelError, CheckpointError), path, told(place, value))
