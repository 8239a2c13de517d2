"""Cold start: the time and the memory that a new process needs until its first answer."""

import json
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass

# VmHWM rather than getrusage's maximum where there is one: the latter starts with what the parent had before exec.
_CHILD = """
import sys, time
times, path, threads = [time.perf_counter()], sys.argv[1], int(sys.argv[2])
for step in sys.argv[3:]:
    exec(step)
    times.append(time.perf_counter())
cpu = time.process_time()
def peak():
    try:
        with open("/proc/self/status") as file:
            return next(1024 * int(line.split()[1]) for line in file if line.startswith("VmHWM"))
    except OSError:
        pass
    try:
        import resource
    except ModuleNotFoundError:
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
import json
print(json.dumps({"steps": [b - a for a, b in zip(times, times[1:])], "cpu": cpu, "peak": peak()}))
"""


@dataclass(frozen=True)
class Steps:
    """Three pieces of Python that a new process executes in order, in one namespace that holds ``path``, the file, and
    ``threads``: the imports, loading the file, and computing the first answer.
    """

    imports: str
    load: str
    answer: str


ONEBIT = Steps(
    imports="import onebit",
    load="model = onebit.load(path, threads=threads)",
    answer="import numpy\n"
    "model(numpy.zeros((model.input.height, model.input.width, model.input.channels), numpy.uint8))",
)


@dataclass(frozen=True)
class ColdStart:
    """Statistics of ``count`` processes, started one after the other.

    ``seconds`` is the median time from the start of the process to its first answer. ``import_seconds``,
    ``load_seconds`` and ``answer_seconds`` are the medians of its parts; the rest is the start of Python.
    ``cpu_seconds`` is the minimum, which other processes affect least. ``peak_bytes`` is the largest peak memory, or
    None where the system does not report it.
    """

    seconds: float
    import_seconds: float
    load_seconds: float
    answer_seconds: float
    cpu_seconds: float
    peak_bytes: int | None
    count: int


def cold_start(path: str, *, threads: int = 1, count: int = 5, steps: Steps = ONEBIT) -> ColdStart:
    """Start ``count`` Python processes that execute ``steps``: import onebit, load the packed file at ``path``, run one
    image.

    Raises ValueError for a count below 1, and RuntimeError with the last line of its output if a process fails.
    """
    if count < 1:
        raise ValueError(f"count must be at least 1, got {count}")
    command = [sys.executable, "-c", _CHILD, path, str(threads), steps.imports, steps.load, steps.answer]
    seconds, answers = [], []
    for _ in range(count):
        start = time.perf_counter()
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        seconds.append(time.perf_counter() - start)
        if done.returncode != 0:
            raise RuntimeError(f"the fresh process failed: {(done.stderr.strip() or 'no message').splitlines()[-1]}")
        answers.append(json.loads(done.stdout.splitlines()[-1]))
    imports, loads, runs = (
        statistics.median(times) for times in zip(*(answer["steps"] for answer in answers), strict=True)
    )
    peaks = [answer["peak"] for answer in answers if answer["peak"] is not None]
    return ColdStart(
        seconds=statistics.median(seconds),
        import_seconds=imports,
        load_seconds=loads,
        answer_seconds=runs,
        cpu_seconds=min(answer["cpu"] for answer in answers),
        peak_bytes=max(peaks) if peaks else None,
        count=count,
    )
