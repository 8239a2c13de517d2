"""Times of alternatives as every report has them, and the load from outside: how busy other processes kept the cores
in the meantime.
"""

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from onebit.runtime.timing import time_in_turn

STAT = Path("/proc/stat")
NOTICED = 0.1  # cores; below it are the clock's own resolution and the system's small chores
IDLE = (3, 4)  # columns of /proc/stat: idle, waiting for a disk
GUEST = (8, 9)  # counted in the columns of user time already


@dataclass(frozen=True)
class _Now:
    seconds: float
    busy: float  # CPU seconds of all processes, and of other machines on the same cores ("steal")
    own: float  # CPU seconds of this process and its children that have ended


def _now() -> _Now | None:
    try:
        columns = STAT.read_text().splitlines()[0].split()[1:]
    except OSError:  # not Linux
        return None
    ticks = sum(int(column) for index, column in enumerate(columns) if index not in (*IDLE, *GUEST))
    mine = os.times()
    own = mine.user + mine.system + mine.children_user + mine.children_system
    return _Now(time.perf_counter(), ticks / os.sysconf("SC_CLK_TCK"), own)


class Outside:
    """From its making to :meth:`cores`: the cores that other processes kept busy."""

    def __init__(self) -> None:
        self._start = _now()

    def cores(self) -> float | None:
        """``(CPU time of all - CPU time of this process) / time``, at least 0; None where the system does not tell."""
        end = _now()
        if self._start is None or end is None or end.seconds <= self._start.seconds:
            return None
        others = (end.busy - self._start.busy) - (end.own - self._start.own)
        return max(0.0, others / (end.seconds - self._start.seconds))


def timed(work: Mapping[str, Callable[[], object]], **options: Any) -> dict[str, dict[str, Any]]:
    """The columns of a report for every function of ``work``, all timed in turn (see ``time_in_turn``): median, least
    time and 90th percentile in milliseconds, number of calls, and the cores that other processes kept busy.
    """
    outside = Outside()
    timings = time_in_turn(work, **options) if work else {}
    cores = outside.cores()
    return {
        name: {
            "median_ms": timing.median * 1e3,
            "fastest_ms": timing.fastest * 1e3,
            "p90_ms": timing.p90 * 1e3,
            "count": timing.count,
            "outside_cores": cores,
        }
        for name, timing in timings.items()
    }


def warning(cores: list[float | None]) -> str:
    """A sentence for the head of a report: how many cores others kept busy, or that this is unknown; "" if quiet."""
    known = [value for value in cores if value is not None]
    if not known:
        return "How busy other processes kept the machine is not known here."
    if max(known) < NOTICED:
        return ""
    return (
        f"**Not a quiet machine: while this was measured, other processes kept up to {max(known):.1f} cores busy.** "
        "The least time of a row suffers less from that than its median."
    )
