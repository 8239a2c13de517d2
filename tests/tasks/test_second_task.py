"""A second task, the regression of a map, is this file alone: it trains, resumes, is scored, packed and verified."""

import json
import math
import signal
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from onebit.cli.main import main
from onebit.data import AUGMENTATIONS, ImageData, MemorySet
from onebit.format.graph import Fit, InputSpec
from onebit.models import MODELS
from onebit.nn import as_scheme
from onebit.registry import Registry
from onebit.tasks import TASKS, ImageTask, Metric, Part, Scores
from onebit.train import Interrupted, TrainSettings, load_trained, task_of, train
from onebit.train.step import Step

SIDE = 8


# The task ------------------------------------------------------------------------------------------------------------

NOISY = Registry("set of noisy images")


@NOISY.register("toy-noisy-blobs")
def noisy_blobs(data_dir=None, image_size=None, fit=None, color=None):
    """Gray blobs under noise, and the blobs."""
    generator = torch.Generator().manual_seed(0)

    def images(count):
        clean = F.interpolate(torch.rand(count, 1, 3, 3, generator=generator), SIDE, mode="bilinear")
        noise = 0.2 * torch.randn(count, 1, SIDE, SIDE, generator=generator)
        return MemorySet(((clean + noise).clamp(0, 1) * 255).to(torch.uint8), clean)

    spec = InputSpec(SIDE, SIDE, 1, (0.5,), (0.25,), "L", fit=Fit("crop"))
    return ImageData("toy-noisy-blobs", images(64), images(24), (), spec)


class Denoising(ImageTask):
    """The clean image from a noisy one."""

    datasets = NOISY
    augmentations = AUGMENTATIONS
    metrics = (Metric("psnr"), Metric("error", higher_is_better=False))
    main = "psnr"
    answer = "image"

    def losses(self, outputs, targets):
        return {"squares": F.mse_loss(outputs, targets)}

    def training_scores(self, outputs, targets):
        return {"error": (outputs - targets).square().mean()}

    def tally(self, outputs, targets, description):
        squares = (outputs - targets).double().square()
        return {"squares": squares.mean((1, 2, 3)).sum(), "images": torch.tensor(len(outputs))}

    def scores(self, sums, description):
        error = float(sums["squares"] / sums["images"])
        return Scores(int(sums["images"]), {"psnr": -10 * math.log10(error), "error": error})

    def same_answer(self, one, other):
        return np.abs(one - other).max((1, 2, 3)) < 1e-3


class Denoiser(nn.Module):
    def __init__(self, *, in_channels=1, input_size=SIDE, scheme="bireal", width=8):
        super().__init__()
        self.first = nn.Conv2d(in_channels, width, 3, padding=1, bias=False)
        self.inner = as_scheme(scheme).conv2d(width, width, 3, padding=1)
        self.norms = nn.ModuleList(nn.BatchNorm2d(width) for _ in range(2))
        self.last = nn.Conv2d(width, in_channels, 3, padding=1)

    def forward(self, x):
        x = self.norms[0](self.first(x))
        return self.last(self.norms[1](self.inner(x)) + x)


