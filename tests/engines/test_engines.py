"""The engines: each computes any batch of the shape that it was prepared for, also in a process of its own."""

import numpy as np
import pytest
import torch
from torch import nn

from onebit import engines
from onebit.engines import base, noise
from onebit.nn.randomize import randomize_
from onebit.runtime.parity import output_error

PACKAGES = {"torch": (), "OpenVINO": ("openvino", "onnx"), "ONNX Runtime": ("onnxruntime", "onnx")}


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 16, 3), nn.ReLU()]
    network = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 4))
    randomize_(network, (3, 8, 8))
    return network


def prepared(engine, network, image, numbers="fp32", **options):
    for package in PACKAGES[engine] + (("nncf",) if (engine, numbers) == ("OpenVINO", "int8") else ()):
        pytest.importorskip(package)
    return engines.prepare(engine, network, image, threads=1, numbers=numbers, **options)


def answer(network, image):
    with torch.no_grad():
        return network(torch.from_numpy(image)).numpy()


@pytest.mark.parametrize("engine", PACKAGES)
def test_run_and_compute(engine, network):
    one, other = noise((3, 3, 8, 8), seed=0), noise((3, 3, 8, 8), seed=1)
    ready = prepared(engine, network, one)
    for _ in range(2):  # another batch in between changes nothing
        assert output_error(answer(network, one), ready.run()) < 1e-4
        assert output_error(answer(network, other), ready.compute(other)) < 1e-4


@pytest.mark.slow  # quantization takes seconds
@pytest.mark.parametrize("engine", ["OpenVINO", "ONNX Runtime"])
def test_int8_takes_its_ranges_from_the_given_images(engine, network):
    image = noise((2, 3, 8, 8), seed=0)
    fitting = engines.Calibration(noise((8, 3, 8, 8), seed=1))
    good = prepared(engine, network, image, "int8", calibration=fitting)
    dark = prepared(engine, network, image, "int8", calibration=engines.Calibration(fitting.images_NCHW / 100))
    want = answer(network, image)
    assert output_error(want, good.run()) < 0.1 < output_error(want, dark.run())
    single = prepared(engine, network, image[:1], "int8", calibration=fitting)
    np.testing.assert_allclose(single.run(), good.run()[:1], rtol=1e-3, atol=1e-3)


@pytest.mark.slow  # starts processes that import torch
@pytest.mark.parametrize("engine", PACKAGES)
def test_cold_starts(engine, network, monkeypatch):
    monkeypatch.setattr(base, "FRESH_PROCESSES", 1)
    found = base.cold(prepared(engine, network, noise((1, 3, 8, 8), seed=0)).fresh, threads=1)
    assert found["count"] == 1
    assert 0 < found["answer_seconds"] < found["seconds"]
    assert found["file_bytes"] > 4 * sum(p.numel() for p in network.parameters())
