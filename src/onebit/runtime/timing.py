"""Fair timing of things that are to be compared: in turn, in one process, as medians."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Timing:
    """Seconds per call: median, 90th percentile, shortest, and how many calls they come from."""

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
    """Call every function of ``work`` in turn, A B A B ..., so that a change of the machine's speed meets all alike.

    Args:
        work: name -> function without arguments.
        seconds: stop after this long in all, but
        least: not before every function was called so often.
        warmup: calls of each that are not counted.
        stay: seconds with one function before the next, A A A B B B ...; the calls in the first tenth of them, one at
            least, are not counted: by then the caches are the function's own, and the threads of the one before sleep.
            0 stands for one call, counted.
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
    """Seconds of the calls that ``stay`` has room for, one at least; see above for those that are not counted."""
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
