"""Timing in turn, by a clock that only the work moves."""

from types import SimpleNamespace

import pytest

from onebit.runtime import timing


@pytest.fixture
def called(monkeypatch):
    clock, calls = [0.0], []
    monkeypatch.setattr(timing, "time", SimpleNamespace(perf_counter=lambda: clock[0]))

    def work(name, seconds):
        def call():
            calls.append(name)
            clock[0] += seconds

        return call

    def run(**settings):
        timings = timing.time_in_turn({"a": work("a", 1), "b": work("b", 4)}, seconds=0, warmup=0, **settings)
        return "".join(calls), timings

    return run


def test_one_call_each(called):
    calls, timings = called(least=3)
    assert calls == "ababab"
    assert timings == {"a": timing.Timing(1, 1, 1, 3), "b": timing.Timing(4, 4, 4, 3)}


def test_staying_leaves_out_the_first_calls(called):
    calls, timings = called(least=1, stay=20)
    assert calls == 20 * "a" + 5 * "b"
    assert (timings["a"].count, timings["b"].count) == (18, 4), (
        "a tenth of the stay, but one call at least, is left out"
    )
