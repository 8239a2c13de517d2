"""Kernels chosen by the clock: the same answers, and choices that are remembered and believed."""

import json
from pathlib import Path

import numpy as np
import pytest

import onebit
import onebit._core as _core
from onebit.runtime.engine import Engine, usable_isas
from onebit.runtime.selftest import pixel_network

GOLDEN = Path(__file__).parents[1] / "golden" / "small-v1.onebit"


def images() -> np.ndarray:
    spec = onebit.load(GOLDEN).input
    return np.random.default_rng(0).integers(0, 256, (2, spec.height, spec.width, spec.channels), np.uint8)


def kernels(model: onebit.Model) -> dict[str, str]:
    return {row["name"]: row["kernel"] for row in model.profile(images(), repeats=1) if "binary_conv" in row["kernel"]}


@pytest.mark.parametrize("isa", usable_isas())
def test_tuned_networks_answer_alike(isa):
    plain, tuned = onebit.load(GOLDEN, isa=isa), onebit.load(GOLDEN, isa=isa, tune=True)
    np.testing.assert_allclose(tuned(images()), plain(images()), rtol=1e-5, atol=1e-5)
    assert kernels(tuned).keys() == kernels(plain).keys() != set()


@pytest.mark.parametrize("isa", usable_isas())
def test_kernels_of_int8_are_tried_too(isa):
    graph, image = pixel_network(), np.random.default_rng(0).integers(0, 256, (1, 9, 11, 3), np.uint8)
    np.testing.assert_allclose(
        Engine(graph, isa=isa, tune=True).run(image), Engine(graph, isa=isa).run(image), rtol=1e-5, atol=1e-5
    )
    layers = [layer for layer in _core.tuned_kernels() if layer.startswith(f"{isa} int8_conv2d 9x11x3")]
    assert len(layers) == 1
    _core.set_tuned_kernels({layers[0]: "int8_conv_portable"})
    assert Engine(graph, isa=isa, tune=True).profile(image, repeats=1)[0]["kernel"] == "int8_conv_portable"


def test_choices_are_kept_in_a_file_and_taken_from_it(tmp_path):
    file = tmp_path / "tuned.json"
    onebit.load(GOLDEN, tune=True, tuning_cache=file)
    stored = json.loads(file.read_text())
    binary = [layer for layer in stored["layers"] if "binary_conv2d" in layer]
    assert binary
    stored["layers"] |= dict.fromkeys(binary, "binary_conv_portable")
    file.write_text(json.dumps(stored))
    assert set(kernels(onebit.load(GOLDEN, tune=True, tuning_cache=file)).values()) == {"binary_conv_portable"}


def test_choices_of_another_cpu_are_not_believed(tmp_path):
    file = tmp_path / "tuned.json"
    file.write_text(json.dumps({"cpu": "another", "kernels": [], "layers": {"a layer": "a kernel"}}))
    onebit.load(GOLDEN, tune=True, tuning_cache=file)
    stored = json.loads(file.read_text())
    assert stored["cpu"] != "another"
    assert "a layer" not in stored["layers"]


@pytest.mark.parametrize("content", [b"", b"[]", b'{"layers": {"a": 1}}', b"\xff"])
def test_another_file_is_refused_and_left_alone(tmp_path, content):
    file = tmp_path / "notes.json"
    file.write_bytes(content)
    with pytest.raises(ValueError, match=r"notes\.json is not a file of tuned kernels"):
        onebit.load(GOLDEN, tune=True, tuning_cache=file)
    assert file.read_bytes() == content


def test_the_reference_has_no_kernels_to_choose():
    with pytest.raises(ValueError, match="backend='native'"):
        onebit.load(GOLDEN, backend="reference", tune=True)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tune": "kernels.json"}, "tune must be True or False, got 'kernels.json'; .*tuning_cache"),
        ({"tuning_cache": "kernels.json"}, "set tune=True"),
    ],
)
def test_switch_and_file_are_two_options(options, message):
    with pytest.raises(ValueError, match=message):
        onebit.load(GOLDEN, **options)
