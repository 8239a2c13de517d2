"""Running studies: order, failures, interruption, resuming, and the table at the end."""

import json
import os
import signal
import subprocess
import sys
import threading
from dataclasses import asdict

import pytest

from onebit.cli.main import main
from onebit.study import StudyError, read_study, run_study, study_rows, study_table
from onebit.study.worker import MEASURED, MODEL, Work, do
from onebit.train import Busy

STUDY = """
recipe: vgg-small-digits
settings: {epochs: 1, max_steps: 2, batch_size: 16, model_options: {width: 0.0625}}
runs:
  distilled: {seeds: [0, 1], settings: {scheme: bireal, method: distillation, teacher: "run:float"}}
  float: {label: float | real, settings: {scheme: float}}
"""


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "tiny.yaml"
    path.write_text(STUDY)
    return path


class Fake:
    """A worker that ends the second time it is asked, well or not, and notes what happens to it."""

    def __init__(self, log, fails=()):
        self.log, self.fails, self.running, self.most = log, fails, 0, 0

    def __call__(self, key, work, say):
        self.log.append(key)
        self.running += 1
        self.most = max(self.most, self.running)
        return FakeWorker(self, key, work)


class FakeWorker:
    def __init__(self, owner, key, work):
        self.owner, self.key, self.work, self.asked, self.stopped = owner, key, work, 0, False

    def ended(self):
        self.asked += 1
        if self.asked < 2:
            return None
        self.owner.running -= 1
        return self.key not in self.owner.fails

    def interrupt(self):
        self.owner.log.append(f"{self.key} interrupted")


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr("onebit.study.runner._POLL", 0.001)


def test_what_is_needed_comes_first_and_jobs_run_beside_each_other(file, tmp_path):
    log = []
    one, two = Fake(log), Fake(log)
    run_study(read_study(file), tmp_path / "one", start=one, say=log.append)
    assert log[1:] == ["float-seed0", "distilled-seed0", "distilled-seed1"]
    assert one.most == 1
    run_study(read_study(file), tmp_path / "two", start=two, jobs=2)
    assert two.most == 2


def test_what_needs_a_failed_run_is_left_out(file, tmp_path):
    said = []
    with pytest.raises(StudyError, match="3 of 3 runs failed"):
        run_study(read_study(file), tmp_path, start=Fake([], fails=("float-seed0",)), say=said.append)
    assert "distilled-seed1: left out, as float-seed0 failed" in said
    log = []
    with pytest.raises(StudyError, match="1 of 3 runs failed: distilled-seed0"):
        run_study(read_study(file), tmp_path, start=Fake(log, fails=("distilled-seed0",)), say=said.append)
    assert log[-1] == "distilled-seed1"


