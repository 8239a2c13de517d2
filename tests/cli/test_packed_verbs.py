"""The verbs of packed files, end to end: pack, inspect, run, verify, bench, doctor, and every mistake in one line."""

import hashlib
import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import onebit
from onebit.cli.main import main
from onebit.format.file import load_graph, save_graph
from onebit.format.graph import Graph, InputSpec, Node
from onebit.tasks import Classification

SIZE = 16


@pytest.fixture(autouse=True)
def _no_tracebacks(monkeypatch):
    monkeypatch.delenv("ONEBIT_DEBUG", raising=False)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "digits"
    arguments = ["train", "vgg-small-digits", "--epochs", "1", "--model_options.width", "0.0625", "--out", str(out)]
    assert main(arguments) == 0
    assert main(["pack", str(out), "--strict"]) == 0
    return out


@pytest.fixture(scope="module")
def packed(trained):
    return str(trained / "net.onebit")


@pytest.fixture(scope="module")
def picture(tmp_path_factory):
    path = tmp_path_factory.mktemp("pictures") / "digit.png"
    Image.fromarray(np.arange(SIZE * SIZE, dtype=np.uint8).reshape(SIZE, SIZE)).save(path)
    return str(path)


def answer(capsys, *argv):
    """The JSON object that a verb prints, and nothing else."""
    assert main([*argv, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def refused(capsys, *argv, code=1):
    """The one line that a verb prints on standard error."""
    assert main(list(argv)) == code
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1, captured.err
    assert "Traceback" not in captured.err
    return captured.err


def test_inspect_tells_the_size_on_disk(packed, capsys):
    result = answer(capsys, "inspect", packed)
    assert result["total"]["file_bytes"] == os.path.getsize(packed)
    assert sum(row["bytes"] for row in result["layers"]) + result["total"]["header_bytes"] == os.path.getsize(packed)
    assert result["classes"] == list("0123456789")
    assert result["provenance"]["model"] == "vgg-small"
    assert onebit.load(packed).engine.memory <= result["memory_bytes"] < 4 << 20
    assert {row["name"]: row["note"] for row in result["layers"] if row["macs"]} == {
        "features.0": "first layer",
        "classifier": "last layer",
    }
    assert main(["inspect", packed]) == 0
    assert "1-bit" in capsys.readouterr().out


def test_run_prints_probabilities(packed, picture, capsys):
    (entry,) = answer(capsys, "run", packed, picture, "--top", "10")["images"]
    assert len(entry["classes"]) == 10
    assert sum(c["probability"] for c in entry["classes"]) == pytest.approx(1, abs=1e-4)
    assert main(["run", packed, picture, picture, "--top", "2"]) == 0
    assert capsys.readouterr().out.count("digit.png") == 2


def unlabeled(path: Path, shape: tuple[int, int, int], scale: float = 1.0) -> str:
    """A network without labels that multiplies its pixels, as 0...1, twice by ``scale``."""
    affine = {"step": "affine", "scale": "s", "bias": "b"}
    node = Node("n", "elementwise", ("image",), epilogue=(affine, affine, {"step": "store", "output": "y"}))
    channels = shape[2]
    tensors = {"s": np.full(channels, scale, np.float32), "b": np.zeros(channels, np.float32)}
    save_graph(Graph(InputSpec(*shape, (0.0,) * channels, (1.0,) * channels, "other"), (node,), "y", tensors), path)
    return str(path)


def test_run_prints_raw_outputs_where_there_are_no_labels(tmp_path, capsys):
    np.save(tmp_path / "a.npy", np.float32([[[0.5]], [[2.0]], [[1.0]]]))
    vector = unlabeled(tmp_path / "vector.onebit", (1, 1, 3))
    (entry,) = answer(capsys, "run", vector, str(tmp_path / "a.npy"), "--top", "2")["images"]
    assert entry["outputs"] == [{"index": 1, "value": 2.0}, {"index": 2, "value": 1.0}]
    assert main(["run", vector, str(tmp_path / "a.npy")]) == 0
    assert capsys.readouterr().out.split()[1:] == ["[1]", "2", "[2]", "1", "[0]", "0.5"]
    np.save(tmp_path / "b.npy", np.float32([[[0.5, 2.5]]]))
    (entry,) = answer(capsys, "run", unlabeled(tmp_path / "map.onebit", (1, 2, 1)), str(tmp_path / "b.npy"))["images"]
    assert entry["map"] == {"shape": [1, 1, 2], "min": 0.5, "mean": 1.5, "max": 2.5}


def test_run_refuses_outputs_that_are_not_finite(tmp_path, capsys):
    np.save(tmp_path / "a.npy", np.float32([[[0.5]], [[2.0]], [[1.0]]]))
    broken = unlabeled(tmp_path / "broken.onebit", (1, 1, 3), scale=1e30)
    assert "outputs are NaN or infinite" in refused(capsys, "run", broken, str(tmp_path / "a.npy"))
    assert main(["verify", broken, str(tmp_path / "a.npy")]) == 1
    printed = capsys.readouterr()
    assert "3 numbers are NaN or infinite (first at n (y)): FAILED" in printed.out
    assert "parity does not hold" in printed.err


def test_verify_against_torch_and_the_reference(trained, packed, capsys):
    result = answer(capsys, "verify", packed, "--run", str(trained))
    assert result["passed"]
    assert result["torch"]["images"] == 360
    assert result["torch"]["same"] >= 358
    scores = result["torch"]["scores"]
    assert abs(scores["torch"]["accuracy"] - scores["packed"]["accuracy"]) <= 2 / 360
    assert all(row["bits"] > 0 and row["unexplained"] == 0 for row in result["kernels"])


def test_card(trained, packed, picture, tmp_path, capsys):
    """One command from a run to a network that is taken by its name, with a card whose every number was measured."""
    networks = tmp_path / "networks"
    arguments = ["card", str(trained), "tiny-digits", "--to", str(networks), "--seconds", "0.01"]
    told = answer(capsys, *arguments)
    assert sorted(os.listdir(networks)) == ["tiny-digits.card.json", "tiny-digits.onebit"]
    assert (networks / "tiny-digits.onebit").read_bytes() == Path(packed).read_bytes()
    card = onebit.zoo.card_of("tiny-digits", folder=networks)
    assert {"folder": str(networks), "text": str(card), **card.as_json()} == told
    parity = answer(capsys, "verify", packed, "--run", str(trained))["torch"]
    assert {name: getattr(card.scores, name) for name in ("images", "same")} == {"images": 360, "same": parity["same"]}
    assert {"torch": card.scores.torch, "packed": card.scores.packed} == parity["scores"]
    record = json.loads((trained / "record.json").read_text())
    assert card.training.settings == record["settings"]
    assert (card.training.recipe, card.training.epochs, card.training.epoch) == ("vgg-small-digits", 1, 1)
    assert (card.training.commit, card.training.seconds) == (record["commit"], record["result"]["seconds"])
    assert (card.data.train_images, card.data.test_images, card.data.license) == (1437, 360, "CC BY 4.0")
    total = answer(capsys, "inspect", "zoo:tiny-digits", "--from", str(networks))["total"]
    assert (card.cost.flops, card.cost.bops, card.cost.ops) == (total["macs"], total["bops"], total["ops"])
    assert 0 < card.speed.least_ms <= card.speed.median_ms <= card.speed.p90_ms
    assert card.speed.count >= 11
    assert main(arguments) == 0
    assert f"{parity['same']} of 360 images have the same answer" in capsys.readouterr().out
    assert main(["run", "zoo:tiny-digits", picture, "--from", str(networks)]) == 0


def test_card_with_a_start(trained, tmp_path, capsys):
    """The weights ship beside the packed file, the latency of an unchanged file is kept, and training goes on."""
    networks = tmp_path / "networks"
    arguments = ["card", str(trained), "tiny", "--to", str(networks)]
    assert "keeps the latency of the card" in refused(capsys, *arguments, "--seconds", "0")
    before = answer(capsys, *arguments, "--seconds", "0.01")
    assert before["start"] is None
    told = answer(capsys, *arguments, "--start", "--seconds", "0")
    assert sorted(os.listdir(networks)) == ["tiny.card.json", "tiny.onebit", "tiny.start.safetensors"]
    start = told.pop("start")
    del before["start"]
    assert told == before
    content = (networks / "tiny.start.safetensors").read_bytes()
    assert (start["bytes"], start["sha256"]) == (len(content), hashlib.sha256(content).hexdigest())
    assert start["dtype"] == "float16"
    assert abs(start["scores"]["accuracy"] - told["scores"]["torch"]["accuracy"]) <= 1 / 360
    assert main([*arguments, "--start", "--seconds", "0"]) == 0
    assert f"start    {len(content)} bytes, latent weights in float16; accuracy" in capsys.readouterr().out
    again = ["train", "vgg-small-digits", "--model_options.width", "0.0625", "--max_steps", "1", "--compile", "false"]
    again += ["--start_from", "zoo:tiny", "--out", str(tmp_path / "again")]
    assert "Unknown trained network 'tiny'" in refused(capsys, *again)
    assert main([*again, "--from", str(networks)]) == 0
    assert "starts from 'zoo:tiny', 'vgg-small' trained on 'digits'" in capsys.readouterr().err
    (networks / "tiny.start.safetensors").unlink()
    again[-1] = str(tmp_path / "third")
    assert "name the folder that holds 'tiny.start.safetensors' with --from or the environment" in refused(
        capsys, *again, "--from", str(networks)
    )


def test_a_start_has_float32_where_float16_costs_too_much(trained, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(Classification, "loss_of_precision", lambda *_: ("9 images lost", True))
    arguments = ["card", str(trained), "tiny", "--to", str(tmp_path), "--seconds", "0.01", "--start"]
    told = answer(capsys, *arguments)
    assert told["start"]["dtype"] == "float32"
    assert told["start"]["scores"] == told["scores"]["torch"]


def test_card_refuses(trained, tmp_path, capsys):
    to = ["--to", str(tmp_path / "networks")]
    assert "name must be lower-case letters, digits" in refused(capsys, "card", str(trained), "../Tiny", *to)
    assert "no trained model" in refused(capsys, "card", str(tmp_path / "none"), "tiny", *to)
    known = ["--origin", "somebody", "--license", "MIT"]
    line = refused(capsys, "card", str(trained), "tiny", *to, *known)
    assert "origin and license of data set 'digits' are known: Alpaydin, E. & Kaynak, C. (1998)" in line
    assert "belong together" in refused(capsys, "card", str(trained), "tiny", *to, *known[:2], code=2)
    run = shutil.copytree(trained, tmp_path / "run")
    record = json.loads((run / "record.json").read_text())
    (run / "record.json").write_text(json.dumps({**record, "result": None}))
    assert "is not finished: resume it" in refused(capsys, "card", str(run), "tiny", *to)
    (run / "record.json").write_text(json.dumps(record))
    model = json.loads((run / "model.json").read_text())
    model["provenance"]["dataset"] = "folder"
    (run / "model.json").write_text(json.dumps(model))
    line = refused(capsys, "card", str(run), "tiny", *to)
    assert "the name of data set 'folder' does not say what it holds; give --origin and --license of the images" in line
    assert not (tmp_path / "networks").exists()


def test_card_leaves_out_where_another_run_lay(trained, tmp_path, capsys):
    run = shutil.copytree(trained, tmp_path / "run")
    record = json.loads((run / "record.json").read_text())
    record["settings"]["start_from"] = "/home/somebody/runs/float"
    (run / "record.json").write_text(json.dumps(record))
    told = answer(capsys, "card", str(run), "tiny", "--to", str(tmp_path), "--seconds", "0.01")
    assert told["training"]["settings"]["start_from"] == "float"
    assert "somebody" not in (tmp_path / "tiny.card.json").read_text()


def test_verify_notices_another_network(trained, packed, tmp_path, capsys):
    """A file packed from other weights than the run's must not pass."""
    other = tmp_path / "other"
    assert main(["train", "vgg-small-digits", "--epochs", "1", "--seed", "9", "--model_options.width", "0.0625",
                 "--out", str(other)]) == 0  # fmt: skip
    capsys.readouterr()
    assert main(["verify", packed, "--run", str(other)]) == 1
    captured = capsys.readouterr()
    assert "parity does not hold" in captured.err
    assert "FAILED" in captured.out


def test_verify_on_given_images_and_on_noise(packed, picture, capsys):
    assert answer(capsys, "verify", packed, picture)["source"] == "given images"
    assert answer(capsys, "verify", packed)["source"] == "noise"


def test_bench_times_both_sides(packed, capsys):
    result = answer(capsys, "bench", packed, "--seconds", "0.1", "--profile")
    assert result["ratio"] == pytest.approx(result["torch_float"]["median_ms"] / result["packed"]["median_ms"])
    assert len(result["profile"]) == len(load_graph(packed).nodes)
    assert result["profile_sums"][-1]["macs"] == sum(row["macs"] for row in result["profile"])
    assert main(["bench", packed, "--seconds", "0.1"]) == 0
    assert "ratio" in capsys.readouterr().out


def test_bench_shows_profile_plot_and_cold_start(packed, tmp_path, capsys):
    picture = tmp_path / "profile.png"
    assert main(["bench", packed, "--seconds", "0.1", "--profile", "--plot", str(picture), "--cold"]) == 0
    printed = capsys.readouterr().out
    assert "from a fresh process to the first answer" in printed
    for text in ("% of limit", "features.0", "1-bit", "total"):
        assert text in printed
    with Image.open(picture) as image:
        assert image.format == "PNG"
        assert min(image.size) > 300


@pytest.mark.parametrize(
    ("facts", "why"),
    [
        ({}, "the file does not name its model"),
        ({"model": 3}, "the file does not name its model"),
        ({"model": "vgg-smal"}, "model 'vgg-smal' is not in the zoo"),
        ({"model": "vgg-small"}, "cannot be built"),
        ({"model": "vgg-small", "num_classes": [10]}, "cannot be built"),
        ({"model": "vgg-small", "num_classes": "10"}, "cannot be built"),
        ({"model": "vgg-small", "num_classes": 10, "model_options": 5}, "cannot be built"),
        ({"model": "vgg-small", "num_classes": 10, "model_options": {"width": None}}, "cannot be built"),
        ({"model": "vgg-small", "num_classes": 10, "model_options": {"scheme": "float"}}, "cannot be built"),
        ({"model": "vgg-small", "num_classes": 11, "model_options": {"input_size": 16}}, "is another network"),
        (
            {"model": "vgg-small", "num_classes": 10, "model_options": {"input_size": 16, "width": 1e3}},
            "is another network",
        ),
    ],
)
def test_bench_believes_no_provenance_that_does_not_fit(facts, why, packed, tmp_path, capsys):
    save_graph(replace(load_graph(packed), provenance=facts), tmp_path / "odd.onebit")
    result = answer(capsys, "bench", str(tmp_path / "odd.onebit"), "--seconds", "0.01")
    assert why in result["why_no_float"]
    assert "torch_float" not in result


def test_doctor(capsys, monkeypatch):
    assert any(row["chosen"] for row in answer(capsys, "doctor")["isas"])
    monkeypatch.setenv("ONEBIT_ISA", "portable")
    assert [row["isa"] for row in answer(capsys, "doctor")["isas"] if row["chosen"]] == ["portable"]
    monkeypatch.setenv("ONEBIT_ISA", "sse9")
    assert "sse9" in refused(capsys, "doctor")


@pytest.mark.parametrize("verb", ["run", "inspect", "verify", "bench", "pack", "doctor"])
def test_help_has_an_example(verb, capsys):
    assert main([verb, "--help"]) == 0
    assert f"example:\n  onebit {verb}" in capsys.readouterr().out


class TestMistakes:
    def test_wrong_channel_count(self, packed, tmp_path, capsys):
        np.save(tmp_path / "two.npy", np.zeros((2, SIZE, SIZE), np.float32))
        assert "images have shape (2, 16, 16)" in refused(capsys, "run", packed, str(tmp_path / "two.npy"))
        np.save(tmp_path / "batch.npy", np.zeros((2, SIZE, SIZE, 1), np.uint8))
        assert "holds 2 images" in refused(capsys, "run", packed, str(tmp_path / "batch.npy"))
        np.save(tmp_path / "rgb.npy", np.zeros((3, SIZE, SIZE, 1, 1), np.float32))
        assert "images have shape (3, 16, 16, 1, 1)" in refused(capsys, "run", packed, str(tmp_path / "rgb.npy"))

    def test_nan(self, packed, tmp_path, capsys):
        np.save(tmp_path / "nan.npy", np.full((1, SIZE, SIZE), np.nan, np.float32))
        assert "images hold NaN or infinity" in refused(capsys, "run", packed, str(tmp_path / "nan.npy"))

    def test_images_that_are_none(self, packed, tmp_path, capsys):
        (tmp_path / "text.png").write_text("not a picture")
        assert "cannot be read as a picture: it is no JPEG" in refused(
            capsys, "run", packed, str(tmp_path / "text.png")
        )
        assert "no such file" in refused(capsys, "run", packed, str(tmp_path / "missing.png"))
        np.save(tmp_path / "object.npy", np.array([{}]), allow_pickle=True)
        assert "no .npy array of numbers" in refused(capsys, "run", packed, str(tmp_path / "object.npy"))

    @pytest.mark.parametrize("verb", ["run", "inspect", "verify", "bench"])
    def test_files_that_are_no_networks(self, verb, packed, picture, tmp_path, capsys):
        more = [picture] if verb == "run" else []
        (tmp_path / "text.onebit").write_text("a text, not a network\n" * 3)
        assert "not a packed file" in refused(capsys, verb, str(tmp_path / "text.onebit"), *more)
        (tmp_path / "cut.onebit").write_bytes(Path(packed).read_bytes()[:-1000])
        assert "truncated" in refused(capsys, verb, str(tmp_path / "cut.onebit"), *more)
        assert "missing.onebit" in refused(capsys, verb, str(tmp_path / "missing.onebit"), *more)

    def test_an_isa_that_cannot_run(self, packed, picture, capsys, monkeypatch):
        monkeypatch.setenv("ONEBIT_ISA", "neon" if os.uname().machine == "x86_64" else "avx2")
        assert "cannot run" in refused(capsys, "run", packed, picture)

    def test_a_batch_that_takes_too_much_memory(self, packed, capsys):
        line = refused(capsys, "bench", packed, "--batch", "100000000")
        assert "--batch 100000000: images or outputs would take 95.4 GiB; this network allows 1048576" in line

    def test_verify_with_a_run_of_another_size(self, packed, picture, tmp_path, capsys):
        other = str(tmp_path / "other")
        arguments = ["--image_size", "8", "--max_steps", "1", "--model_options.width", "0.0625", "--out", other]
        assert main(["train", "vgg-small-digits", *arguments]) == 0
        capsys.readouterr()
        for images in ([], [picture]):
            line = refused(capsys, "verify", packed, *images, "--run", other)
            assert f"was not packed from the run in '{other}': its size is 16, the run's 8; name the run" in line

    def test_pack_without_a_run_or_a_folder(self, trained, tmp_path, capsys):
        assert "no trained model" in refused(capsys, "pack", str(tmp_path / "nothing"))
        line = refused(capsys, "pack", str(trained), "--out", str(tmp_path / "no" / "net.onebit"))
        assert "no such folder" in line

    def test_strict(self, tmp_path, capsys):
        out = str(tmp_path / "run")
        arguments = ["--model", "resnet20", "--model_options", '{"downsample": "conv1x1", "width": 0.5}']
        assert main(["train", "vgg-small-digits", "--max_steps", "1", *arguments, "--out", out]) == 0
        capsys.readouterr()
        assert "blocks.6.shortcut.1" in refused(capsys, "pack", out, "--strict")
        assert not (tmp_path / "run" / "net.onebit").exists()
        line = refused(capsys, "pack", out, "--strict", "--keep_real", "*.shortcut.*", "clasifier")
        assert "--keep_real: no layer matches 'clasifier'; did you mean 'classifier'?" in line
        assert "--keep_real is for --strict" in refused(capsys, "pack", out, "--keep_real", "classifier", code=2)
        assert main(["pack", out, "--strict", "--keep_real", "*.shortcut.*"]) == 0

    @pytest.mark.skipif(shutil.which("mount") is None or os.geteuid() != 0, reason="needs root to make a full disk")
    def test_disk_full(self, trained, packed, tmp_path, capsys):
        disk = tmp_path / "disk"
        disk.mkdir()
        if os.system(f"mount -t tmpfs -o size=8k none {disk} 2>/dev/null"):
            pytest.skip("this machine does not let root mount a small disk")
        try:
            line = refused(capsys, "pack", str(trained), "--out", str(disk / "net.onebit"))
            assert "No space left" in line
            assert list(disk.iterdir()) == []
        finally:
            os.system(f"umount {disk}")

    def test_no_permission(self, trained, tmp_path, capsys):
        tmp_path.chmod(0o500)
        folder = Path("/sys/kernel") if os.geteuid() == 0 else tmp_path  # where not even root may make a file
        line = refused(capsys, "pack", str(trained), "--out", str(folder / "net.onebit"))
        assert "Permission denied" in line or "Read-only file system" in line

    @pytest.mark.parametrize(
        ("argv", "message"),
        [
            (["run", "net.onebit"], "images"),
            (["run", "net.onebit", "a.png", "--top", "0"], "--top must be at least 1"),
            (["bench", "net.onebit", "--seconds", ".inf"], "--seconds must be a number above 0, got inf"),
            (["bench", "net.onebit", "--threads", "0"], "--threads must be at least 1"),
            (["bench", "net.onebit", "--plot", "profile.jpg"], "--plot must name a file that ends with .png"),
            (["verify", "net.onebit", "--limit", "0"], "--limit must be at least 1"),
            (["inspect", "net.onebit", "--color"], "--color"),
            (["insepct", "net.onebit"], "did you mean 'inspect'"),
        ],
    )
    def test_wrong_usage(self, argv, message, capsys):
        assert message in refused(capsys, *argv, code=2)
