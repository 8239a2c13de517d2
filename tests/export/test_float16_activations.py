"""Activations of float16: chosen when packing, close to those of float32, refused where they would not do."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from marks import slow_except
from torch import nn

import onebit
from onebit.cli.main import main
from onebit.export.activations import largest, with_float16_activations, with_float32_activations
from onebit.format.file import load_graph, to_bytes
from onebit.format.graph import activation_dtype_of, validate
from onebit.models import MODELS
from onebit.nn import BinaryConv2d
from onebit.nn.randomize import randomize_
from onebit.runtime.engine import Engine
from onebit.runtime.parity import check_kernels
from onebit.runtime.reference import ReferenceEngine

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def pixels(count, side):
    return np.random.default_rng(3).integers(0, 256, (count, side, side, 3), dtype=np.uint8)


def zoo_model(name, side):
    torch.manual_seed(0)
    model = MODELS[name](width=0.25, num_classes=7, input_size=side)
    randomize_(model, (3, side, side))
    return model


def readers(graph, name):
    return {node.op for node in graph.nodes if name in node.inputs}


@pytest.mark.parametrize("stem", slow_except(["float", "int8"], "int8"))
@pytest.mark.parametrize(
    ("name", "side"),
    [("resnet18", 64), ("resnet20", 32), ("reactnet-a", 64), ("vgg-small", 32), ("ftbnn-18", 64), ("rb-net-20", 32)],
)
def test_zoo_with_float16_activations(name, side, stem):
    model = zoo_model(name, side)
    floats, halves = (
        onebit.pack(model, (3, side, side), mean=MEAN, std=STD, stem=stem, activation_dtype=dtype).graph
        for dtype in ("float32", "float16")
    )
    assert (activation_dtype_of(floats), activation_dtype_of(halves)) == ("float32", "float16")
    assert to_bytes(with_float32_activations(halves)) == to_bytes(floats)
    types = {name: value.type for name, value in validate(halves).items()}
    direct = {"conv2d", "rpc2d", "flatten", "shuffle_channels"}
    for value, was in validate(floats).items():
        kept = value in (floats.input.name, floats.output) or was.type != "float32" or readers(floats, value) & direct
        assert types[value] == (was.type if kept else "float16"), value
    for row in check_kernels(halves, pixels(1, side)):
        assert row["passed"], row
    assert Engine(halves).memory < Engine(floats).memory


def residual_model(bias=0.0):
    """A stem, two binary layers with shortcuts around them, and a classifier."""

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8))
            self.a, self.b = BinaryConv2d(8, 8, 3, padding=1), BinaryConv2d(8, 8, 3, padding=1)
            self.head = nn.Linear(8, 4)

        def forward(self, x):
            x = self.stem(x)
            x = x + self.a(x)
            x = x + self.b(x)
            return self.head(x.mean((2, 3)))

    torch.manual_seed(1)
    model = Net().eval()
    with torch.no_grad():
        model.stem[1].bias += bias
    return model


def test_what_is_stored_is_rounded_and_nothing_else():
    graph = onebit.pack(residual_model(), (3, 9, 9), activation_dtype="float16").graph
    images = pixels(1, 9)
    engine = ReferenceEngine(graph)
    engine.run(images)
    floats = ReferenceEngine(with_float32_activations(graph))
    floats.run(images)
    first = next(step["output"] for step in graph.nodes[0].epilogue if step["step"] == "store")
    assert np.array_equal(engine.values()[first], floats.values()[first].astype(np.float16))
    bits = next(step["output"] for step in graph.nodes[0].epilogue if step["step"] == "binarize")
    assert np.array_equal(engine.values()[bits], floats.values()[bits])


def test_numbers_that_are_too_large_are_refused():
    model = residual_model(bias=20_000.0)
    assert activation_dtype_of(onebit.pack(model, (3, 9, 9), activation_dtype="float16").graph) == "float16"
    model = residual_model(bias=40_000.0)
    with pytest.raises(onebit.PackError, match=r"after stem\.0 they reach 4\d{4}\.?\d* \(allowed: 32752.*'float32'"):
        onebit.pack(model, (3, 9, 9), activation_dtype="float16")
    onebit.pack(model, (3, 9, 9))


def test_the_range_is_that_of_the_calibration_images():
    model = residual_model()
    with torch.no_grad():
        model.stem[0].weight *= 4e4  # large numbers on bright images alone
        model.stem[0].bias *= 0
    dark = np.zeros((2, 9, 9, 3), np.uint8)
    onebit.pack(model, (3, 9, 9), activation_dtype="float16", calibration=dark)
    with pytest.raises(onebit.PackError, match="activation_dtype='float16' holds numbers up to 65504"):
        onebit.pack(model, (3, 9, 9), activation_dtype="float16", calibration=pixels(2, 9))
    with pytest.raises(onebit.PackError, match="activation_dtype='float16' holds numbers up to 65504"):
        onebit.pack(model, (3, 9, 9), activation_dtype="float16")


def test_infinity_is_refused():
    graph = onebit.pack(residual_model(), (3, 9, 9)).graph
    name = next(step["scale"] for step in graph.nodes[0].epilogue if step["step"] == "affine")
    weight = graph.nodes[0].tensors["weight"]
    tensors = {
        **graph.tensors,
        name: np.full_like(graph.tensors[name], 3e38),
        weight: 1e3 * graph.tensors[weight],
    }
    graph = replace(graph, tensors=tensors)
    with np.errstate(all="ignore"), pytest.raises(onebit.PackError, match=r"they reach (inf|nan)"):
        with_float16_activations(graph, pixels(1, 9))
    assert not np.isfinite(max(largest(graph, pixels(1, 9)).values()))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"activation_dtype": "float64"}, "activation_dtype must be 'float32' or 'float16', got 'float64'"),
        (
            {"calibration": pixels(1, 9)},
            "calibration is used by stem='int8' and activation_dtype='float16', but neither",
        ),
        ({"activation_dtype": "float16", "calibration": pixels(1, 8)}, r"calibration must be raw pixels, uint8"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        onebit.pack(residual_model(), (3, 9, 9), **options)


OPTIONS = ("--model", "resnet20", "--model_options.width", "0.25", "--epochs", "1")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    out = str(tmp_path_factory.mktemp("runs") / "digits")
    assert main(["train", "vgg-small-digits", *OPTIONS, "--out", out]) == 0
    return out


def answer(capsys, *argv):
    capsys.readouterr()
    assert main([*argv, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.mark.slow
@pytest.mark.parametrize("stem", ["float", "int8"])
def test_the_command_line_prints_the_loss_and_verifies(run, stem, tmp_path, capsys):
    file = str(tmp_path / "net.onebit")
    options = ["pack", run, "--activation_dtype", "float16", "--stem", stem, "--out", file, "--limit", "200"]
    result = answer(capsys, *options)
    row = result["activations"]
    assert (row["source"], row["images"], row["refused"]) == ("test images", 200, "")
    before, after = (row["scores"][name]["accuracy"] for name in ("float32", "float16"))
    assert abs(before - after) <= 1 / 200
    assert row["same"] >= 195
    assert 0 < row["output_error"] < 0.02
    assert 0 < row["largest"] < 1000
    assert (result["stem"] is None) == (stem == "float")
    graph = load_graph(file)
    assert activation_dtype_of(graph) == "float16"
    assert (graph.input.type == "uint8") == (stem == "int8")
    assert main(options) == 0
    assert "float16 activations" in capsys.readouterr().out
    verified = answer(capsys, "verify", file, "--run", run, "--limit", "200")
    assert verified["passed"]
    assert verified["torch"]["output_error"] < 1e-4
    assert verified["torch"]["scores"]["float16"]["accuracy"] == after
    assert verified["torch"]["float16_same"] == row["same"]
    assert main(["verify", file, "--run", run, "--limit", "50"]) == 0
    assert "with its float16 activations" in capsys.readouterr().out
    assert answer(capsys, "inspect", file)["activation_dtype"] == "float16"
    assert main(["inspect", file]) == 0
    assert re.search(r"activations +float16", capsys.readouterr().out)


def test_lost_images_are_counted_and_refused(run, tmp_path, capsys, monkeypatch):
    from onebit.train import deploy

    outputs = deploy._packed_outputs
    worse = 0

    def worsened(graph, images):
        found = outputs(graph, images)
        if activation_dtype_of(graph) == "float16":
            right = np.flatnonzero(found.argmax(1) == labels)[: max(worse, 0)]
            found[right, (labels[right] + 1) % 10] = 1e9
            wrong = np.flatnonzero(found.argmax(1) != labels)[: max(-worse, 0)]
            found[wrong, labels[wrong]] = 1e9
        return found

    _, labels = deploy.images_of_run(run, None, 100)
    monkeypatch.setattr(deploy, "_packed_outputs", worsened)
    file = tmp_path / "net.onebit"
    options = ["pack", run, "--activation_dtype", "float16", "--out", str(file), "--limit", "100"]
    worse = 1
    assert main(options) == 0
    assert "(1 images lost, allowed to be lost: 1)" in capsys.readouterr().out
    worse = -3
    assert main(options) == 0
    assert "(3 images won, allowed to be lost: 1)" in capsys.readouterr().out
    file.unlink()
    worse = 2
    assert main(options) == 1
    assert "2 images lost, allowed to be lost: 1" in capsys.readouterr().err
    assert not file.exists()


def test_infinite_numbers_are_refused(run, tmp_path, capsys, monkeypatch):
    from onebit.train import deploy

    monkeypatch.setattr(deploy, "largest", lambda *_: {"v1": float("inf")})
    assert (
        main(["pack", run, "--activation_dtype", "float16", "--out", str(tmp_path / "net.onebit"), "--limit", "20"])
        == 1
    )
    assert "numbers pass 65504, the largest float16" in capsys.readouterr().err


def test_without_data_the_difference_on_noise_is_printed(run, tmp_path, capsys, monkeypatch):
    from onebit.data import DataError
    from onebit.train import deploy

    def missing(*_, **__):
        raise DataError("no data here")

    monkeypatch.setattr(deploy, "images_of_run", missing)
    file = str(tmp_path / "net.onebit")
    options = ["pack", run, "--activation_dtype", "float16", "--out", file]
    row = answer(capsys, *options)["activations"]
    assert (row["source"], row["images"]) == ("noise", 16)
    assert row["same"] >= 15  # 15 with torch 2.6, 16 with 2.13: the trained weights depend on it
    assert main(options) == 0
    printed = capsys.readouterr().out
    assert f"{row['same']} of 16 images of noise keep their class" in printed
    assert "not measured: no data here" in printed


def test_wrong_usage(capsys):
    assert main(["pack", "somewhere", "--activation_dtype", "float8"]) == 2
    assert "--activation_dtype" in capsys.readouterr().err
    assert main(["pack", "somewhere", "--limit", "5"]) == 2
    assert "--limit is for --stem int8 and --activation_dtype float16" in capsys.readouterr().err
