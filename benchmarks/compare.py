"""Two commits against each other: is any row slower than before?

Builds the core of both, starts a process for each, and times their rows in turn: a tenth of a second in the one, then
in the other, whose order changes every time, so that a change of the machine's speed meets both alike.  A row is an
own network of ``networks.py``, or a layer of ``speed.py`` on every instruction set, with one thread.  Rows that look
slower are measured again, three times as long, and a row counts as slower only where its least time and its median
both say so twice.  Prints a table; exit code 1 if a row is slower by more than --allowed.

    make compare BASE=main~5        or        python benchmarks/compare.py main~5 [HEAD] [--only vgg] [--seconds 4]

HEAD stands for the working tree, tracked files alone.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from onebit.engines.timed import Outside, warning
from onebit.files import write_atomic
from onebit.runtime.cpu import describe

ROOT = Path(__file__).resolve().parents[1]
CHILD = Path(__file__).with_name("compare_child.py")
START = f"""
import runpy, sys
tree = sys.argv.pop(1)
sys.meta_path[:] = [f for f in sys.meta_path if "ScikitBuild" not in type(f).__name__]  # an editable installation
sys.path[:1] = [tree + "/benchmarks", tree + "/src"]
import onebit
assert onebit.__file__.startswith(tree), onebit.__file__
runpy.run_path({str(CHILD)!r}, run_name="__main__")
"""
TURN = 0.1  # seconds
AGAIN = 3  # times as long


@dataclass
class Times:
    """Milliseconds of a row in both commits: all calls, and the median of each pair of turns."""

    calls: dict[str, list[float]] = field(default_factory=lambda: {"before": [], "after": []})
    pairs: list[float] = field(default_factory=list)

    def least(self) -> float:
        """Least time after by least time before: above 1 is slower."""
        return min(self.calls["after"]) / min(self.calls["before"])

    def median(self) -> float:
        """The median over all pairs of turns of the ratio of their medians: above 1 is slower."""
        return statistics.median(self.pairs)

    def slower(self, allowed: float) -> bool:
        """Whether both ratios say that the row is slower by more than ``allowed``."""
        return min(self.least(), self.median()) > 1 + allowed


Ask = Callable[[str, float], list[float]]


def in_turn(row: str, seconds: float, ask: dict[str, Ask]) -> Times:
    """Both commits' times of a row, one turn each, until ``seconds`` are over; three pairs at least."""
    times = Times()
    order = ["before", "after"]
    deadline = time.perf_counter() + seconds
    while len(times.pairs) < 3 or time.perf_counter() < deadline:
        medians = {}
        for side in order:
            found = ask[side](row, TURN)
            times.calls[side] += found
            medians[side] = statistics.median(found)
        times.pairs.append(medians["after"] / medians["before"])
        order.reverse()
    return times


def compared(rows: list[str], seconds: float, allowed: float, ask: dict[str, Ask]) -> dict[str, Times]:
    """The times of all rows; of those that looked slower, what the second, longer measurement says."""
    found = {row: in_turn(row, seconds, ask) for row in rows}
    again = [row for row, times in found.items() if times.slower(allowed)]
    return found | {row: in_turn(row, AGAIN * seconds, ask) for row in again}


def table(found: dict[str, Times], allowed: float) -> str:
    """Markdown: a line for each row."""
    head = ["row", "before ms", "after ms", "least, before", "least, after", "median ratio", "least ratio", "calls", ""]
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for row, times in found.items():
        before, after = times.calls["before"], times.calls["after"]
        numbers = [f"{value:.3f}" for value in (*map(statistics.median, (before, after)), min(before), min(after))]
        ratios = [f"{times.median():.3f}", f"{times.least():.3f}"]
        mark = "**slower**" if times.slower(allowed) else ""
        lines.append(f"| {' | '.join([row, *numbers, *ratios, f'{len(before)}, {len(after)}', mark])} |")
    return "\n".join(lines)


def tree_of(commit: str) -> str:
    """The hash of a commit; of the working tree's tracked files for HEAD.  SystemExit if there is none."""
    if commit == "HEAD" and (dirty := git("stash", "create")):
        return dirty
    return git("rev-parse", "--verify", f"{commit}^{{commit}}")


def git(*arguments: str) -> str:
    """What git prints."""
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"git {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout.strip()


