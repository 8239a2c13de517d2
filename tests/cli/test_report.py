"""``onebit report``, end to end: runs that are finished, cut off or nearly lost, and a real browser."""

import html
import json
import re
import shutil

import numpy as np
import pytest
from browser import browse, needs_chromium
from PIL import Image

from onebit.cli.main import main
from onebit.report.page import differing
from onebit.runtime.model import Model
from onebit.text import printable
from onebit.train import load_trained
from onebit.train.deploy import images_of_run, pack_trained
from onebit.train.examine import examine_runs

TINY = ["vgg-small-digits", "--epochs", "2", "--model_options.width", "0.0625", "--image_size", "8"]
HOSTILE = '<script>alert("x")<\'&\n\u202e'  # no slash: it is also the name of a folder


@pytest.fixture(autouse=True)
def _no_debugging(monkeypatch):
    monkeypatch.delenv("ONEBIT_DEBUG", raising=False)
    monkeypatch.delenv("ONEBIT_DATA", raising=False)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "tiny"
    assert main(["train", *TINY, "--seed", "3", "--out", str(out)]) == 0
    return out


@pytest.fixture
def run(trained, tmp_path):
    """A copy that a test may change."""
    return shutil.copytree(trained, tmp_path / "tiny")


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    """A run on pictures, all of whose names are hostile, beside the folder of its data."""
    tmp_path = tmp_path_factory.mktemp("hostile")
    rng = np.random.default_rng(0)
    for part in ("train", "val"):
        for name in (f"a{HOSTILE}", f"b{HOSTILE}"):
            folder = tmp_path / "data" / part / name
            folder.mkdir(parents=True)
            for index in range(2):
                Image.fromarray(rng.integers(0, 256, (8, 8, 3), np.uint8)).save(folder / f"{index}.png")
    small = ["--image_size", "8", "--model_options.width", "0.0625", "--epochs", "1", "--batch_size", "2"]
    out = tmp_path / f"run {HOSTILE}"
    flags = ["--dataset", "folder", "--data_dir", str(tmp_path / "data"), "--augment", "none", "--out", str(out)]
    assert main(["train", "vgg-small-digits", *small, *flags]) == 0
    record = json.loads((out / "record.json").read_text())
    record["recipe"] = record["commit"] = HOSTILE
    record["machine"][HOSTILE] = HOSTILE
    record["epochs"][0][f"test_{HOSTILE}"] = 0.5
    (out / "record.json").write_text(json.dumps(record))
    return out


def report(capsys, *argv, code=0):
    capsys.readouterr()
    assert main(["report", *map(str, argv), "--seconds", "0.01", "--json"]) == code
    captured = capsys.readouterr()
    return json.loads(captured.out) if code == 0 else captured.err


def refused(capsys, argv, code):
    capsys.readouterr()
    assert main(["report", *map(str, argv)]) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    return captured.err


def test_a_finished_run(trained, tmp_path, capsys):
    out, packed = tmp_path / "page.html", tmp_path / "net.onebit"
    result = report(capsys, trained, "--out", out)
    (row,) = result["runs"]
    record = json.loads((trained / "record.json").read_text())
    assert main(["pack", str(trained), "--out", str(packed)]) == 0
    assert result["bytes"] == out.stat().st_size
    assert row["file_bytes"] == packed.stat().st_size
    assert row["test_accuracy"] == record["epochs"][-1]["test_accuracy"]
    assert row["packed_accuracy"] == pytest.approx(row["test_accuracy"], abs=2 / 360)
    assert (row["epochs"], row["planned_epochs"], row["test_images"], row["answered"]) == (2, 2, 360, 360)
    assert 0 < row["least_ms"] <= row["median_ms"]
    assert row["notes"] == []
    assert row["health"] == record["health"] == []
    page = out.read_text()
    network, _ = load_trained(trained)
    binary = [name for name, m in network.named_modules() if getattr(m, "weight_binarizer", None) is not None]
    assert len(binary) > 3
    assert all(f"<figcaption>{name}<br>" in page for name in binary)
    assert page.count('<svg class="spark"') == len(binary)
    for word in (
        "No findings.",
        "gradient norm",
        "flip rate",
        "BinaryConv2d",
        "Wrong, the surest first",
        "Right, spread",
    ):
        assert word in page


