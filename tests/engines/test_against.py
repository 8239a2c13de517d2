"""The table of one network in 1 bit, int8 and float32: ``onebit bench --against``."""

import json
import sys
from dataclasses import replace

import pytest

from onebit.cli import bench
from onebit.cli.main import main
from onebit.engines import against
from onebit.format.file import load_graph, save_graph

COLD = {"seconds": 0.5, "peak_bytes": 50_000_000, "file_bytes": 1234}
TINY = ["train", "vgg-small-digits", "--epochs", "1", "--model_options.width", "0.0625", "--image_size", "8"]
ROWS = [("onebit", "1-bit"), ("torch", "fp32"), ("OpenVINO", "fp32"), ("ONNX Runtime", "fp32"), ("OpenVINO", "int8")]
ROWS += [("ONNX Runtime", "int8")]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Folders of a 1-bit run, with its packed file, and of the float run of the same recipe."""
    folder = tmp_path_factory.mktemp("runs")
    assert main([*TINY, "--out", str(folder / "binary")]) == 0
    assert main([*TINY, "--scheme", "float", "--out", str(folder / "float")]) == 0
    assert main(["pack", str(folder / "binary")]) == 0
    return folder


@pytest.fixture(autouse=True)
def _no_new_processes(monkeypatch):
    """Cold starts have tests of their own."""
    monkeypatch.delenv("ONEBIT_DEBUG", raising=False)
    monkeypatch.setattr(against, "cold", lambda fresh, threads: dict(COLD))
    monkeypatch.setattr(against, "TURN", 0.0)


def table(*argv):
    """What the verb returns, and its rows by engine and numbers."""
    result = bench.run(bench.parse([*map(str, argv), "--seconds", "0.001"]))
    assert json.loads(json.dumps(result)) == result
    return result, {(row["engine"], row["numbers"]): row for row in result["rows"]}


def accuracy(capsys, model):
    capsys.readouterr()
    assert main(["eval", str(model), "--json"]) == 0
    return json.loads(capsys.readouterr().out)["accuracy"]


def refused(capsys, *argv, code=1):
    capsys.readouterr()
    assert main(["bench", *map(str, argv)]) == code
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1, captured.err
    return captured.err


def test_accuracies_are_those_of_eval(runs, capsys):
    for package in ("openvino", "onnx", "onnxruntime"):
        pytest.importorskip(package)
    file = runs / "binary" / "net.onebit"
    result, rows = table(file, "--against", f"float={runs / 'float'}")
    assert list(rows) == ROWS[:4]
    want = {"1-bit": accuracy(capsys, file), "fp32": accuracy(capsys, runs / "float")}
    assert want["1-bit"] != want["fp32"]
    for (_, numbers), row in rows.items():
        assert row["scores"]["accuracy"] == want[numbers]
        assert row["scores"]["images"] == 360
        (latency,) = row["latency"]
        assert latency["threads"] == 1
        assert 0 < latency["fastest_ms"] <= latency["median_ms"]
        assert row["file_bytes"] == 1234
        assert row["numbers"] == "1-bit" or row["difference"] < 1e-5
    bench.show(result)
    printed = capsys.readouterr().out
    assert "360 test images of digits" in printed
    assert f"{want['fp32']:.2%}" in printed
    assert "energy is not measured" in printed or "energy per image" in printed


@pytest.mark.slow  # importing NNCF takes seconds
def test_int8_is_calibrated_on_training_images(runs, capsys):
    for package in ("nncf", "openvino", "onnx", "onnxruntime"):
        pytest.importorskip(package)
    file, run = runs / "binary" / "net.onebit", runs / "float"
    result, rows = table(file, "--against", f"int8,float={run}", "--limit", "100", "--batch", "3", "--threads", "2")
    assert list(rows) == ROWS
    assert result["calibration"] == against.CALIBRATION_IMAGES
    assert "int8: quantized after training, ranges from 256 training images" in result["notes"]
    for row in rows.values():
        assert row["scores"]["images"] == 100
        assert [each["threads"] for each in row["latency"]] == [1, 2]
    bench.show(result)
    printed = capsys.readouterr().out
    assert "1 thread: least, median" in printed
    assert "2 threads: least, median" in printed
    for engine in ("OpenVINO", "ONNX Runtime"):
        whole, int8 = rows[engine, "fp32"], rows[engine, "int8"]
        assert abs(int8["scores"]["accuracy"] - whole["scores"]["accuracy"]) <= 0.1
        assert whole["difference"] < 1e-5 < int8["difference"] < 0.2


def test_a_run_and_the_first_test_images(runs):
    """The folder of a run is packed first; --limit takes the first images."""
    from onebit.runtime.model import Model
    from onebit.train.artifact import load_trained
    from onebit.train.deploy import images_of_run, task_of

    _, rows = table(runs / "binary", "--against", f"float={runs / 'float'}", "--limit", "50")
    images, labels = images_of_run(runs / "binary", None, 50)
    _, meta = load_trained(runs / "binary")
    outputs = Model(load_graph(runs / "binary" / "net.onebit"))(images)
    scores = rows["onebit", "1-bit"]["scores"]
    assert (scores["images"], scores["accuracy"]) == (50, task_of(meta).judge(outputs, labels, meta)["accuracy"])


def test_random_weights_have_no_accuracy(runs, capsys):
    result, rows = table(runs / "binary" / "net.onebit", "--against", "float", "--limit", "10")
    assert rows["onebit", "1-bit"]["scores"]["images"] == 10
    assert rows["torch", "fp32"]["scores"] is None
    assert rows["torch", "fp32"]["latency"][0]["median_ms"] > 0
    assert result["float_run"] is None
    assert any("random weights" in note and "float=RUN" in note for note in result["notes"])
    bench.show(result)
    printed = capsys.readouterr().out
    (line,) = [line for line in printed.splitlines() if line.startswith("torch")]
    assert line.split()[:3] == ["torch", "fp32", "-"]


def test_without_the_data_set_there_are_latencies(runs, tmp_path):
    graph = load_graph(runs / "binary" / "net.onebit")
    save_graph(replace(graph, provenance={**graph.provenance, "dataset": "mnist"}), tmp_path / "net.onebit")
    result, rows = table(tmp_path / "net.onebit", "--against", "float")
    assert rows["onebit", "1-bit"]["scores"] is None
    assert any(note.startswith("accuracy is not measured: ") for note in result["notes"])


def test_an_engine_that_is_not_installed_is_told_with_the_command(runs, monkeypatch, capsys):
    for package in ("openvino", "onnx", "onnxruntime"):
        monkeypatch.setitem(sys.modules, package, None)  # what Python takes for "cannot be imported"
    for name in ("openvino", "onnxruntime", "onnx_graph"):
        monkeypatch.delitem(sys.modules, f"onebit.engines.{name}", raising=False)
    result, rows = table(runs / "binary" / "net.onebit", "--against", "float", "--limit", "10")
    assert "median_ms" in rows["torch", "fp32"]["latency"][0]
    assert rows["OpenVINO", "fp32"]["skipped"] == 'openvino is not installed: pip install "onebit[bench]"'
    bench.show(result)
    assert 'OpenVINO, fp32: not measured: openvino is not installed: pip install "onebit[bench]"' in (
        capsys.readouterr().out
    )
    line = refused(capsys, runs / "binary" / "net.onebit", "--against", "int8")
    assert 'int8 needs openvino, nncf and onnx, or onnxruntime and onnx: pip install "onebit[bench]"' in line


def test_energy_is_a_column_where_it_is_measured(runs, monkeypatch, capsys):
    class Meter:
        why_not = ""

        def per_call(self, function):
            function()
            return 0.003

    monkeypatch.setattr(against, "EnergyMeter", Meter)
    result, rows = table(runs / "binary" / "net.onebit", "--against", "float", "--limit", "10", "--batch", "2")
    assert rows["torch", "fp32"]["energy_mj"] == 1.5
    bench.show(result)
    assert "1.500 mJ" in capsys.readouterr().out


class TestMistakes:
    def test_a_run_that_is_no_counterpart(self, runs, tmp_path, capsys):
        file = runs / "binary" / "net.onebit"
        line = refused(capsys, file, "--against", f"float={runs / 'binary'}")
        assert "trained binary layers (scheme 'trained-binarization')" in line
        assert "--scheme float" in line
        graph = load_graph(file)
        for field, value in (("model", "resnet20"), ("dataset", "mnist"), ("model_options", {"width": 0.125})):
            save_graph(replace(graph, provenance={**graph.provenance, field: value}), tmp_path / "other.onebit")
            line = refused(capsys, tmp_path / "other.onebit", "--against", f"float={runs / 'float'}")
            assert f"is not of the same network: its {field} is" in line
        assert "there is no trained model" in refused(capsys, file, "--against", f"float={tmp_path / 'none'}")

    def test_float_where_1_bit_is_wanted(self, runs, capsys):
        line = refused(capsys, runs / "float", "--against", "float")
        assert "has no 1-bit layer" in line

    def test_a_folder_without_the_data(self, runs, tmp_path, capsys):
        file = tmp_path / "net.onebit"
        graph = load_graph(runs / "binary" / "net.onebit")
        save_graph(replace(graph, provenance={**graph.provenance, "dataset": "cifar10"}), file)
        line = refused(capsys, file, "--against", "float", "--data_dir", tmp_path)
        assert "cifar" in line

    def test_a_file_that_does_not_name_its_model(self, runs, tmp_path, capsys):
        graph = load_graph(runs / "binary" / "net.onebit")
        save_graph(replace(graph, provenance={}), tmp_path / "net.onebit")
        line = refused(capsys, tmp_path / "net.onebit", "--against", "float")
        assert "no float network to compare with: the file does not name its model" in line
        line = refused(capsys, tmp_path / "net.onebit", "--against", f"float={runs / 'float'}")
        assert "the file does not name its model" in line

    def test_a_folder_without_against(self, runs, capsys):
        assert "is a folder; pack the run in it" in refused(capsys, runs / "binary")

    @pytest.mark.parametrize(
        ("argv", "message"),
        [
            (["--against", "int4"], "--against takes float, int8 or both"),
            (["--against", "int8=run"], "float also as float=RUN; got 'int8=run'"),
            (["--against", "float="], "--against takes float"),
            (["--against", "float,float"], "--against takes float"),
            (["--against", "float", "--profile"], "--profile cannot be combined with --against"),
            (["--against", "float", "--limit", "0"], "--limit must be at least 1"),
            (["--limit", "5"], "--limit is for --against"),
            (["--data_dir", "x"], "--data_dir is for --against"),
        ],
    )
    def test_wrong_usage(self, argv, message, capsys):
        assert message in refused(capsys, "net.onebit", *argv, code=2)
