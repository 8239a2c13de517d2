"""The benchmark of whole networks: what it does around its engines; and the graphs that it gives them."""

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from onebit.engines.base import FRESH_PROCESSES
from onebit.runtime.cold import Steps
from onebit.runtime.engine import usable_isas

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
OTHERS = ("openvino", "nncf", "onnx", "onnxruntime")


@pytest.fixture
def networks(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import networks

    small = networks.Plain(lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten()), (3, 5, 5))
    monkeypatch.setitem(networks.NETWORKS, "small", small)
    return networks


@pytest.mark.slow
def test_engines_are_imported_only_when_needed():
    code = (
        f"import sys; sys.path.insert(0, {str(BENCHMARKS)!r}); import networks; print(set(sys.modules) & {{*{OTHERS}}})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_a_missing_package_is_a_row(networks, monkeypatch):
    monkeypatch.setitem(sys.modules, "openvino", None)  # what Python takes for "cannot be imported"
    monkeypatch.delitem(sys.modules, "onebit.engines.openvino", raising=False)
    (line,) = networks.measure([networks.Row("OpenVINO", "small", "fp32")], 1, 1, 0.0)
    assert line["skipped"] == 'openvino is not installed: pip install "onebit[bench]"'


def test_answers_are_checked_before_the_timing(networks, monkeypatch):
    def prepare(network, image_BCHW, *, threads, numbers, error):
        with torch.no_grad():
            answer = network(torch.from_numpy(image_BCHW)).numpy()
        return SimpleNamespace(run=lambda: answer * (1 + error), runs_as="torch", facts={"threads seen": threads})

    monkeypatch.setitem(sys.modules, "onebit.engines.fake", SimpleNamespace(prepare=prepare))
    rows = [networks.Row("fake", "small", "fp32", {"error": error}) for error in (1e-5, 1e-2, float("nan"))]
    right, wrong, nothing = networks.measure(rows, 2, 4, 0.01)
    assert right["engine"] == "fake, error 1e-05"
    assert (right["threads"], right["threads seen"], right["batch"]) == (2, 2, 4)
    assert 0 < right["fastest_ms"] <= right["median_ms"] <= right["p90_ms"]
    assert right["count"] >= 11
    assert right["difference"] == pytest.approx(1e-5, rel=0.1)
    assert wrong["skipped"].startswith("wrong: its answer differs from torch's by 0.01")
    assert "median_ms" not in wrong
    assert "skipped" in nothing


def test_details_are_a_profile_and_cold_starts(networks, monkeypatch):
    def prepare(network, image_BCHW, *, threads, numbers, answer="pass"):
        with torch.no_grad():
            logits = network(torch.from_numpy(image_BCHW)).numpy()

        def save(folder):
            (folder / "file").write_bytes(b"12345")
            return folder / "file"

        steps = Steps("import sys", "assert open(path).read() == '12345'", answer)
        rows = [{"name": "layer", "ms": 1.0 / 3}]
        return Prepared(lambda: logits, lambda x: logits, "torch", {}, Fresh(save, steps), lambda: rows)

    from onebit.engines import Fresh, Prepared

    monkeypatch.setitem(sys.modules, "onebit.engines.fake", SimpleNamespace(prepare=prepare))
    rows = [networks.Row("fake", "small", "fp32"), networks.Row("fake", "small", "fp32", {"answer": "1 / 0"})]
    plain, _ = networks.measure(rows, 1, 1, 0.01)
    assert not {"profile", "cold"} & set(plain)
    right, wrong = networks.measure(rows, 1, 1, 0.01, details=True)
    assert right["profile"] == [{"name": "layer", "ms": 0.33333}]
    assert (right["cold"]["count"], right["cold"]["file_bytes"]) == (FRESH_PROCESSES, 5)
    assert right["cold"]["seconds"] > 0
    assert wrong["cold"] == {"skipped": "the fresh process failed: ZeroDivisionError: division by zero"}


def test_limits_are_lines_too(networks, monkeypatch):
    monkeypatch.setattr(networks, "SHAPES", ((32, 8),))
    lines = list(networks.measure_limits_of([1, 2]))
    assert len(lines) == 3 * (len(usable_isas()) - 1), "plain C++ has no limits"
    for line in lines:
        assert line["what"] in ("limits", "kernel")
        assert line["binary" if line["what"] == "limits" else "bit_macs"] > 0


def test_lines_of_another_program(networks, tmp_path):
    file = tmp_path / "lce.jsonl"
    line = dict.fromkeys(networks.REQUIRED, 1)
    file.write_text(json.dumps(line) + "\n")
    assert networks.lines_of(file) == [{**line, "what": "network", "elsewhere": True}]
    for text, message in (
        ("", "needs JSON lines"),
        ('{"engine": 1}', "needs JSON lines with batch, count"),
        ("x", "--also"),
    ):
        file.write_text(text)
        with pytest.raises(SystemExit, match=message):
            networks.lines_of(file)
    with pytest.raises(SystemExit, match=r"missing\.jsonl"):
        networks.lines_of(tmp_path / "missing.jsonl")


def test_rows_are_chosen_by_words(networks):
    assert {row.engine for row in networks.chosen(["torch"])} == {"torch"}
    assert len(networks.chosen([])) == len(networks.ROWS)
    with pytest.raises(SystemExit, match="matches no row"):
        networks.chosen(["abacus"])


def test_rows_name_networks_that_exist(networks):
    assert {row.network for row in networks.ROWS} <= set(networks.NETWORKS)
    assert {row.numbers for row in networks.ROWS} <= set(networks.LIMITS)


def test_onebit_computes_what_torch_computes(networks):
    _, difference = networks.prepare(networks.Row("onebit", "four convolutions", "1-bit"), 2, 2)
    assert difference < 1e-5


def test_openvino_runs_the_binary_convolutions_or_refuses(networks):
    pytest.importorskip("openvino")
    prepared, difference = networks.prepare(networks.Row("OpenVINO", "four convolutions", "1-bit"), 1, 1)
    assert prepared.runs_as.startswith("4 BinaryConvolution")
    assert difference < 1e-5
    with pytest.raises(networks.Refused, match="runs something else than asked: 1 Convolution"):
        networks.prepare(networks.Row("OpenVINO", "small", "1-bit"), 1, 1)


def test_float_networks_are_as_large_as_published():
    """torchvision's counts; the papers say 11.7, 3.4 and 2.5 million."""
    from float_networks import mobilenet_v2, mobilenet_v3_small, resnet18

    counts = {resnet18: 11_689_512, mobilenet_v2: 3_504_872, mobilenet_v3_small: 2_542_856}
    for factory, count in counts.items():
        with torch.device("meta"):
            network = factory()
        assert sum(p.numel() for p in network.parameters()) == count
        assert network(torch.zeros(2, 3, 224, 224, device="meta")).shape == (2, 1000)


def test_shapes_of_mobilenet_v3_small():
    """Table 2 of arXiv:1905.02244: the size of the map behind every layer that halves it, and the gates' widths."""
    from float_networks import SqueezeExcite, mobilenet_v3_small

    with torch.device("meta"):
        network = mobilenet_v3_small()
    sides, x = [], torch.zeros(1, 3, 224, 224, device="meta")
    for layer in network[:-5]:
        x = layer(x)
        sides.append(x.shape[-1])
    assert sorted({*sides}, reverse=True) == [112, 56, 28, 14, 7]
    gates = [m.gate[1] for m in network.modules() if isinstance(m, SqueezeExcite)]
    widths = [(16, 8), (96, 24), (240, 64), (240, 64), (120, 32), (144, 40), (288, 72), (576, 144), (576, 144)]
    assert [(gate.in_channels, gate.out_channels) for gate in gates] == widths


def test_a_network_may_have_a_limit_of_its_own(networks):
    assert networks.limit_of(networks.Row("OpenVINO", "MobileNetV3-Small", "int8")) == 0.7
    assert networks.limit_of(networks.Row("OpenVINO", "MobileNetV3-Small", "fp32")) == networks.LIMITS["fp32"]
    assert networks.limit_of(networks.Row("OpenVINO", "ResNet-18", "int8")) == networks.LIMITS["int8"]


def test_openvino_may_run_depthwise_layers_in_fp32_and_no_others():
    pytest.importorskip("openvino")
    from onebit.engines.openvino import unlike

    convolution = "Convolution"
    plan = {(convolution, "jit_avx2_1x1_I8"): 34, (convolution, "brgconv_avx2_dw_f32"): 17}
    assert not unlike("int8", plan)
    assert unlike("int8", {**plan, (convolution, "brgconv_avx2_f32"): 1}) == ["brgconv_avx2_f32"]
    assert unlike("bf16", plan) == ["jit_avx2_1x1_I8", "brgconv_avx2_dw_f32"]
    assert not unlike("1-bit", {("BinaryConvolution", "jit_avx2"): 16, (convolution, "brgconv_avx2_f32"): 4})
