"""A run that was killed or interrupted, then resumed, ends like one that was left alone: bit for bit."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest
import torch
from marks import slow_except

from onebit.train import CheckpointError, Interrupted, load_trained, train
from onebit.train.checkpoint import load_checkpoint
from onebit.train.step import Step


def weights(out):
    return (out / "model.safetensors").read_bytes()


def measured(out):
    """The record's epochs without what depends on the clock."""
    rows = json.loads((out / "record.json").read_text())["epochs"]
    return [{k: v for k, v in row.items() if k not in ("seconds", "images_per_second")} for row in rows]


def assert_same_run(one, other):
    assert weights(one) == weights(other)
    assert measured(one) == measured(other)
    first, second = (load_checkpoint(out / "checkpoints" / "last.ckpt") for out in (one, other))
    assert first["step"] == second["step"]
    for a, b in zip(first["optimizer"]["state"].values(), second["optimizer"]["state"].values(), strict=True):
        assert all(torch.equal(a[key], b[key]) for key in ("step", "exp_avg", "exp_avg_sq"))
    best = [load_checkpoint(out / "checkpoints" / "best.ckpt") for out in (one, other)]
    assert best[0]["step"] == best[1]["step"]


@pytest.fixture(scope="module")
def whole(tiny, tmp_path_factory):
    """An uninterrupted run, which nobody changes."""
    out = tmp_path_factory.mktemp("runs") / "whole"
    train(tiny, out, show=False)
    return out


def interrupt_at(monkeypatch, step):
    """Raise SIGINT inside the optimizer step with this number."""
    original = Step.__call__

    def call(self, *arguments):
        if self.state.step == step:
            signal.raise_signal(signal.SIGINT)
        return original(self, *arguments)

    monkeypatch.setattr(Step, "__call__", call)
    return lambda: monkeypatch.setattr(Step, "__call__", original)


# The first step, one in the middle, the last step of an epoch, and one in the middle of the second.
@pytest.mark.parametrize("step", slow_except([0, 4, 10, 16], 4, 10))
def test_sigint_leaves_a_checkpoint_that_resumes_exactly(tiny, whole, tmp_path, monkeypatch, step):
    out = tmp_path / "stopped"
    undo = interrupt_at(monkeypatch, step)
    with pytest.raises(Interrupted, match=f"interrupted after step {step + 1} of 33; resume the run") as stop:
        train(tiny, out, show=False)
    assert (stop.value.step, stop.value.steps) == (step + 1, 33)
    undo()
    assert load_checkpoint(out / "checkpoints" / "last.ckpt")["step"] == step + 1
    assert not (out / "model.safetensors").exists()
    train(tiny, out, resume=True, show=False)
    assert_same_run(whole, out)


@pytest.mark.slow
def test_sigkill_then_resume_is_exact(tiny, tmp_path):
    settings = replace(tiny, epochs=20)
    out, whole = tmp_path / "killed", tmp_path / "whole"
    script = (
        "import json, sys, torch; torch.set_num_threads(1)\n"
        "from onebit.train import TrainSettings, train\n"
        "train(TrainSettings.from_json(json.loads(sys.argv[1])), sys.argv[2], show=False)"
    )
    child = subprocess.Popen([sys.executable, "-c", script, json.dumps(settings.as_json()), str(out)], env=os.environ)
    metrics = out / "metrics.csv"
    deadline = time.monotonic() + 120
    while not (metrics.exists() and len(metrics.read_text().splitlines()) > 3):  # three epochs are done
        assert child.poll() is None, "the run ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.01)
    child.kill()
    assert child.wait() == -signal.SIGKILL
    reached = load_checkpoint(out / "checkpoints" / "last.ckpt")["step"]
    assert 0 < reached < 220
    train(settings, out, resume=True, show=False)
    train(settings, whole, show=False)
    assert_same_run(whole, out)


def test_a_run_that_died_before_its_first_checkpoint_starts_again(tiny, whole, tmp_path, monkeypatch):
    def crash(self, *arguments):
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(Step, "__call__", crash)
        with pytest.raises(MemoryError):
            train(tiny, tmp_path / "run", show=False)
    train(tiny, tmp_path / "run", resume=True, show=False)
    assert_same_run(whole, tmp_path / "run")


@pytest.mark.slow
def test_compiled_training_resumes_exactly(tiny, tmp_path, monkeypatch):
    settings = replace(tiny, compile=True, max_steps=12)  # beyond the first evaluation, which watches inputs
    counters = torch._dynamo.utils.counters
    torch._dynamo.reset()  # or it runs what another test has compiled
    counters.clear()
    assert train(settings, tmp_path / "whole", show=False).compiled
    assert counters["stats"]["unique_graphs"] == 1  # really compiled, once
    assert not counters["graph_break"]
    undo = interrupt_at(monkeypatch, 2)
    with pytest.raises(Interrupted):
        train(settings, tmp_path / "stopped", show=False)
    undo()
    torch._dynamo.reset()  # as in a new process
    train(settings, tmp_path / "stopped", resume=True, show=False)
    assert_same_run(tmp_path / "whole", tmp_path / "stopped")


@pytest.mark.slow
def test_second_run_is_equal_and_another_seed_is_not(tiny, whole, tmp_path):
    train(tiny, tmp_path / "again", show=False)
    assert_same_run(whole, tmp_path / "again")
    train(replace(tiny, seed=1), tmp_path / "other", show=False)
    assert weights(whole) != weights(tmp_path / "other")


def test_resume_refuses_other_settings(tiny, whole):
    with pytest.raises(ValueError, match=r"was started with lr 0\.005, not 0\.1; resume it with its own settings"):
        train(replace(tiny, lr=0.1), whole, resume=True, show=False)


def test_resuming_a_finished_run_changes_nothing(tiny, whole):
    before = weights(whole), measured(whole)
    train(tiny, whole, resume=True, show=False)
    assert (weights(whole), measured(whole)) == before


def test_a_run_is_not_overwritten(tiny, whole):
    with pytest.raises(ValueError, match="already holds a run; resume it, or start another one in another folder"):
        train(tiny, whole, show=False)


def test_nothing_to_resume(tiny, tmp_path):
    with pytest.raises(CheckpointError, match="holds no run to resume"):
        train(tiny, tmp_path / "empty", resume=True, show=False)


def test_damaged_checkpoint_is_named(tiny, whole, tmp_path):
    out = shutil.copytree(whole, tmp_path / "run")
    path = out / "checkpoints" / "last.ckpt"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(CheckpointError, match=r"last\.ckpt' is damaged"):
        train(tiny, out, resume=True, show=False)


def test_checkpoint_of_an_interrupted_run_can_be_used(tiny, tmp_path, monkeypatch):
    undo = interrupt_at(monkeypatch, 15)
    with pytest.raises(Interrupted):
        train(tiny, tmp_path, show=False)
    undo()
    with pytest.raises(ValueError, match=r"holds no model\.json; the run is unfinished"):
        load_trained(tmp_path)
    model, meta = load_trained(tmp_path / "checkpoints" / "last.ckpt")
    assert meta["provenance"]["epoch"] == 1
    assert not model.training
