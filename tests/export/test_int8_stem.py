"""An int8 stem: chosen when packing, close to the float stem, everything behind it as it was, mistakes by name."""

import json

import numpy as np
import pytest
import torch
from torch import nn

import onebit
from onebit.cli.main import main
from onebit.export.int8 import stem_alone, stem_deviation, with_int8_stem
from onebit.format.file import load_graph
from onebit.models import MODELS
from onebit.nn import BinaryConv2d
from onebit.nn.randomize import randomize_
from onebit.runtime.engine import Engine, usable_isas
from onebit.runtime.parity import check_kernels
from onebit.runtime.reference import ReferenceEngine

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def pixels(count, side, channels=3):
    """Smooth random pixels, as images are."""
    rng = np.random.default_rng(3)
    coarse = rng.integers(0, 256, (count, side // 4 + 2, side // 4 + 2, channels))
    fine = np.repeat(np.repeat(coarse, 4, axis=1), 4, axis=2)[:, :side, :side]
    return np.clip(fine + rng.integers(-20, 21, fine.shape), 0, 255).astype(np.uint8)


def packed_pair(name, side, **options):
    torch.manual_seed(0)
    model = MODELS[name](width=0.25, num_classes=7, input_size=side, **options)
    randomize_(model, (3, side, side))
    return model, onebit.pack(model, (3, side, side), mean=MEAN, std=STD, stem="int8")


@pytest.mark.parametrize(
    ("name", "side", "options"),
    [
        ("resnet18", 64, {"stem": "imagenet"}),
        ("resnet18", 64, {"stem": "light"}),
        ("vgg-small", 32, {}),
        ("alexnet", 63, {}),
        ("ftbnn-18", 64, {}),
        ("rb-net-18-wide", 64, {}),
    ],
)
def test_zoo_with_an_int8_stem(name, side, options):
    _, packed = packed_pair(name, side, **options)
    stem, *rest = packed.graph.nodes
    before, *others = packed.float_stem.nodes
    assert (stem.op, before.op, stem.epilogue, stem.attrs) == ("int8_conv2d", "conv2d", before.epilogue, before.attrs)
    assert rest == others
    assert packed.report.rows[0].runs_as == "int8"
    assert "int8" in str(packed.report)
    images = pixels(2, side)
    deviation = stem_deviation(packed.float_stem, packed.graph, images)
    assert deviation["rms"] < 0.02
    for row in check_kernels(packed.graph, images[:1]):
        assert row["passed"], row
    want = ReferenceEngine(packed.graph).run(images)
    for isa in usable_isas():
        np.testing.assert_allclose(Engine(packed.graph, isa=isa).run(images), want, rtol=0, atol=1e-3 * np.ptp(want))


def real_stem(channels=3, groups=1, kernel=3, **options):
    torch.manual_seed(1)

    conv = nn.Conv2d(channels, 12, kernel, 2, kernel // 2, groups=groups, **options)
    return nn.Sequential(conv, nn.BatchNorm2d(12), BinaryConv2d(12, 5, 3)).eval()


@pytest.mark.parametrize(("channels", "groups"), [(1, 1), (2, 2), (3, 3), (4, 2), (4, 1)])
@pytest.mark.parametrize("images", [0, 4])
def test_the_stem_computes_what_its_weights_say(channels, groups, images):
    """The int8 stem convolves the normalized, zero-padded image with the rounded weights, borders included."""
    model = real_stem(channels, groups, bias=True)
    mean, std = MEAN[:1] * 2 + MEAN[1:], STD[:1] * 2 + STD[1:]
    calibration = pixels(images, 15, channels) if images else None
    packed = onebit.pack(
        model, (channels, 15, 15), mean=mean[:channels], std=std[:channels], stem="int8", calibration=calibration
    )
    graph = packed.graph
    stem = graph.nodes[0]
    codes_OKLC, scale_O = (graph.tensors[stem.tensors[role]] for role in ("weight", "scale"))
    channel_std = np.repeat(np.reshape(std[:channels], (groups, -1)), 12 // groups, axis=0)[:, None, None, :]
    weight_OKLC = codes_OKLC * scale_O[:, None, None, None] * 255 * channel_std
    real_OKLC = model[0].weight.detach().permute(0, 2, 3, 1).numpy()
    assert np.abs(weight_OKLC - real_OKLC).max() < 0.6 * np.abs(real_OKLC).max() / 127 + (0.05 if images else 0.02)
    x = pixels(2, 15, channels)
    normal = torch.from_numpy((x / 255 - mean[:channels]) / std[:channels]).permute(0, 3, 1, 2)
    weight = torch.from_numpy(weight_OKLC).permute(0, 3, 1, 2)
    want = nn.functional.conv2d(normal, weight, None, 2, 1, 1, groups).permute(0, 2, 3, 1).numpy()
    got = stem_alone(graph).run(x)
    assert np.abs(got - want).max() <= (3.0 * scale_O).max()  # the zeros are rounded to 1/256, their sum to 1


def test_calibration_and_clipping_lose_less_than_plain_rounding():
    model = real_stem(kernel=7)
    with torch.no_grad():
        model[0].weight[:, :, 0, 0] *= 8  # outliers
    images = pixels(6, 32)
    graph = onebit.pack(model, (3, 32, 32), mean=MEAN, std=STD).graph
    plain, calibrated = with_int8_stem(graph), with_int8_stem(graph, images)
    error = [stem_deviation(graph, g, images)["rms"] for g in (plain, calibrated)]
    assert error[1] <= error[0]
    assert error[0] < 0.05


def test_a_zero_channel_stays_zero():
    model = real_stem()
    with torch.no_grad():
        model[0].weight[3] = 0
    packed = onebit.pack(model, (3, 9, 9), stem="int8")
    assert not packed.graph.tensors[packed.graph.nodes[0].tensors["weight"]][3].any()
    ReferenceEngine(packed.graph).run(pixels(1, 9))


def test_sizes_count_int8_bytes(tmp_path):
    model = real_stem()
    real, int8 = (onebit.pack(model, (3, 9, 9), stem=stem) for stem in ("float", "int8"))
    size = int8.save(tmp_path / "a.onebit")
    assert size == (tmp_path / "a.onebit").stat().st_size == int8.report.file_bytes
    saved = real.report.rows[0].bytes - int8.report.rows[0].bytes
    assert saved == 3 * 12 * 27 - 4 * (3 + 12)
    model = onebit.load(tmp_path / "a.onebit")
    assert model(pixels(2, 9)).shape == (2, 5, 3, 3)


class Twice(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 4, 1), nn.Conv2d(3, 4, 1)

    def forward(self, x):
        return self.a(x) + self.b(x)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (nn.Sequential(BinaryConv2d(3, 4, 1)), r"has the op elementwise: use stem='float'"),
        (nn.Sequential(BinaryConv2d(3, 4, 1, input_binarizer=None)), "has binary weights"),
        (nn.Sequential(nn.Flatten(), nn.Linear(243, 4)), "0 .* has the op flatten"),
        (nn.Sequential(nn.MaxPool2d(3), nn.Conv2d(3, 4, 1)), "has the op max_pool2d"),
        (Twice(), "here b, a read it"),
        (
            nn.Sequential(nn.Conv2d(3, 4, 17, padding=8)),
            "too large for stem='int8'",
        ),
    ],
)
def test_networks_without_an_int8_stem(model, message):
    onebit.pack(model, (3, 9, 9))
    with pytest.raises(onebit.PackError, match=message):
        onebit.pack(model, (3, 9, 9), stem="int8")


def test_an_rpc_stem_has_no_int8_form():
    model = MODELS["rb-net-18-rpc-stem"](width=0.125, input_size=64)
    with pytest.raises(onebit.PackError, match=r"stem.0 \(ReshapedPointwiseConv2d\) has the op rpc2d"):
        onebit.pack(model, (3, 64, 64), stem="int8")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"stem": "int4"}, "stem must be 'float' or 'int8', got 'int4'"),
        ({"calibration": np.zeros((1, 9, 9, 3), np.uint8)}, "calibration is used by stem='int8'"),
        ({"stem": "int8", "calibration": np.zeros((1, 9, 9, 3), np.float32)}, "calibration must be raw pixels, uint8"),
        (
            {"stem": "int8", "calibration": np.zeros((9, 9, 3), np.uint8)},
            r"\(H, W, C\), got uint8 \[9, 9, 3\]",
        ),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        onebit.pack(real_stem(), (3, 9, 9), **options)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    out = str(tmp_path_factory.mktemp("runs") / "digits")
    assert main(["train", "vgg-small-digits", "--epochs", "1", "--model_options.width", "0.0625", "--out", out]) == 0
    return out


