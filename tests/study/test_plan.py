"""Study files: what they say, and what is refused."""

from pathlib import Path

import pytest

from onebit.models import MODELS
from onebit.nn import as_scheme
from onebit.study import StudyError, read_study

ROOT = Path(__file__).resolve().parents[2]
GOOD = """
title: Digits
recipe: vgg-small-digits
settings: {epochs: 2, lr: 0.01}
seeds: [0, 1]
runs:
  distilled:
    label: with a teacher
    settings: {method: distillation, teacher: "run:float"}
  float: {seeds: [1], settings: {scheme: float, lr: 0.02}}
  tb:
"""


@pytest.fixture
def written(tmp_path):
    def write(text):
        (tmp_path / "some.yaml").write_text(text)
        return tmp_path / "some.yaml"

    return write


def test_rows_inherit_and_add_to_what_holds_for_all(written):
    study = read_study(written(GOOD))
    assert (study.name, study.title) == ("some", "Digits")
    assert [run.key for run in study] == ["distilled-seed0", "distilled-seed1", "float-seed1", "tb-seed0", "tb-seed1"]
    distilled, _, real, plain, _ = study
    assert (distilled.label, plain.label) == ("with a teacher", "tb")
    assert [run.settings.lr for run in (distilled, real, plain)] == [0.01, 0.02, 0.01]
    assert {run.settings.epochs for run in study} == {2}
    assert [run.settings.seed for run in study] == [0, 1, 1, 0, 1]


def test_a_run_waits_for_the_one_with_its_seed_or_the_first(written, tmp_path):
    study = read_study(written(GOOD))
    assert [run.needs for run in study] == [("float-seed1",), ("float-seed1",), (), (), ()]
    assert study.in_order()[0].key == "float-seed1"
    assert study.runs[0].settings_in(tmp_path)["teacher"] == str(tmp_path / "float-seed1")
    both = read_study(written(GOOD.replace("seeds: [1]", "seeds: [0, 1]")))
    assert [run.needs for run in both][:2] == [("float-seed0",), ("float-seed1",)]


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        (GOOD, "[1, 2]", "the document must be an object"),
        (GOOD, "{", "it is no YAML"),
        (GOOD, "runs: {}", "field 'runs' names no run"),
        ("recipe: vgg-small-digits\n", "", r"field 'runs\.distilled\.recipe' is missing"),
        ("vgg-small-digits", "vgg-small-digit", "did you mean 'vgg-small-digits'"),
        ("title:", "titel:", "the study has the unknown field 'titel'"),
        ("label:", "labels:", r"runs\.distilled has the unknown field 'labels'"),
        (
            "run:float",
            "run:flot",
            r"runs\.distilled: teacher names the run 'flot'; choose one of \['distilled', 'float'",
        ),
        ("run:float", "run:distilled", "need each other in a circle"),
        ("lr: 0.02", "lr: none", r"runs\.float: lr must be a number, got 'none'"),
        ("lr: 0.02", "seed: 3", "'seed' is no setting of a study"),
        ("lr: 0.02", "learning_rate: 3", r"runs\.float: .*learning_rate"),
        ("[1]", "[]", r"runs\.float\.seeds' must name each seed once, and at least one"),
        ("[1]", "[1, 1]", "must name each seed once"),
        ("[1]", "[-1]", r"runs\.float\.seeds' must be a list, each entry an integer from 0"),
        ("  tb:", "  ../tb:", "a run's name must be"),
        ("  tb:", "  tb: 3", r"field 'runs\.tb' must be an object"),
    ],
)
def test_mistakes(written, before, after, message):
    assert before in GOOD
    with pytest.raises(StudyError, match=message) as error:
        read_study(written(GOOD.replace(before, after)))
    assert "some.yaml': " in str(error.value)


@pytest.mark.parametrize("path", sorted((ROOT / "studies").glob("*.yaml")), ids=lambda path: path.stem)
def test_the_studies_of_the_repository(path):
    study = read_study(path)
    assert study.title != path.stem
    assert len(study.runs) > 1
    for run in study:
        settings = run.settings
        scheme = as_scheme(settings.scheme, **settings.scheme_options)
        MODELS[settings.model](scheme=scheme, num_classes=10, **settings.model_options)
