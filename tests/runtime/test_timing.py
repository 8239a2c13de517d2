"""Timing in turn."""

import time

from onebit.runtime.timing import time_in_turn


def called(stay):
    calls = []

    def work(name):
        def call():
            calls.append(name)
            time.sleep(1e-3)

        return call

    timing = time_in_turn({"a": work("a"), "b": work("b")}, seconds=0, warmup=0, least=3, stay=stay)
    return "".join(calls), timing


def test_one_call_each():
    calls, timing = called(0)
    assert calls == "ababab"
    assert timing["a"].count == timing["b"].count == 3
    assert 1e-3 <= timing["a"].fastest <= timing["a"].median <= timing["a"].p90


def test_staying_leaves_out_the_first_calls():
    calls, timing = called(20e-3)
    assert calls.startswith("aa")
    assert calls.count("ab") < timing["a"].count, "more than one call in a stay"
    assert timing["a"].count < calls.count("a"), "the first calls of a stay are not counted"