def answer(capsys, *argv):
    capsys.readouterr()
    assert main([*argv, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_the_command_line_prints_the_loss_and_verifies(run, tmp_path, capsys):
    file = str(tmp_path / "net.onebit")
    result = answer(capsys, "pack", run, "--stem", "int8", "--out", file, "--strict")
    row = result["stem"]
    assert (row["source"], row["images"]) == ("test images", 360)
    before, after = (row["scores"][name]["accuracy"] for name in ("float", "int8"))
    assert abs(before - after) <= 0.03
    assert row["same"] >= 240  # of a network that has hardly learned
    assert 0 < row["rms"] < 0.02
    assert load_graph(file).input.type == "uint8"
    assert main(["pack", run, "--stem", "int8", "--out", file]) == 0
    loss = 100 * (before - after)
    assert f"({abs(loss):.2f} points {'lost' if loss >= 0 else 'won'})" in capsys.readouterr().out
    verified = answer(capsys, "verify", file, "--run", run)
    assert verified["passed"]
    assert verified["torch"]["scores"]["packed"]["accuracy"] == after
    assert verified["torch"]["float_stem_same"] >= 240
    assert verified["torch"]["output_error"] < 1e-4
    assert main(["verify", file, "--run", run, "--limit", "50"]) == 0
    assert "with its float stem" in capsys.readouterr().out
    assert "packed" in answer(capsys, "bench", file, "--seconds", "0.1")
    assert main(["inspect", file]) == 0
    assert "uint8" in capsys.readouterr().out


def test_without_data_the_deviation_on_noise_is_printed(run, tmp_path, capsys, monkeypatch):
    from onebit.data import DataError
    from onebit.train import deploy

    def missing(*_, **__):
        raise DataError("no data here")

    monkeypatch.setattr(deploy, "images_of_run", missing)
    file = str(tmp_path / "net.onebit")
    assert main(["pack", run, "--stem", "int8", "--out", file]) == 0
    printed = capsys.readouterr().out
    assert "at most, on noise" in printed
    assert "not measured: no data here" in printed
    assert main(["pack", run, "--stem", "int8", "--out", file, "--data_dir", str(tmp_path)]) == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--stem", "int4"], "--stem"),
        (["--limit", "5"], "--limit is for --stem int8 and --activation_dtype float16"),
        (["--stem", "int8", "--limit", "0"], "--limit must be at least 1"),
    ],
)
def test_wrong_usage(options, message, capsys):
    assert main(["pack", "somewhere", *options]) == 2
    assert message in capsys.readouterr().err


def test_verify_sees_a_stem_of_other_weights(run, tmp_path, capsys):
    """A file whose int8 stem is right in itself, but whose norms are not the run's, fails all the same."""
    from dataclasses import replace

    from onebit.format.file import save_graph

    file = str(tmp_path / "net.onebit")
    assert main(["pack", run, "--stem", "int8", "--out", file]) == 0
    graph = load_graph(file)
    scale = next(step["scale"] for step in graph.nodes[-1].epilogue if step["step"] == "affine")
    changed = {**graph.tensors, scale: graph.tensors[scale] * np.float32(1.01)}
    save_graph(replace(graph, tensors=changed), file)
    capsys.readouterr()
    assert main(["verify", file, "--run", run]) == 1
    assert "parity does not hold" in capsys.readouterr().err
