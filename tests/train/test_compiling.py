"""The decision to compile: by the amount of work, so that it is the same for every run of the same settings."""

from dataclasses import replace

import pytest
import torch

from onebit.models import MODELS
from onebit.train import compiling, train
from onebit.train.compiling import compile_pays, operations_per_example

EXAMPLE = (torch.zeros(1, 3, 32, 32),)


def test_operations_of_a_known_network():
    network = torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 3, padding=1, bias=False), torch.nn.Flatten(), torch.nn.Linear(128, 10)
    )
    assert operations_per_example(network, (torch.zeros(1, 3, 4, 4),)) == 2 * (8 * 27 * 16 + 128 * 10)
    assert network.training


def test_binary_layers_count_like_their_float_counterparts():
    counts = {
        scheme: operations_per_example(MODELS["vgg-small"](width=0.1, scheme=scheme), EXAMPLE)
        for scheme in ("float", "bireal")
    }
    assert counts["float"] == counts["bireal"]


def test_only_long_runs_compile(monkeypatch):
    network = MODELS["resnet20"](scheme="trained-binarization")
    monkeypatch.setattr(compiling, "has_compiler", lambda: True)
    assert not compile_pays(network, EXAMPLE, examples=1000)
    assert compile_pays(network, EXAMPLE, examples=200 * 50_000)
    monkeypatch.setattr(compiling, "has_compiler", lambda: False)
    assert not compile_pays(network, EXAMPLE, examples=200 * 50_000)


def test_asking_for_it_without_a_compiler(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr("onebit.train.loop.has_compiler", lambda: False)
    with pytest.raises(ValueError, match="compile true needs a C\\+\\+ compiler"):
        train(replace(tiny, compile=True), tmp_path, show=False)
