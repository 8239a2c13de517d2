"""Two commits compared: what counts as slower; and the process that times one of them."""

import subprocess
import sys
from pathlib import Path

import pytest

import compare
import onebit._core as _core

ROOT = Path(__file__).parents[2]


@pytest.fixture
def asked(monkeypatch):
    """``ask`` for both commits, whose calls take the milliseconds in ``speeds``, in rotation; and the turns taken."""
    turns = []

    def make(speeds):
        left = {side: list(times) for side, times in speeds.items()}

        def ask(side):
            def answer(row, seconds):
                turns.append((side, row))
                left[side].append(left[side].pop(0))
                return [left[side][-1]]

            return answer

        return {side: ask(side) for side in speeds}, turns

    return make


def test_turns_change_their_order(asked):
    ask, turns = asked({"before": [1.0], "after": [2.0]})
    times = compare.in_turn("net", 0.0, ask)
    assert [side for side, _ in turns] == ["before", "after", "after", "before", "before", "after"]
    assert (times.least(), times.median()) == (2.0, 2.0)


@pytest.mark.parametrize(
    ("after", "slower"),
    [
        ([1.02], False),
        ([1.04], True),
        ([0.99, 1.5, 1.5], False),  # the machine was busy: the least time tells
        ([1.0, 1.0, 1.0], False),
    ],
)
def test_a_row_is_slower_where_least_and_median_say_so(asked, after, slower):
    ask, _ = asked({"before": [1.0], "after": after})
    found = compare.compared(["net"], 0.0, 0.03, ask)
    assert found["net"].slower(0.03) == slower
    assert ("**slower**" in compare.table(found, 0.03)) == slower


def test_what_looks_slower_once_is_measured_again(asked):
    ask, turns = asked({"before": [1.0], "after": [1.5, 1.5, 1.5, 1.0, 1.0, 1.0]})
    found = compare.compared(["net"], 0.0, 0.03, ask)
    assert not found["net"].slower(0.03)
    assert len(turns) == 2 * (3 + 3)


def test_an_unknown_commit_is_refused():
    with pytest.raises(SystemExit, match="git rev-parse"):
        compare.tree_of("no-such-commit")


@pytest.mark.slow
def test_a_process_serves_the_rows_of_its_tree(tmp_path):
    """With the benchmarks and the package of that tree, where the core lies as `tree_of` puts it; one small row."""
    package = tmp_path / "src" / "onebit"
    package.mkdir(parents=True)
    for entry in (ROOT / "src" / "onebit").iterdir():
        (package / entry.name).symlink_to(entry)
    core = Path(_core.__file__)
    if not (package / core.name).exists():
        (package / core.name).symlink_to(core)
    (tmp_path / "benchmarks").symlink_to(ROOT / "benchmarks")
    process = compare.Process(tmp_path, ["four"])
    try:
        assert process.rows == ["four convolutions"]
        times = process.ask("four convolutions", 0.0)
        assert len(times) == 1
        assert times[0] > 0
    finally:
        process.close()


def test_a_process_that_fails_is_told(tmp_path):
    with pytest.raises(SystemExit, match="exit code"):
        compare.Process(tmp_path, [])


def test_help_needs_no_engine():
    done = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks" / "compare.py"), "--help"], capture_output=True, text=True, check=True
    )
    assert "--allowed" in done.stdout
