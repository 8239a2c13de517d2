"""Mixed images inside whole runs: every method learns from them, its teacher sees them, and runs resume exactly."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from marks import slow_except

from onebit.data import Mixing
from onebit.tasks import Mixed
from onebit.tasks.classification import Classification
from onebit.train import stored_settings, train
from onebit.train.step import Step

BOTH = {"mixup": 0.4, "cutmix": 1.0}


@pytest.mark.parametrize("step", slow_except([4, 10, 16], 4))
def test_it_resumes_exactly(tiny, interrupted, tmp_path, step):
    settings = replace(tiny, **BOTH, epochs=2)
    train(settings, tmp_path / "whole", show=False)
    interrupted(settings, tmp_path / "stopped", step)
    train(settings, tmp_path / "stopped", resume=True, show=False)
    one, other = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("whole", "stopped"))
    assert one == other


def test_every_step_draws_anew_and_the_seed_decides(tiny, tmp_path, monkeypatch):
    shares = []
    original = Classification.losses

    def losses(self, outputs, targets):
        shares.append(targets.share if isinstance(targets, Mixed) else None)
        return original(self, outputs, targets)

    monkeypatch.setattr(Classification, "losses", losses)
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        train(replace(tiny, mixup=0.4, max_steps=5, seed=seed), tmp_path / name, show=False)
    first, again, other = shares[:5], shares[5:10], shares[10:]
    assert len(set(first)) == 5
    assert first == again
    assert not set(first) & set(other)


def test_the_record_has_no_training_accuracy(tiny, tmp_path):
    for name, settings in (("mixed", replace(tiny, **BOTH)), ("plain", tiny)):
        train(replace(settings, epochs=1), tmp_path / name, show=False)
    mixed, plain = (
        json.loads((tmp_path / name / "record.json").read_text())["epochs"][0] for name in ("mixed", "plain")
    )
    assert set(plain) - set(mixed) == {"train_accuracy"}
    assert mixed["train_loss"] > plain["train_loss"]
    assert mixed["test_accuracy"] is not None


@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("rbcn", {}),
        ("distillation", {}),
        ("distillation", {"alpha": 0.5}),
        ("attention-distillation", {"alpha": 0.5}),
    ],
)
def test_the_teacher_sees_the_mixed_images(teacher, tmp_path, monkeypatch, method, options):
    settings, _ = stored_settings(Path(teacher))
    settings = replace(
        settings, scheme="rbcn", max_steps=2, method=method, method_options=options, teacher=teacher, **BOTH, ema=0.9
    )
    made, asked = [], []
    mix, ask = Mixing.__call__, Step._ask_teacher

    def mixing(self, images):
        made.append(mix(self, images))
        return made[-1]

    def asking(self, *inputs):
        asked.append(inputs)
        return ask(self, *inputs)

    monkeypatch.setattr(Mixing, "__call__", mixing)
    monkeypatch.setattr(Step, "_ask_teacher", asking)
    train(settings, tmp_path, show=False)
    assert len(made) == len(asked) == 2
    assert all(torch.equal(images, mixed) for (images,), (mixed, _, _) in zip(asked, made, strict=True))
    row = json.loads((tmp_path / "record.json").read_text())["epochs"][0]
    assert "train_accuracy" not in row
    if method == "rbcn":
        assert 0 < row["discriminator_loss"] < 2
        assert row["loss_cross_entropy"] > 0


@pytest.mark.slow
def test_compiled_training_mixes_in_one_graph(tiny, interrupted, tmp_path):
    settings = replace(tiny, **BOTH, ema=0.9, compile=True, max_steps=6)
    counters = torch._dynamo.utils.counters
    counters.clear()
    torch._dynamo.reset()
    assert train(settings, tmp_path / "whole", show=False).compiled
    assert counters["stats"]["unique_graphs"] == 1
    interrupted(settings, tmp_path / "stopped", 2)
    torch._dynamo.reset()
    train(settings, tmp_path / "stopped", resume=True, show=False)
    one, other = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("whole", "stopped"))
    assert one == other
