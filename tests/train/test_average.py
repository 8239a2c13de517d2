"""The average of the weights: its formula, that it is what is measured and kept, and that it resumes exactly."""

import copy
import json
from dataclasses import replace

import pytest
import torch
from marks import slow_except
from torch import nn

from onebit.data import DATASETS
from onebit.models import MODELS
from onebit.nn.binarizers import SMALLEST_SCALE
from onebit.train import CheckpointError, load_trained, task_of, train
from onebit.train.average import Average
from onebit.train.checkpoint import load_checkpoint
from onebit.train.deploy import pack_trained
from onebit.train.step import Step


@pytest.fixture(scope="module")
def averaged(tiny):
    return replace(tiny, ema=0.95, eval_every=2)


def snapshot(network):
    return {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}


@pytest.fixture(scope="module")
def whole(averaged, tmp_path_factory):
    """The folder of an uninterrupted run, the weights that it started from and those after each step."""
    out, course = tmp_path_factory.mktemp("runs") / "whole", []
    original = Step.__call__

    def call(self, *arguments):
        if not course:
            course.append(snapshot(self.state.network))
        lr = original(self, *arguments)
        course.append(snapshot(self.state.network))
        return lr

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Step, "__call__", call)
        train(averaged, out, show=False)
    return out, course


def by_formula(course, decay):
    """The average after the last of the weights in ``course``, in double precision."""
    mean = {name: tensor.double() for name, tensor in course[0].items()}
    for t, weights in enumerate(course[1:]):
        d = min(decay, (1 + t) / (10 + t))
        mean = {name: d * mean[name] + (1 - d) * tensor.double() for name, tensor in weights.items()}
    return mean


def test_the_trained_network_is_the_average_by_formula(whole):
    out, course = whole
    expected, found = by_formula(course, 0.95), load_trained(out)[0].state_dict()
    for name, tensor in found.items():
        if tensor.is_floating_point():
            torch.testing.assert_close(tensor.double(), expected[name], rtol=1e-4, atol=1e-6)
            assert not torch.equal(tensor, course[-1][name]), name
        else:
            assert torch.equal(tensor, course[-1][name])  # batches are counted, not averaged


def test_the_average_is_what_is_measured_and_packed(whole):
    out, _ = whole
    record = json.loads((out / "record.json").read_text())
    model, meta = load_trained(out)
    data = DATASETS["digits"]()
    scores = task_of(meta).evaluate(model, data, meta)
    assert scores.values["accuracy"] == record["result"]["accuracy"] == record["epochs"][-1]["test_accuracy"]
    assert scores.values["loss"] == record["result"]["loss"]
    of_checkpoint, _ = load_trained(out / "checkpoints" / "last.ckpt")
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), of_checkpoint.parameters(), strict=True))
    pytest.importorskip("onebit._core", reason="the C++ core is not built")
    from onebit.runtime.model import Model

    packed = task_of(meta).evaluate_packed(Model(pack_trained(out).graph), data, meta)
    assert packed.values["accuracy"] == pytest.approx(scores.values["accuracy"], abs=2.5 / 360)


def test_the_best_epoch_keeps_its_average(averaged, tmp_path):
    result = train(replace(averaged, keep="best", eval_every=1, lr=0.02), tmp_path, show=False)
    best = load_checkpoint(tmp_path / "checkpoints" / "best.ckpt")
    assert best["step"] == 11 * result.best_epoch
    kept = load_trained(tmp_path)[0].state_dict()
    assert all(torch.equal(tensor, best["average"][name]) for name, tensor in kept.items())
    assert not torch.equal(best["average"]["classifier.weight"], best["network"]["classifier.weight"])


@pytest.mark.parametrize("step", slow_except([0, 10, 16], 16))
def test_it_resumes_exactly(averaged, whole, interrupted, tmp_path, step):
    interrupted(averaged, tmp_path, step)
    train(averaged, tmp_path, resume=True, show=False)
    one, other = (load_checkpoint(out / "checkpoints" / "last.ckpt") for out in (whole[0], tmp_path))
    for part in ("network", "average"):
        assert all(torch.equal(tensor, other[part][name]) for name, tensor in one[part].items())
    assert (whole[0] / "model.safetensors").read_bytes() == (tmp_path / "model.safetensors").read_bytes()