def test_an_interrupt_reaches_every_worker(file, tmp_path):
    log = []

    def start(key, work, say):
        if key == "distilled-seed1":
            raise KeyboardInterrupt
        return Fake(log)(key, work, say)

    with pytest.raises(KeyboardInterrupt):
        run_study(read_study(file), tmp_path, start=start, jobs=2, say=log.append)
    assert log[-2:] == ["waiting for distilled-seed0 to leave a checkpoint", "distilled-seed0 interrupted"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_reaches_every_worker_though_it_was_ignored(file, tmp_path, number):
    log = []

    def start(key, work, say):
        os.kill(os.getpid(), number)
        return Fake(log)(key, work, say)

    before = signal.signal(number, signal.SIG_IGN)  # as in a script's background commands
    try:
        with pytest.raises(KeyboardInterrupt):
            run_study(read_study(file), tmp_path, start=start, say=log.append)
        assert signal.getsignal(number) is signal.SIG_IGN
    finally:
        signal.signal(number, before)
    assert log[-2:] == ["waiting for float-seed0 to leave a checkpoint", "float-seed0 interrupted"]


def test_two_studies_in_one_folder_refuse_each_other(file, tmp_path):
    inside, go_on = threading.Event(), threading.Event()

    def start(key, work, say):
        inside.set()
        go_on.wait(60)
        return Fake([])(key, work, say)

    first = threading.Thread(target=run_study, args=(read_study(file), tmp_path), kwargs={"start": start})
    first.start()
    assert inside.wait(60)
    with pytest.raises(Busy, match="another folder"):
        run_study(read_study(file), tmp_path, start=Fake([]))
    go_on.set()
    first.join()


class Here:
    """A worker that does its work at once, in this process."""

    def __init__(self, key, work, say):
        do(Work(**json.loads(json.dumps(asdict(work)))))

    def ended(self):
        return True


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A study that was run to its end."""
    folder = tmp_path_factory.mktemp("study")
    (folder / "tiny.yaml").write_text(STUDY)
    run_study(read_study(folder / "tiny.yaml"), folder / "runs", start=Here)
    return folder


def test_runs_in_processes_of_their_own(tmp_path, capsys):
    (tmp_path / "tiny.yaml").write_text(STUDY.replace("  distilled", "  sgd: {settings: {optimizer: sgd}}\n  #"))
    wanted = ["study", str(tmp_path / "tiny.yaml"), "--runs", str(tmp_path / "runs"), "--jobs", "2", "--seconds", "0"]
    assert main([*wanted, "--json"]) == 0
    told = capsys.readouterr()
    result = json.loads(told.out)
    assert (result["finished"], [row["row"] for row in result["rows"]]) == (2, ["sgd", "float"])
    assert "sgd-seed0: epoch 1/1" in told.err
    assert (tmp_path / "runs" / "report.html").is_file()


def test_the_table(trained, capsys):
    assert (
        main(
            [
                "study",
                str(trained / "tiny.yaml"),
                "--runs",
                str(trained / "runs"),
                "--report",
                "--seconds",
                "0",
                "--json",
            ]
        )
        == 0
    )
    result = json.loads(capsys.readouterr().out)
    assert (result["finished"], result["unfinished"]) == (3, {})
    distilled, real = result["rows"]
    assert (distilled["n"], real["n"], real["spread"]) == (2, 1, None)
    values = []
    for seed in (0, 1):
        record = json.loads((trained / "runs" / f"distilled-seed{seed}" / "record.json").read_text())
        values.append(record["epochs"][-1]["test_accuracy"])
    assert distilled["mean"] == pytest.approx(sum(values) / 2)
    assert distilled["spread"] == pytest.approx(abs(values[0] - values[1]) / 2**0.5)
    assert (distilled["images"], distilled["other"]) == (720, 0)
    assert (
        main(["study", str(trained / "tiny.yaml"), "--runs", str(trained / "runs"), "--report", "--seconds", "0"]) == 0
    )
    told = capsys.readouterr().out
    assert "float | real  one run" in told
    assert "3 of 3 runs are finished" in told
    study = read_study(trained / "tiny.yaml")
    assert r"| float \| real | one run |" in study_table(study, study_rows(study, trained / "runs"))


def test_a_finished_study_trains_nothing(trained):
    log = []
    run_study(read_study(trained / "tiny.yaml"), trained / "runs", start=Fake(log), say=log.append)
    assert log == ["tiny: 3 of 3 runs are finished"]


def test_another_setting_is_refused_before_anything_is_trained(trained):
    log = []
    (trained / "other.yaml").write_text(STUDY.replace("max_steps: 2", "max_steps: 3"))
    with pytest.raises(StudyError, match=r"distilled-seed0' was started with max_steps 2, not 3"):
        run_study(read_study(trained / "other.yaml"), trained / "runs", start=Fake(log), say=log.append)
    assert log == []


@pytest.mark.parametrize("gone", [(MEASURED,), (MODEL, MEASURED)])
def test_what_was_cut_goes_on_and_gives_the_same_table(trained, gone):
    study = read_study(trained / "tiny.yaml")
    before = study_rows(study, trained / "runs")
    for name in gone:
        (trained / "runs" / "float-seed0" / name).unlink()
    assert [row["n"] for row in study_rows(study, trained / "runs")] == [2]
    run_study(study, trained / "runs", start=Here)
    assert study_rows(study, trained / "runs") == before


def test_a_dry_run_trains_nothing_and_tells_hours(file, tmp_path, capsys):
    assert main(["study", str(file), "--runs", str(tmp_path / "runs"), "--dry_run", "--json"]) == 0
    unfinished = json.loads(capsys.readouterr().out)["unfinished"]
    assert list(unfinished) == ["float-seed0", "distilled-seed0", "distilled-seed1"]
    assert all(0 < hours < 1 for hours in unfinished.values())
    assert not (tmp_path / "runs").exists()


def test_what_a_worker_cannot_do_is_one_line(tmp_path):
    work = Work("vgg-small-digits", {"model": "vgg-smal"}, str(tmp_path / "out"), None)
    (tmp_path / "work.json").write_text(json.dumps(asdict(work)))
    done = subprocess.run(
        [sys.executable, "-m", "onebit.study", str(tmp_path / "work.json")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1


def test_what_a_study_leaves(trained, capsys, tmp_path):
    copies, file, runs = tmp_path / "copies", str(trained / "tiny.yaml"), str(trained / "runs")
    assert main(["study", file, "--runs", runs, "--report", "--to", str(copies), "--seconds", "0"]) == 0
    text = "".join(path.read_text() for path in copies.rglob("*.json"))
    assert str(trained) not in text  # a copy says nothing of the machine's folders
    assert not list(copies.rglob("*.safetensors")) + list(copies.rglob("*.ckpt"))
    table = (copies / "table.md").read_text()
    page = (copies / "report.html").read_text()
    assert r"| float \| real | one run |" in table
    assert "<td>float | real</td>" in page
    assert "The packed network gives" in page
    assert (copies / "scores.png").read_bytes().startswith(b"\x89PNG")

    capsys.readouterr()
    assert main(["study", file, "--runs", str(copies), "--report", "--seconds", "0", "--json"]) == 0
    again = json.loads(capsys.readouterr().out)
    assert again["rows"] == study_rows(read_study(file), runs)
    assert again["files"] == [str(copies / name) for name in ("table.md", "scores.png", "report.html")]
    assert (copies / "table.md").read_text() == table

    assert main(["study", file, "--runs", runs, "--report", "--to", runs]) == 1
    assert "name another one for the copies" in capsys.readouterr().err


def test_a_report_about_a_study(trained, capsys, tmp_path):
    page, file, runs = tmp_path / "page.html", str(trained / "tiny.yaml"), str(trained / "runs")
    wanted = ["report", file, "--study_runs", runs, "--out", str(page), "--seconds", "0"]
    assert main([*wanted, "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in result["runs"]] == ["distilled-seed0", "distilled-seed1", "float-seed0"]
    assert page.read_text().index("<td>float | real</td>") < page.read_text().index("float-seed0")
    assert main(["report", file, "--study_runs", str(tmp_path), "--out", str(page)]) == 1
    assert "no run of" in capsys.readouterr().err
    assert main(["report", file, file, "--out", str(page)]) == 2
    assert "name one study file" in capsys.readouterr().err
    assert main(["report", runs, "--study_runs", runs, "--out", str(page)]) == 2
    assert "name the study file, too" in capsys.readouterr().err
