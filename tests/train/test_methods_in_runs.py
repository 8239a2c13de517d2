"""Methods inside whole runs: teachers, own optimizers, frozen roles and two stages, resumed exactly."""

import json
from dataclasses import replace

import pytest
import torch
from marks import slow_except

from onebit.tasks import Scores
from onebit.tasks.classification import Classification
from onebit.train import TrainSettings, load_trained, train
from onebit.train.checkpoint import load_checkpoint
from onebit.train.step import Step


@pytest.fixture(scope="module")
def tiny():
    """A ResNet-20 of 8 channels on the 8x8 digits in RBCN's scheme: 2 epochs of 11 steps."""
    return TrainSettings(
        model="resnet20",
        model_options={"width": 0.125},
        scheme="rbcn",
        dataset="digits",
        augment="shift-rotate",
        method="rbcn",
        method_options={"gan": False},
        epochs=2,
        batch_size=128,
        lr=5e-3,
        warmup=0.1,
        compile=False,
        lr_factors={"weight-scale": 0.1},
    )


@pytest.fixture(scope="module")
def guided(tiny, teacher):
    return replace(tiny, teacher=teacher, method_options={"discriminator_lr": 1e-3, "bn_update": 0.3})


def assert_equal(one, other, where=""):
    """Nested dicts, lists and tensors are equal to the bit."""
    assert type(one) is type(other), where
    if isinstance(one, dict):
        assert list(one) == list(other), where
        for key in one:
            assert_equal(one[key], other[key], f"{where}/{key}")
    elif isinstance(one, list | tuple):
        assert len(one) == len(other), where
        for index, (a, b) in enumerate(zip(one, other, strict=True)):
            assert_equal(a, b, f"{where}/{index}")
    elif isinstance(one, torch.Tensor):
        assert torch.equal(one, other), where
    else:
        assert one == other, where


def state(out):
    """Everything in the last checkpoint but what the clock and the checkout say."""
    found = load_checkpoint(out / "checkpoints" / "last.ckpt")
    for row in found["history"]:
        del row["seconds"], row["images_per_second"]
    del found["seconds"], found["meta"]["provenance"]["commit"]
    return found


@pytest.mark.slow
@pytest.mark.parametrize("step", [4, 10, 19])  # free, frozen and last of its epoch, frozen in the second
def test_resume_with_discriminators_is_exact(guided, interrupted, tmp_path, step):
    train(guided, tmp_path / "whole", show=False)
    interrupted(guided, tmp_path / "stopped", step)
    train(guided, tmp_path / "stopped", resume=True, show=False)
    whole = state(tmp_path / "whole")
    assert len(whole["method"]) == 18 + 3 + 4  # entries, weights, biases of the discriminators
    assert whole["method_optimizers"][0]["state"]
    assert_equal(whole, state(tmp_path / "stopped"))


# In the first stage, its last, the second's first, in the second.
@pytest.mark.parametrize("step", slow_except([5, 10, 11, 17], 11))
def test_resume_across_the_stages_is_exact(tiny, interrupted, tmp_path, step):
    settings = replace(tiny, two_step=0.5, latent_decay=1e-2)
    train(settings, tmp_path / "whole", show=False)
    interrupted(settings, tmp_path / "stopped", step)
    train(settings, tmp_path / "stopped", resume=True, show=False)
    assert_equal(state(tmp_path / "whole"), state(tmp_path / "stopped"))


def watch(monkeypatch, look):
    """Call ``look(step)`` before and after every optimizer step; a list of (its number, before, after)."""
    seen = []
    original = Step.__call__

    def call(self, *arguments):
        before, number = look(self), self.state.step
        lr = original(self, *arguments)
        seen.append((number, before, look(self)))
        return lr

    monkeypatch.setattr(Step, "__call__", call)
    return seen


def test_frozen_roles_stay_as_they_are_and_the_others_move(guided, tmp_path, monkeypatch):
    def look(step):
        return {
            **{role: [p.detach().clone() for p in members] for role, members in step.members.items()},
            "discriminators": [p.detach().clone() for p in step.state.method.parameters()],
        }

    seen = watch(monkeypatch, look)
    settings = replace(guided, epochs=1, latent_decay=0.1, scale_decay=0.1, warmup=0.0, momentum=0.9, optimizer="sgd")
    train(settings, tmp_path, show=False)
    for step, before, after in seen:
        moved = {name for name in before if not all(map(torch.equal, before[name], after[name]))}
        everything = {"latent", "weight-scale", "slope", "norm", "real", "discriminators"}
        assert moved == (everything if step < 8 else everything - {"latent", "weight-scale"}), step  # 11 - round(3.3)