# What the library does with it ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module", autouse=True)
def _registered():
    """The task and its network are known in this file alone: other tests go through all that there are."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(TASKS._items, "toy-denoising", Denoising)
        patch.setitem(MODELS._items, "toy-denoiser", Denoiser)
        yield


@pytest.fixture(scope="module")
def settings():
    return TrainSettings(
        task="toy-denoising",
        model="toy-denoiser",
        scheme="bireal",
        dataset="toy-noisy-blobs",
        epochs=6,
        batch_size=8,
        lr=2e-2,
        compile=False,
    )


@pytest.fixture(scope="module")
def run(settings, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "toy"
    return out, train(settings, out, show=False)


def test_it_learns_and_is_recorded_under_its_own_names(run):
    out, result = run
    record = json.loads((out / "record.json").read_text())
    rows = record["epochs"]
    assert rows[-1]["train_error"] == rows[-1]["train_loss"] < rows[0]["train_loss"] / 2
    assert record["result"]["psnr"] == result.scores["psnr"] == rows[-1]["test_psnr"] > 18
    assert record["score"] == "psnr"
    assert "train_accuracy" not in rows[0]
    assert (out / "curve.png").read_bytes().startswith(b"\x89PNG")
    model, meta = load_trained(out)
    assert meta["task"] == "toy-denoising"
    assert "num_classes" not in meta
    data = NOISY["toy-noisy-blobs"]()
    assert task_of(meta).evaluate(model, data, meta).values == pytest.approx(result.scores, rel=1e-6)


def test_it_resumes_exactly(settings, run, tmp_path, monkeypatch):
    original = Step.__call__

    def call(self, *arguments):
        if self.state.step == 19:
            signal.raise_signal(signal.SIGINT)
        return original(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(Step, "__call__", call)
        with pytest.raises(Interrupted):
            train(settings, tmp_path, show=False)
    train(settings, tmp_path, resume=True, show=False)
    assert (tmp_path / "model.safetensors").read_bytes() == (run[0] / "model.safetensors").read_bytes()


@pytest.mark.parametrize("best_by", [None, "error"])
def test_the_best_epoch_is_judged_by_a_score_whose_direction_is_known(settings, tmp_path, monkeypatch, best_by):
    course = iter([(12.0, 0.3), (15.0, 0.1), (14.0, 0.2)])

    def evaluate(*_):
        psnr, error = next(course)
        return Scores(24, {"psnr": psnr, "error": error})

    monkeypatch.setattr(Denoising, "evaluate", evaluate)
    result = train(replace(settings, epochs=3, keep="best", best_by=best_by), tmp_path, show=False)
    assert (result.best_epoch, result.scores) == (2, {"psnr": 15.0, "error": 0.1})
    assert result.score == (best_by or "psnr")


def test_methods_call_its_criterion(settings, run, tmp_path):
    guided = replace(
        settings, epochs=1, max_steps=2, method="distillation", method_options={"alpha": 0.5}, teacher=str(run[0])
    )
    train(guided, tmp_path / "distilled", show=False)
    train(replace(guided, method="rbcn", method_options={}), tmp_path / "rbcn", show=False)
    rows = [json.loads((tmp_path / name / "record.json").read_text())["epochs"][0] for name in ("distilled", "rbcn")]
    assert rows[0]["loss_distillation"] + rows[0]["loss_squares"] == pytest.approx(rows[0]["train_loss"])
    assert rows[1]["loss_squares"] > 0


@pytest.mark.parametrize("name", ["mixup", "cutmix"])
def test_mixing_is_refused_where_the_task_cannot(settings, name):
    with pytest.raises(ValueError, match=f"{name} 0.2 mixes images .* the task 'toy-denoising' cannot; give it 0"):
        replace(settings, **{name: 0.2})


def test_a_teacher_of_another_task_is_refused(run, tmp_path):
    settings = TrainSettings(
        model="vgg-small", dataset="digits", method="distillation", teacher=str(run[0]), epochs=1, batch_size=8, lr=1e-3
    )
    with pytest.raises(ValueError, match=r"was trained with task 'toy-denoising', .* 'classification'"):
        train(settings, tmp_path, show=False)


def test_two_devices_see_the_examples_of_one(run):
    task, data = Denoising(), NOISY["toy-noisy-blobs"]()
    model, meta = load_trained(run[0])
    whole = task.measure(model, data, meta, batch_size=5)
    halves = [task.measure(model, data, meta, batch_size=5, part=Part(number, 2)) for number in range(2)]
    for name, total in whole.items():
        torch.testing.assert_close(sum(half[name] for half in halves), total)
    device = torch.device("cpu")
    feeds = [task.feed(data, "none", device, part) for part in (Part(), Part(0, 2), Part(1, 2))]
    for all_of_them, *parts in zip(*(feed.batches(3, 1, 8, first=2) for feed in feeds), strict=True):
        together = torch.cat([part.inputs[0] for part in parts]).flatten(1).sort(0).values
        assert torch.equal(together, all_of_them.inputs[0].flatten(1).sort(0).values)


def told(capsys, *argv):
    capsys.readouterr()
    assert main([*argv, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_from_the_command_line_to_the_packed_file(run, tmp_path, capsys):
    out, file = str(run[0]), str(tmp_path / "net.onebit")
    scores = told(capsys, "eval", out)
    assert scores["images"] == 24
    assert scores["psnr"] == pytest.approx(run[1].scores["psnr"], rel=1e-6)
    assert main(["pack", out, "--out", file]) == 0
    packed = told(capsys, "eval", file)
    assert packed["psnr"] == pytest.approx(scores["psnr"], abs=0.01)
    verified = told(capsys, "verify", file, "--run", out)
    assert verified["passed"]
    assert verified["torch"]["same"] == verified["torch"]["images"] == 24
    assert verified["torch"]["scores"]["packed"]["psnr"] == pytest.approx(packed["psnr"])
    assert main(["verify", file, "--run", out]) == 0
    assert "24 of the same image, 0 of another" in capsys.readouterr().out
    assert main(["eval", file]) == 0
    assert f"toy-noisy-blobs: {packed['psnr']:.4g} psnr on 24 test images, error " in capsys.readouterr().out
    assert main(["pack", out, "--stem", "int8", "--activation_dtype", "float16", "--out", file]) == 0
    printed = capsys.readouterr().out
    assert "images keep their image" in printed
    assert "psnr" in printed
    assert main(["verify", file, "--run", out]) == 0
    assert main(["train", "--resume", "--out", out]) == 0
    assert "test psnr " in capsys.readouterr().out


def test_verify_notices_other_weights(settings, run, tmp_path, capsys):
    other, file = str(tmp_path / "other"), str(tmp_path / "net.onebit")
    train(replace(settings, seed=1, epochs=1), other, show=False)
    assert main(["pack", str(run[0]), "--out", file]) == 0
    assert main(["verify", file, "--run", other]) == 1
    assert "parity does not hold" in capsys.readouterr().err
