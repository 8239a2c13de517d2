"""The verbs train and eval, end to end on the digits."""

import json
import os

import pytest

from onebit.cli.main import main


@pytest.fixture(autouse=True)
def _no_debugging(monkeypatch):
    monkeypatch.delenv("ONEBIT_DEBUG", raising=False)


TINY = ["vgg-small-digits", "--epochs", "2", "--model_options.width", "0.0625", "--image_size", "8"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "tiny"
    assert main(["train", *TINY, "--seed", "3", "--out", str(out)]) == 0
    return out


def refused(capsys, argv, code):
    assert main(argv) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    return captured.err


def test_flags_reach_the_record(run):
    settings = json.loads((run / "record.json").read_text())["settings"]
    assert settings["seed"] == 3
    assert settings["epochs"] == 2
    assert settings["model_options"] == {"width": 0.0625}
    assert settings["augment"] == "shift-rotate"  # the recipe's, untouched


def test_train_says_what_is_wrong(tmp_path, capsys):
    settings = ["--epochs", "5", "--schedule", "constant", "--lr_factors", '{"latent": 0}']
    argv = ["train", *TINY, *settings, "--batch_size", "512", "--out", str(tmp_path / "x")]
    line = "features.3: 0.0% of signs flipped for 5 epochs: raise the learning rate or check the estimator"
    assert main([*argv, "--json"]) == 0
    captured = capsys.readouterr()
    found = json.loads(captured.out)["health"]
    assert found == json.loads((tmp_path / "x" / "record.json").read_text())["health"]
    first = next(each for each in found if each["rule"] == "no-flips")
    assert first == {"layer": "features.3", "rule": "no-flips", "value": 0.0, "epochs": 5, "text": line}
    assert f"{line} (and so in 4 other layers)\n" in captured.err
    assert main(["train", "--out", str(tmp_path / "x"), "--resume"]) == 0
    assert f"training health: {line} (and so in 4 other layers)\n" in capsys.readouterr().out


def test_train_json(tmp_path, capsys):
    assert main(["train", *TINY, "--max_steps", "2", "--out", str(tmp_path / "x"), "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["steps"] == 2
    assert result["health"] == []
    assert result["out"] == str(tmp_path / "x")


def test_flags_may_come_before_the_recipe(tmp_path, capsys):
    argv = ["--max_steps", "1", "--image_size", "8", "vgg-small-digits", "--out", str(tmp_path / "x"), "--json"]
    assert main(["train", *argv]) == 0
    assert json.loads(capsys.readouterr().out)["steps"] == 1


def test_eval_repeats_the_recorded_accuracy(run, capsys):
    assert main(["eval", str(run), "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["accuracy"] == json.loads((run / "record.json").read_text())["result"]["accuracy"]
    assert result["images"] == 360
    assert list(result["class_accuracy"]) == list("0123456789")
    assert main(["eval", str(run / "checkpoints" / "last.ckpt")]) == 0
    assert f"digits: {result['accuracy']:.2%} of 360 test images" in capsys.readouterr().out


def test_print_config_reads_back(tmp_path, capsys):
    assert main(["train", *TINY, "--lr", "0.125", "--print_config"]) == 0
    (tmp_path / "mine.yaml").write_text(capsys.readouterr().out)
    out = tmp_path / "run"
    assert main(["train", "--config", str(tmp_path / "mine.yaml"), "--max_steps", "1", "--out", str(out)]) == 0
    record = json.loads((out / "record.json").read_text())
    assert record["settings"]["lr"] == 0.125
    assert record["settings"]["epochs"] == 2
    assert record["recipe"] == "vgg-small-digits"


def test_config_of_a_few_settings_over_a_recipe(tmp_path, capsys):
    (tmp_path / "mine.yaml").write_text("recipe: vgg-small-digits\nlr: 0.25\nmax_steps: 1\nimage_size: 8\n")
    out = tmp_path / "run"
    assert main(["train", "--config", str(tmp_path / "mine.yaml"), "--out", str(out)]) == 0
    settings = json.loads((out / "record.json").read_text())["settings"]
    assert (settings["lr"], settings["batch_size"]) == (0.25, 64)


def test_resume_needs_no_recipe(run, capsys):
    assert main(["train", "--out", str(run), "--resume", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["steps"] == 44


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ([], "name a recipe"),
        (["vgg-small-digts"], "Unknown recipe 'vgg-small-digts'; did you mean 'vgg-small-digits'?"),
        (["vgg-small-digits", "--epochs", "0"], "epochs must be an integer of at least 1, got 0"),
        (["vgg-small-digits", "--epochs", "many"], "--epochs must be an integer or null, got 'many'; see"),
        (["vgg-small-digits", "--betas", "[0.9]"], "--betas must be a list of 2 numbers, got '[0.9]'"),
        (["vgg-small-digits", "--keep", "x"], "--keep must be 'last' or 'best', got 'x'"),
        (["vgg-small-digits", "--lr_factors.latent", "x"], "--lr_factors must be an object of numbers, got 'x'"),
        (["vgg-small-digits", "--model_options", "x"], "--model_options must be an object, got 'x'"),
        (["vgg-small-digits", "--batch_size", "0"], "--batch_size must be an integer of at least 1, got 0"),
        (["vgg-small-digits", "--two_step", "2"], "--two_step must be from 0 to below 1, got 2.0"),
        (["vgg-small-digits", "--compile", "perhaps"], "--compile must be 'auto', true or false, got 'perhaps'"),
        (["vgg-small-digits", "--config", "nowhere.yaml"], "nowhere.yaml"),
        (["vgg-small-digits", "--scheme", "bireel"], "did you mean 'bireal'?"),
        (["--resume", "--out", "no-such-run"], "holds no run to resume"),
    ],
)
def test_wrong_usage(capsys, argv, message):
    assert message in refused(capsys, ["train", *argv], 2)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--model_options.width", "abc"], "--model_options.width must be above 0, at most 1e6, got 'abc'"),
        (["--image_size", "20"], "model 'vgg-small' does not fit the data: input_size must be a multiple of 8, got 20"),
        (["--image_size", "1000000"], "of data set 'digits' take 1673587 GiB of memory at --image_size 1000000, and "),
        (["--batch_size", "1438"], "--batch_size 1438 is more than the 1437 training examples of 'digits'; give 1437"),
    ],
)
def test_settings_that_the_data_refuse(tmp_path, capsys, flags, message):
    assert message in refused(capsys, ["train", "vgg-small-digits", *flags, "--out", str(tmp_path / "run")], 1)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("verb", ["train", "eval"])
@pytest.mark.parametrize(("before", "after"), [(None, "passive"), ("active", "active")])
def test_waiting_threads_sleep_unless_the_user_says_otherwise(monkeypatch, capsys, verb, before, after):
    monkeypatch.setenv("OMP_WAIT_POLICY", before or "")
    if before is None:
        monkeypatch.delenv("OMP_WAIT_POLICY")
    assert main([verb, "--no-such-flag"]) == 2
    assert os.environ["OMP_WAIT_POLICY"] == after


def test_user_level_failures(run, tmp_path, capsys, monkeypatch):
    monkeypatch.delenv("ONEBIT_DATA", raising=False)
    assert "already holds a run" in refused(capsys, ["train", *TINY, "--out", str(run)], 1)
    assert "needs the folder" in refused(capsys, ["train", "resnet20-cifar10", "--out", str(tmp_path / "r")], 1)
    assert not (tmp_path / "r").exists()
    assert "there is no model" in refused(capsys, ["eval", str(tmp_path / "nothing")], 1)
    assert "the network takes 1 input channels, but data set 'random16' has 3" in refused(
        capsys, ["eval", str(run), "--dataset", "random16"], 1
    )
    (tmp_path / "bad.onebit").write_bytes(b"not a packed file")
    assert "onebit: error: " in refused(capsys, ["eval", str(tmp_path / "bad.onebit")], 1)
    assert "did you mean 'digits'?" in refused(capsys, ["eval", str(run), "--dataset", "digit"], 1)


def test_eval_of_the_packed_file_agrees_with_the_run(run, tmp_path, capsys):
    pytest.importorskip("onebit._core", reason="the C++ core is not built")
    assert main(["pack", str(run), "--out", str(tmp_path / "net.onebit")]) == 0
    capsys.readouterr()
    scores = []
    for model in (run, tmp_path / "net.onebit"):
        assert main(["eval", str(model), "--json"]) == 0
        scores.append(json.loads(capsys.readouterr().out))
    assert scores[0]["accuracy"] == pytest.approx(
        scores[1]["accuracy"], abs=2.5 / 360
    )  # two images may sit on a threshold
    assert scores[0]["loss"] == pytest.approx(scores[1]["loss"], rel=0.02)
    assert scores[0]["dataset"] == scores[1]["dataset"] == "digits"
