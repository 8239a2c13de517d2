"""A study on a local Ray cluster: the same folders and the same table; what Ray cancels leaves a checkpoint."""

import json
import time

import pytest

from onebit.cli.main import main
from onebit.study.worker import Work

pytest.importorskip("ray")
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]  # Ray's own warnings

STUDY = """
recipe: vgg-small-digits
settings: {epochs: 1, max_steps: 2, batch_size: 16, model_options: {width: 0.0625}}
runs:
  distilled: {settings: {scheme: bireal, method: distillation, teacher: "run:float"}}
  float: {settings: {scheme: float}}
"""


def test_a_study_on_two_workers_gives_the_table_of_one_machine(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny.yaml").write_text(STUDY)
    assert main(["study", "tiny.yaml", "--ray", "local", "--jobs", "2", "--json"]) == 0
    on_ray = json.loads(capsys.readouterr().out)["rows"]
    assert [row["n"] for row in on_ray] == [1, 1]
    assert main(["study", "tiny.yaml", "--runs", "here", "--json"]) == 0
    here = json.loads(capsys.readouterr().out)["rows"]
    for row in (*on_ray, *here):
        del row["seconds"]
    assert on_ray == here


def test_an_interrupt_leaves_a_checkpoint(tmp_path, monkeypatch):
    from onebit.recipes import RECIPES
    from onebit.study.on_ray import RayTask, connect, disconnect

    settings = RECIPES["vgg-small-digits"]().as_json() | {"epochs": 500, "model_options": {"width": 0.0625}}
    out = tmp_path / "run"
    connect("local")
    try:
        task = RayTask("long", Work("vgg-small-digits", settings, str(out), None, 1), print)
        deadline = time.monotonic() + 120
        while not (out / "checkpoints" / "last.ckpt").exists():
            assert task.ended() is None
            assert time.monotonic() < deadline
            time.sleep(0.1)
        task.interrupt()
        while task.ended() is None:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert task.ended() is False
        assert not (out / "model.json").exists()
    finally:
        disconnect()


def test_mistakes(capsys, tmp_path):
    (tmp_path / "tiny.yaml").write_text(STUDY)
    assert main(["study", str(tmp_path / "tiny.yaml"), "--ray", "127.0.0.1:1"]) == 1
    assert "no Ray cluster answers at '127.0.0.1:1'" in capsys.readouterr().err