def test_sign_balance_and_histogram_are_of_the_latent_weights(trained):
    (facts,) = examine_runs([trained], seconds=0, limit=1)
    network, _ = load_trained(trained)
    for latents in facts.latents:
        layer = network.get_submodule(latents.name)
        latent = layer.weight_binarizer.latent(layer.weight).detach().flatten().double()
        assert latents.count == sum(latents.counts) == latent.numel()
        assert latents.negative == float((latent < 0).double().mean())
        assert sum(latents.counts[: len(latents.counts) // 2]) == int((latent < 0).sum())
    assert facts.latency is None


def test_confusion_is_what_the_packed_network_answers(trained):
    (facts,) = examine_runs([trained], seconds=0, limit=100, samples=5)
    images, labels = images_of_run(trained, None, 100)
    answers = Model(pack_trained(trained).graph)(images).argmax(1)
    confusion = np.zeros((10, 10), int)
    np.add.at(confusion, (labels, answers), 1)
    np.testing.assert_array_equal(facts.answers.confusion_KK, confusion)
    assert (facts.answers.images, facts.answers.total) == (100, 360)
    wrong = facts.answers.wrong
    assert len(wrong) == min(5, int((labels != answers).sum()))
    assert all(sample.label != sample.answer for sample in wrong)
    assert [s.probability for s in wrong] == sorted((s.probability for s in wrong), reverse=True)
    assert len(facts.answers.right) == 5
    first = np.flatnonzero(labels == answers)[0]
    np.testing.assert_array_equal(facts.answers.right[0].pixels_HWC, images[first])
    assert facts.answers.right[0].label == facts.answers.right[0].answer == str(labels[first])


def test_runs_that_are_not_finished(run, tmp_path, capsys):
    (finished,) = examine_runs([run], seconds=0)
    for name in ("model.json", "model.safetensors"):
        (run / name).unlink()
    (from_checkpoint,) = examine_runs([run], seconds=0)
    assert from_checkpoint.answers.accuracy == finished.answers.accuracy
    for name in ("weights", "file_bytes", "ops", "parameters", "latents", "layers", "notes"):
        assert getattr(from_checkpoint, name) == getattr(finished, name)
    (run / "checkpoints" / "last.ckpt").write_bytes(b"cut off")
    assert "is damaged" in examine_runs([run], seconds=0)[0].notes[0]
    shutil.rmtree(run / "checkpoints")
    record_alone = report(capsys, run, "--out", tmp_path / "page.html")["runs"][0]
    assert record_alone["test_accuracy"] == finished.last_score
    assert record_alone["file_bytes"] is None
    assert "holds no model.json" in record_alone["notes"][0]
    assert "holds no model.json" in (tmp_path / "page.html").read_text()


def test_a_network_that_cannot_be_packed(trained, monkeypatch):
    def fail(source):
        raise ValueError("no packed form")

    (packed,) = examine_runs([trained], seconds=0, limit=1)
    monkeypatch.setattr("onebit.train.examine.pack_trained", fail)
    (facts,) = examine_runs([trained])
    assert "no packed form" in facts.notes[0]
    assert facts.answers is facts.latency is facts.file_bytes is None
    assert facts.ops == packed.ops
    assert [layer.name for layer in facts.layers] == [layer.name for layer in packed.layers if layer.weights]


def test_records_from_before(run):
    """Those had neither schemes' options, nor a task, nor gradients, nor the number of test images."""
    record = json.loads((run / "record.json").read_text())
    for name in ("scheme_options", "task", "task_options", "fit", "best_by", "teacher"):
        record["settings"].pop(name, None)
    for row in record["epochs"]:
        for name in ("flip_rate", "gradient_norm", "stage"):
            del row[name]
    del record["score"], record["data"], record["result"]["contents"]
    (run / "record.json").write_text(json.dumps(record))
    (facts,) = examine_runs([run], seconds=0, limit=1)
    assert (facts.test_images, facts.score, facts.settings["task"]) == (None, "accuracy", "classification")
    assert facts.last_score == record["epochs"][-1]["test_accuracy"]


def test_training_health(run, tmp_path, capsys):
    record = json.loads((run / "record.json").read_text())
    for layer in record["layers"]["layers"].values():
        layer |= {number: [0.0] * 5 for number in ("flipped", "outside", "inputs_outside", "constant")}
        layer |= {number: [layer[number][0]] * 5 for number in ("scale", "input_scale")}
    record["layers"]["epochs"] = [1, 2, 3, 4, 5]
    record["epochs"] = [{**record["epochs"][0], "epoch": epoch} for epoch in range(1, 6)]
    record["guide"] = {"accuracy": 0.75}
    (run / "record.json").write_text(json.dumps(record))
    (facts,) = examine_runs([run], seconds=0, limit=1)
    assert facts.guide == 0.75
    assert {(each.rule, each.epochs) for each in facts.health if each.layer} == {("no-flips", 5)}
    capsys.readouterr()
    assert main(["report", str(run), "--out", str(tmp_path / "a.html"), "--seconds", "0", "--limit", "1"]) == 0
    words = "features.3: 0.0% of signs flipped for 5 epochs: raise the learning rate or check the estimator"
    for text in (capsys.readouterr().out, (tmp_path / "a.html").read_text()):
        assert f"{words} (and so in 4 other layers)" in text
    record["guide"] = {"accuracy": "high"}
    del record["layers"], record["health"]  # as records were before
    (run / "record.json").write_text(json.dumps(record))
    row = report(capsys, run, "--out", tmp_path / "a.html", "--limit", "1")["runs"][0]
    assert row["health"] is None
    assert "Not recorded" in (tmp_path / "a.html").read_text()


def test_several_runs(run, tmp_path):
    other = shutil.copytree(run, tmp_path / "other" / "tiny")
    record = json.loads((other / "record.json").read_text())
    record["settings"] |= {"lr": 0.125, "model_options": {"width": 0.0625, "depth": 1}}
    (other / "record.json").write_text(json.dumps(record))
    facts = examine_runs([run, other], seconds=0.01, limit=1)
    assert [each.name for each in facts] == [f"{run.parent.name}/tiny", "other/tiny"]
    assert differing(facts) == {"lr": ["0.005", "0.125"], "model_options.depth": ["–", "1"]}
    assert all(0 < each.latency.least_ms <= each.latency.median_ms for each in facts)


def test_prints_what_was_written(trained, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("onebit.report.page.render", lambda runs, **_: "a page")
    capsys.readouterr()
    assert main(["report", str(trained), "--out", str(tmp_path / "a.html"), "--seconds", "0"]) == 0
    out = capsys.readouterr().out
    assert re.search(r"tiny +2 of 2 +accuracy 0\.\d{4} ", out)
    assert out.endswith(f"{tmp_path / 'a.html'}: 6 bytes\n")
    assert (tmp_path / "a.html").read_text() == "a page"


def test_faults_are_refused_before_anything_is_measured(run, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("onebit.train.examine.pack_trained", lambda *_: pytest.fail("work has started"))
    out = ["--out", tmp_path / "page.html"]
    assert "tmp' is not the folder of a run" in refused(capsys, [run, tmp_path / "tmp", *out], 1)
    assert "given twice" in refused(capsys, [run, run / ".." / "tiny", *out], 1)
    assert "must name a file that ends with .html" in refused(capsys, [run, "--out", "page.png"], 2)
    assert "there is no folder" in refused(capsys, [run, "--out", tmp_path / "none" / "page.html"], 1)
    with monkeypatch.context() as patch:
        patch.setattr("os.access", lambda *_: False)
        assert "cannot be written to" in refused(capsys, [run, *out], 1)
    (tmp_path / "folder.html").mkdir()
    assert "is a folder" in refused(capsys, [run, "--out", tmp_path / "folder.html"], 1)
    for flag, value in (("limit", "0"), ("samples", "-1"), ("seconds", "nan"), ("seconds", "-1")):
        assert f"--{flag} must be" in refused(capsys, [run, f"--{flag}", value], 2)
    record = json.loads((run / "record.json").read_text())
    for change, said in (
        ({"epochs": [{"epoch": 1, "lr": "much"}]}, "field 'epochs[0].lr' must be a number or null, got 'much'"),
        ({"epochs": [{"epoch": 0}]}, "field 'epochs[0].epoch' must be an integer from 1, got 0"),
        ({"settings": {"model": "no"}}, "is damaged"),
        ({"seconds": None}, "field 'seconds' must be a finite number"),
        ({"layers": {"epochs": [1]}}, "field 'layers.layers' is missing; it must be an object"),
    ):
        (run / "record.json").write_text(json.dumps(record | change))
        assert said in refused(capsys, [run, *out], 1)
    (run / "record.json").write_text("{")
    assert "is damaged" in refused(capsys, [run, *out], 1)
    assert not (tmp_path / "page.html").exists()


def test_data_that_are_missing(hostile, tmp_path, capsys):
    """A note, unless the user named a folder for them."""
    (facts,) = examine_runs([hostile], seconds=0)
    assert facts.answers is None
    assert "--data_dir" in facts.notes[0]
    assert facts.file_bytes > 0
    (tmp_path / "empty").mkdir()
    argv = [hostile, "--data_dir", tmp_path / "empty", "--out", tmp_path / "page.html"]
    assert "empty" in refused(capsys, argv, 1)


def test_hostile_names_stay_text(hostile, tmp_path, capsys):
    out = tmp_path / "page.html"
    row = report(capsys, hostile, "--data_dir", hostile.parent / "data", "--out", out)["runs"][0]
    assert row["answered"] == 4
    page = out.read_text()
    assert "<script" not in page
    assert "\u202e" not in page
    assert page.count(html.escape(printable(HOSTILE)).replace("&quot;", "&#34;").replace("&#x27;", "&#39;")) > 8


MEASURE = """<iframe id="frame" style="width: {width}px; height: 900px" srcdoc="{page}"></iframe><script>
onload = () => {{
  const page = frame.contentDocument;
  const body = frame.contentWindow.getComputedStyle(page.body);
  const root = page.documentElement;
  document.title = [root.clientWidth, root.scrollWidth, body.backgroundColor, body.color].join("|");
}}
</script>"""


@needs_chromium
@pytest.mark.slow
class TestInABrowser:
    def test_nothing_on_the_console(self, hostile, trained, tmp_path, capsys):
        page = tmp_path / "page.html"
        report(capsys, hostile, trained, "--data_dir", hostile.parent / "data", "--out", page)
        document, console = browse(page)
        assert console == []
        assert document.count('<svg class="chart"') == page.read_text().count('<svg class="chart"') > 10
        assert "<h3>Layers</h3>" in document
        spoiled = tmp_path / "spoiled.html"  # the console does tell what the page forbids
        spoiled.write_text(page.read_text().replace("<header>", '<script>1</script><img src="http://x.invalid/">'))
        assert len(browse(spoiled)[1]) == 2

    @pytest.mark.parametrize(
        ("width", "scheme", "colors"),
        [(400, 1, ["rgb(255, 255, 255)", "rgb(28, 31, 36)"]), (1280, 0, ["rgb(20, 23, 27)", "rgb(231, 233, 236)"])],
        ids=["a phone's width, light", "a desktop's width, dark"],
    )
    def test_fits_the_window_in_both_schemes(self, trained, tmp_path, capsys, width, scheme, colors):
        page = tmp_path / "page.html"
        report(capsys, trained, "--out", page)
        frame = tmp_path / "frame.html"  # a window is at least 500 pixels wide, a frame is not
        frame.write_text(MEASURE.format(width=width, page=html.escape(page.read_text())))
        document, _ = browse(frame, f"--blink-settings=preferredColorScheme={scheme}", width=width)
        inner, needed, *found = re.search("<title>(.*?)</title>", document)[1].split("|")
        assert width - 20 <= int(inner) <= width  # less a scroll bar
        assert int(needed) <= int(inner)
        assert found == colors