@pytest.mark.parametrize("step", slow_except([11, 16, 21, 24], 24))
def test_each_stage_has_an_average_of_its_own(averaged, interrupted, tmp_path, monkeypatch, step):
    settings = replace(averaged, epochs=3, two_step=0.667, latent_decay=1e-2)  # the second stage begins at step 22
    seen = {}
    original = Step.__call__

    def call(self, *arguments):
        average = self.state.average.network
        layer = next(module for module in average.modules() if getattr(module, "weight_binarizer", None) is not None)
        seen[self.state.step] = (snapshot(self.state.network), snapshot(average), layer.real_weights)
        return original(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(Step, "__call__", call)
        train(settings, tmp_path / "whole", show=False)
    assert [real for _, _, real in seen.values()] == [True] * 22 + [False] * 11
    for start in (0, 22):  # scales that start anew included
        assert all(torch.equal(tensor, seen[start][0][name]) for name, tensor in seen[start][1].items())
    interrupted(settings, tmp_path / "stopped", step)
    train(settings, tmp_path / "stopped", resume=True, show=False)
    one, other = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("whole", "stopped"))
    assert one == other


def test_a_run_made_before_there_were_averages_goes_on(tiny, interrupted, tmp_path):
    interrupted(tiny, tmp_path / "run", 14)
    train(tiny, tmp_path / "whole", show=False)
    path, record = tmp_path / "run" / "checkpoints" / "last.ckpt", tmp_path / "run" / "record.json"
    state, text = torch.load(path, weights_only=True), json.loads(record.read_text())
    del state["average"]
    for name in ("ema", "mixup", "cutmix"):
        del state["settings"][name], text["settings"][name]
    torch.save(state | {"format": 3}, path)
    record.write_text(json.dumps(text))
    assert load_trained(path)[1]["model"] == "vgg-small"
    train(tiny, tmp_path / "run", resume=True, show=False)
    one, other = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("whole", "run"))
    assert one == other


@pytest.mark.parametrize(("ema", "average"), [(0.0, {}), (0.9, None), (0.9, {"x": torch.zeros(1)})])
def test_an_average_that_does_not_fit_is_refused(tiny, interrupted, tmp_path, ema, average):
    settings = replace(tiny, ema=ema)
    interrupted(settings, tmp_path)
    path = tmp_path / "checkpoints" / "last.ckpt"
    torch.save(torch.load(path, weights_only=True) | {"average": average}, path)
    with pytest.raises(CheckpointError, match=r"last\.ckpt' does not fit its settings: field 'average'"):
        train(settings, tmp_path, resume=True, show=False)


@pytest.mark.parametrize("scheme", ["trained-binarization", "rbcn", "rb-net"])
def test_learned_scales_stay_positive(scheme):
    network = MODELS["resnet20"](scheme=scheme, width=0.5, input_size=8)
    average = Average(network, 0.9)
    names = ("alpha", "beta", "rectifier")
    scales = [[p for n, p in net.named_parameters() if n.endswith(names)] for net in (network, average.network)]
    for step in range(50):
        for scale in scales[0]:
            scale.data.fill_(SMALLEST_SCALE if step % 2 else SMALLEST_SCALE * (1 + 1e-6))
        average.update(network, step)
        assert all((scale >= SMALLEST_SCALE).all() for scale in scales[1])


def test_the_sign_is_that_of_the_average():
    """A latent weight that is -1 in every second step and +0.5 in the others is -1 on average."""
    network = MODELS["vgg-small"](width=0.0625, input_size=8, scheme="bireal")
    average = Average(network, 0.9)
    layers = [[m for m in net.modules() if hasattr(m, "weight_binarizer")] for net in (network, average.network)]
    before = copy.deepcopy(network.state_dict())
    for step in range(101):
        layers[0][0].weight.data.fill_(-1.0 if step % 2 else 0.5)
        average.update(network, step)
    signs, scale = layers[1][0].weight_binarizer(layers[1][0].weight)
    assert (signs == -1).all()
    assert (scale < 0.5).all()  # of the average, which is near -0.25
    others = [name for name in before if before[name].is_floating_point() and before[name].shape != signs.shape]
    assert all(torch.equal(average.network.state_dict()[name], before[name]) for name in others)


def test_a_constant_stays_what_it_is():
    network = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    average = Average(network, 0.999)
    for step in range(1000):
        network[1].num_batches_tracked.fill_(step)
        average.update(network, step)
    assert torch.equal(average.network[0].weight, network[0].weight)
    assert int(average.network[1].num_batches_tracked) == 999
