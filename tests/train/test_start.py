"""Starting from another run's weights."""

from dataclasses import replace

import pytest
import torch

from onebit.models import MODELS
from onebit.nn import as_scheme
from onebit.train import TrainSettings, train
from onebit.train.artifact import load_trained
from onebit.train.start import start_from


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


@pytest.mark.parametrize("scheme", ["rbcn", "trained-binarization", "reactnet", "bireal"])
def test_weights_come_along_and_scales_start_from_them(real, scheme):
    _, folder = real
    network = MODELS["resnet20"](scheme=as_scheme(scheme), num_classes=10, in_channels=1, width=0.5)
    start_from(network, folder)
    theirs = load_trained(folder)[0].state_dict()
    mine = network.state_dict()
    assert all(torch.equal(mine[name], tensor) for name, tensor in theirs.items())
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
    fresh = MODELS["resnet20"](scheme=as_scheme("trained-binarization"), num_classes=10, in_channels=1, width=0.5)
    start_from(fresh, tmp_path / "first")
    assert torch.equal(fresh.blocks[0].body[0].weight_binarizer.alpha, alpha)


def test_a_run_starts_there_and_resumes_without_it(real, tmp_path):
    settings, folder = real
    binary = replace(settings, scheme="rbcn", start_from=str(folder), lr=1e-9, max_steps=1)
    train(binary, tmp_path / "run", show=False)
    theirs, mine = load_trained(folder)[0], load_trained(tmp_path / "run")[0]
    torch.testing.assert_close(mine.classifier.weight, theirs.classifier.weight, rtol=0, atol=1e-6)


def test_another_network_is_refused_by_name(real):
    _, folder = real
    for options in ({"width": 1.0}, {"width": 0.5, "downsample": "conv1x1"}):
        network = MODELS["resnet20"](scheme=as_scheme("bireal"), num_classes=10, in_channels=1, **options)
        with pytest.raises(ValueError, match=r"wants .* there has (one of shape .*|none); name a run of the same"):
            start_from(network, folder)
