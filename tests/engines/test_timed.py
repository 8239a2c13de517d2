"""The columns of times, and how much others use the cores, from made-up files of the system."""

import os
import time
from types import SimpleNamespace

import pytest

from onebit.engines import timed


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """A function that sets what the system says: ticks of (user, nice, idle, guest), own CPU seconds, the time."""
    monkeypatch.setattr(timed, "STAT", tmp_path / "stat")

    def now(user, nice, idle, guest, own, seconds):
        (tmp_path / "stat").write_text(f"cpu  {user} {nice} 0 {idle} 0 0 0 0 {guest} 0\ncpu0 1 2 3\n")
        times = SimpleNamespace(user=own, system=0.0, children_user=0.0, children_system=0.0)
        monkeypatch.setattr(timed.os, "times", lambda: times)
        monkeypatch.setattr(timed, "time", SimpleNamespace(perf_counter=lambda: seconds))

    return now


def test_cores_of_others(machine):
    """Ten seconds: a thousand ticks, of which this process used 4 seconds and others 5."""
    tick = os.sysconf("SC_CLK_TCK")
    machine(100, 50, 70, 30, 1.0, 20.0)
    measured = timed.Outside()
    machine(100 + 7 * tick, 50 + 2 * tick, 70 + 11 * tick, 30 + 7 * tick, 5.0, 30.0)
    assert measured.cores() == pytest.approx(0.5)


def test_never_below_nothing(machine):
    machine(0, 0, 0, 0, 0.0, 0.0)
    measured = timed.Outside()
    machine(0, 0, 0, 0, 1.0, 1.0)
    assert measured.cores() == 0


def test_a_system_that_does_not_tell(monkeypatch, tmp_path):
    monkeypatch.setattr(timed, "STAT", tmp_path / "none")
    assert timed.Outside().cores() is None
    assert "not known" in timed.warning([None])


def test_a_quiet_run_needs_no_words():
    assert timed.warning([0.0, 0.09, None]) == ""
    assert "up to 1.5 cores" in timed.warning([0.0, 1.5])


def test_columns_of_times():
    found = timed.timed({"a": lambda: None, "b": lambda: time.sleep(0.002)}, seconds=0, least=3)
    assert list(found) == ["a", "b"]
    assert found["b"]["count"] == 3
    assert 2 <= found["b"]["fastest_ms"] <= found["b"]["median_ms"] <= found["b"]["p90_ms"]
    assert found["a"]["outside_cores"] == found["b"]["outside_cores"]
    assert timed.timed({}) == {}
