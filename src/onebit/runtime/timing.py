"""Timing of alternatives for comparison: alternating, in one process, reported as medians."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Timing:
    """Seconds per call: median, 90th percentile, minimum, and the number of calls."""

    median: float
    p90: float
    fastest: float
    count: int


def time_in_turn(
    work: Mapping[str, Callable[[], object]],
    *,
    seconds: float = 2.0,
    warmup: int = 3,
    least: int = 11,
    stay: float = 0.0,
) -> dict[str, Timing]:
    """Time several functions in alternation, A B A B ..., so that changes of the clock frequency affect all of them
    equally.

    Args:
        work: name -> function without arguments.
        seconds: total duration; it is exceeded if a function has fewer than ``least`` calls by then.
        least: minimum number of calls of each function.
        warmup: uncounted calls of each function.
        stay: seconds per turn with one function, A A A B B B ...  The calls in the first tenth of a turn, at least one,
            are not counted: they fill the caches, and let the threads of the previous function go to sleep. 0: one
            counted call per turn.
    """
    for function in work.values():
        for _ in range(warmup):
            function()
    times: dict[str, list[float]] = {name: [] for name in work}
    deadline = time.perf_counter() + seconds
    while time.perf_counter() < deadline or any(len(t) < least for t in times.values()):
        for name, function in work.items():
            times[name] += _calls(function, stay)
    return {name: Timing(float(np.median(t)), float(np.quantile(t, 0.9)), min(t), len(t)) for name, t in times.items()}


def _calls(function: Callable[[], object], stay: float) -> list[float]:
    """Durations of the counted calls of one turn of ``stay`` seconds, at least one."""
    begin = time.perf_counter()
    if stay:
        function()
    while time.perf_counter() < begin + stay / 10:
        function()
    seconds: list[float] = []
    while not seconds or time.perf_counter() < begin + stay:
        start = time.perf_counter()
        function()
        seconds.append(time.perf_counter() - start)
    return seconds