def build(commit: str, folder: Path) -> Path:
    """The files of ``commit`` in a folder of its own, with the core beside its Python; made once."""
    tree = folder / commit[:12]
    if list((tree / "src" / "onebit").glob("_core*")):
        return tree
    print(f"building {commit[:12]} in {tree}", file=sys.stderr, flush=True)
    tree.mkdir(parents=True, exist_ok=True)
    archive = subprocess.run(["git", "archive", commit], cwd=ROOT, stdout=subprocess.PIPE, check=True).stdout
    subprocess.run(["tar", "-x", "-C", str(tree)], input=archive, check=True)
    tools = Path(sys.executable).parent
    ninja = f"-DCMAKE_MAKE_PROGRAM={tools / 'ninja'}"
    python = f"-DPython_EXECUTABLE={sys.executable}"
    what = ["-DONEBIT_PYTHON=ON", "-DONEBIT_TESTS=OFF", "-DCMAKE_BUILD_TYPE=Release", python]
    for command in (["-S", tree, "-B", tree / "build", "-G", "Ninja", ninja, *what], ["--build", tree / "build"]):
        subprocess.run([tools / "cmake", *command], check=True, stdout=subprocess.DEVNULL)
    for core in (tree / "build").glob("_core*"):
        core.rename(tree / "src" / "onebit" / core.name)
    return tree


class Process:
    """A process of one commit, which runs ``compare_child.py`` with the onebit and the benchmarks of that commit."""

    def __init__(self, tree: Path, words: list[str]) -> None:
        self.child = subprocess.Popen(
            [sys.executable, "-c", START, str(tree), *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.rows: list[str] = self._read()

    def _read(self) -> Any:
        assert self.child.stdout is not None
        line = self.child.stdout.readline()
        if not line:
            self.close()
            raise SystemExit(f"a process ended with exit code {self.child.returncode}")
        return json.loads(line)

    def ask(self, row: str, seconds: float) -> list[float]:
        """Milliseconds of the calls of one turn."""
        assert self.child.stdin is not None
        self.child.stdin.write(json.dumps([row, seconds]) + "\n")
        self.child.stdin.flush()
        return self._read()

    def close(self) -> None:
        """End the process."""
        self.child.communicate()


def main() -> int:
    """Build, measure, print; 1 where a row is slower."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("before", help="the commit to compare with")
    parser.add_argument("after", nargs="?", default="HEAD", help="the commit that may be slower")
    parser.add_argument("--only", nargs="+", default=[], help="parts of the rows' names")
    parser.add_argument("--seconds", type=float, default=4.0, help="per row")
    parser.add_argument("--allowed", type=float, default=0.03, help="share by which a row may be slower")
    parser.add_argument("--trees", type=Path, default=ROOT / "build" / "compare", help="folder of the built commits")
    parser.add_argument("--out", type=Path, help="file for the table")
    arguments = parser.parse_args()
    commits = {"before": tree_of(arguments.before), "after": tree_of(arguments.after)}
    trees = {side: build(commit, arguments.trees) for side, commit in commits.items()}
    processes = {side: Process(tree, arguments.only) for side, tree in trees.items()}
    both = [row for row in processes["after"].rows if row in processes["before"].rows]
    if not both:
        raise SystemExit(f"--only {' '.join(arguments.only)} matches no row of both commits")
    outside = Outside()
    found = compared(both, arguments.seconds, arguments.allowed, {side: p.ask for side, p in processes.items()})
    for process in processes.values():
        process.close()
    noise = warning([outside.cores()])
    alone = sorted({*processes["before"].rows} ^ {*processes["after"].rows})
    text = [
        f"{describe()}; before: {arguments.before} ({commits['before'][:12]}), after: {arguments.after} "
        f"({commits['after'][:12]}); one thread, batch 1; ratios above 1 are slower.",
        *([noise] if noise else []),
        table(found, arguments.allowed),
        *([f"In one commit only: {', '.join(alone)}."] if alone else []),
    ]
    print("\n\n".join(text))
    if arguments.out:
        write_atomic(arguments.out, ("\n\n".join(text) + "\n").encode())
    return int(any(times.slower(arguments.allowed) for times in found.values()))


if __name__ == "__main__":
    sys.exit(main())