def test_two_stages(tiny, tmp_path, monkeypatch):
    def look(step):
        layer = step.state.network.blocks[0].body[0]
        optimizer = step.state.optimizer
        group = next(group for group in optimizer.param_groups if group["role"] == "latent")
        state = optimizer.state.get(layer.weight)
        return {
            "real": layer.real_weights,
            "decay": group["weight_decay"],
            "adam step": int(state["step"]) if state else 0,
            "lr": group["lr"],
            "progress": float(layer.weight_binarizer.progress),
            "scale": (
                float(layer.weight_binarizer.rectifier.detach().mean()),
                float(layer.weight.detach().abs().mean()),
            ),
        }

    seen = watch(monkeypatch, look)
    settings = replace(tiny, epochs=4, two_step=0.5, latent_decay=1e-5, warmup=0.1, schedule="linear")
    train(settings, tmp_path, show=False)
    assert [before["real"] for _, before, _ in seen] == [True] * 22 + [False] * 22
    assert [before["decay"] for _, before, _ in seen] == [1e-5] * 22 + [0.0] * 22
    assert [before["adam step"] for _, before, _ in seen] == [*range(22), *range(22)]
    assert [before["progress"] for _, before, _ in seen] == [0.0] * 11 + [0.5] * 11 + [0.0] * 11 + [0.5] * 11
    rates = [after["lr"] for _, _, after in seen]
    assert rates[:22] == rates[22:]
    assert max(rates) == rates[2]  # two steps of warm-up
    alpha, mean = seen[22][1]["scale"]
    assert alpha == pytest.approx(mean)  # scales start anew from the weights that the first stage left
    rows = json.loads((tmp_path / "record.json").read_text())["epochs"]
    assert [row["stage"] for row in rows] == [1, 1, 2, 2]


def test_the_best_epoch_is_one_of_the_last_stage(tiny, tmp_path, monkeypatch):
    accuracies = iter([0.9, 0.8, 0.3, 0.2])
    monkeypatch.setattr(Classification, "evaluate", lambda *_: Scores(360, {"loss": 1.0, "accuracy": next(accuracies)}))
    result = train(replace(tiny, epochs=4, two_step=0.5, keep="best"), tmp_path, show=False)
    assert (result.best_epoch, result.scores["accuracy"]) == (3, 0.3)
    assert load_checkpoint(tmp_path / "checkpoints" / "best.ckpt")["step"] == 33


def test_two_step_needs_an_epoch_for_each_stage(tiny, tmp_path):
    with pytest.raises(ValueError, match=r"two_step 0\.2 of 2 epochs leaves one stage without an epoch"):
        replace(tiny, two_step=0.2)
    with pytest.raises(ValueError, match="max_steps 11 ends before the second stage, at step 11"):
        train(replace(tiny, two_step=0.5, max_steps=11), tmp_path, show=False)


def test_record_of_a_guided_run(guided, tmp_path):
    train(guided, tmp_path, show=False)
    rows = json.loads((tmp_path / "record.json").read_text())["epochs"]
    for row in rows:
        parts = row["loss_cross_entropy"] + row["loss_kernel"] + row["loss_adversarial"]
        assert row["train_loss"] == pytest.approx(parts, rel=1e-5)
        assert 0 < row["discriminator_loss"] < 2
        assert row["gradient_norm"] > 0
    assert (tmp_path / "metrics.csv").read_text().splitlines()[0].split(",") == list(rows[0])


def test_flip_rate_counts_changed_signs(tiny, tmp_path, monkeypatch):
    def look(step):
        return torch.cat([p.detach().flatten() < 0 for p in step.members["latent"]])

    seen = watch(monkeypatch, look)
    train(tiny, tmp_path, show=False)
    rows = json.loads((tmp_path / "record.json").read_text())["epochs"]
    for epoch, row in enumerate(rows):
        start, end = seen[epoch * 11][1], seen[epoch * 11 + 10][2]
        assert row["flip_rate"] == float((start != end).double().mean()) > 0


def test_a_float_run_flips_nothing(teacher):
    with open(f"{teacher}/record.json") as file:
        assert json.load(file)["epochs"][0]["flip_rate"] is None


def test_a_missing_teacher(tiny, tmp_path):
    with pytest.raises(ValueError, match="needs a teacher: give the setting teacher the folder"):
        train(replace(tiny, method_options={}), tmp_path, show=False)
    with pytest.raises(ValueError, match="there is no trained model '/nowhere'"):
        train(replace(tiny, method_options={}, teacher="/nowhere"), tmp_path, show=False)


def test_a_teacher_without_use(tiny, teacher, tmp_path):
    with pytest.raises(ValueError, match="has no use for a teacher; leave the setting teacher out"):
        train(replace(tiny, teacher=teacher), tmp_path, show=False)


def test_a_teacher_of_other_images(guided, tmp_path):
    with pytest.raises(ValueError, match="was trained with size 8, the data set 'digits' has 16"):
        train(replace(guided, image_size=16), tmp_path, show=False)
    with pytest.raises(ValueError, match="was trained with in_channels 1, the data set 'random16' has 3"):
        train(replace(guided, dataset="random16", augment="none", batch_size=8), tmp_path, show=False)


def test_another_teacher_on_resume_is_refused_and_a_moved_one_is_not(guided, teacher, interrupted, tmp_path):
    interrupted(guided, tmp_path / "run", 4)
    moved, other = tmp_path / "moved", tmp_path / "other"
    for folder in (moved, other):
        folder.mkdir()
        for name in ("model.json", "model.safetensors"):
            (folder / name).write_bytes((type(folder)(teacher) / name).read_bytes())
    raw = bytearray((other / "model.safetensors").read_bytes())
    raw[-1] ^= 1
    (other / "model.safetensors").write_bytes(raw)
    with pytest.raises(ValueError, match=r"is not the one that the run in .* was started with"):
        train(replace(guided, teacher=str(other)), tmp_path / "run", resume=True, show=False)
    train(replace(guided, teacher=str(moved)), tmp_path / "run", resume=True, show=False)
    model, _ = load_trained(tmp_path / "run")
    assert not model.training
