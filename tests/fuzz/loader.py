"""Reads, describes and runs altered packed files until the time is up; keeps a file of each kind of finding.

python tests/fuzz/loader.py --seconds 1200 --out build/fuzz/loader

With atheris installed, altered files are chosen by the code that they reach; otherwise by chance, and those that are
still valid are altered further.  A worker process does it, so that a crash of the core is one more finding.
"""

import argparse
import json
import os
import subprocess
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from random import Random
from types import FunctionType, ModuleType

try:
    import atheris
except ImportError:
    atheris = None

from mutations import check, mutate, seeds

POOL = 300  # files that were still valid, to alter further
EVERY = 500  # files between two notes of how many there were


class Findings:
    """Counts what becomes of files, and keeps the first one of each kind of finding: the error and where it arose;
    ``valid`` holds good files to alter."""

    def __init__(self, out: Path) -> None:
        self.out = out
        self.seeds, self.valid = seeds(), seeds()
        self.results: Counter[str] = Counter()
        self.counts = out / f"counts-{os.getpid()}.json"

    def check(self, data: bytes) -> str:
        """What becomes of the file ``data``."""
        (self.out / "last.onebit").write_bytes(data)  # what a crash leaves
        try:
            result = check(data, self.out / "file.onebit")
        except Exception as error:
            self.keep(data, error)
            result = "finding"
        if result == "ran":
            self.valid.append(data)
            self.valid = [*self.seeds, *self.valid[len(self.seeds) :][-POOL:]]
        self.results[result] += 1
        if self.results.total() % EVERY == 0:
            self.counts.write_text(json.dumps(self.results))
        return result

    def keep(self, data: bytes, error: Exception) -> None:
        place = traceback.extract_tb(error.__traceback__)[-1]
        name = f"{type(error).__name__}-{Path(place.filename).stem}-{place.lineno}"
        if not (self.out / f"{name}.onebit").exists():
            (self.out / f"{name}.onebit").write_bytes(data)
            (self.out / f"{name}.txt").write_text(traceback.format_exc(), errors="backslashreplace")


def watch(module: ModuleType) -> None:
    """Tells atheris what code of the module's functions is reached; while they are imported, it misses those of an
    editable install."""
    for holder in (module, *(value for value in vars(module).values() if isinstance(value, type))):
        for value in list(vars(holder).values()):
            if isinstance(value, FunctionType) and value.__module__ == module.__name__:
                atheris.instrument_func(value)


def by_coverage(seconds: int, findings: Findings) -> None:
    for name, module in list(sys.modules.items()):
        if name.startswith("onebit.format."):
            watch(module)
    corpus = findings.out / "corpus"
    corpus.mkdir(exist_ok=True)
    for index, data in enumerate(findings.seeds):
        (corpus / f"seed{index}").write_bytes(data)

    def alter(data: bytes, max_size: int, seed: int) -> bytes:
        random = Random(seed)  # most of the corpus is refused, and so is what is made of it
        return mutate(data if random.random() < 0.3 else random.choice(findings.valid), random)[:max_size]

    limits = [f"-max_total_time={seconds}", "-max_len=200000", "-rss_limit_mb=3000", "-timeout=60"]
    atheris.Setup([sys.argv[0], str(corpus), f"-artifact_prefix={findings.out}/", *limits], findings.check,
                  custom_mutator=alter)  # fmt: skip
    atheris.Fuzz()


def by_chance(seconds: int, findings: Findings, seed: int) -> None:
    random = Random(seed)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        findings.check(mutate(random.choice(findings.valid), random))
    findings.counts.write_text(json.dumps(findings.results))


def work(options: argparse.Namespace) -> None:
    findings = Findings(options.out)
    if atheris is None:
        by_chance(options.seconds, findings, options.seed)
    else:
        by_coverage(options.seconds, findings)


def supervise(options: argparse.Namespace, start: Callable[[int], int]) -> int:
    """Starts workers until the time is up; says what they found.  The exit status: 1 where there is a finding."""
    for old in options.out.iterdir():
        if old.is_file():
            old.unlink()
    end = time.monotonic() + options.seconds
    crashes = 0
    while (left := int(end - time.monotonic())) > 0:
        status = start(left)
        if status and left > 5:  # it ended before its time
            crashes += 1
            (options.out / "last.onebit").rename(options.out / f"crash-{crashes}-status{status}.onebit")
    totals: Counter[str] = Counter()
    for counts in options.out.glob("counts-*.json"):
        totals.update(json.loads(counts.read_text()))
    print(f"{totals.total()} files, counted by the {EVERY}: {dict(totals)}")
    found = [path for path in options.out.iterdir() if path.is_file() and path.suffix not in (".txt", ".json", ".log")]
    kinds = sorted(path.name for path in found if path.stem not in ("last", "file"))
    print(f"{len(kinds)} kinds of findings in {options.out}" + "".join(f"\n  {name}" for name in kinds))
    return 1 if kinds else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--out", type=Path, default=Path("build/fuzz/loader"))
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(4), "little"))
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    if options.worker:
        work(options)
    else:
        command = [sys.executable, __file__, "--worker", f"--out={options.out}", f"--seed={options.seed}"]

        def start(left: int) -> int:
            with (options.out / "worker.log").open("ab") as log:
                return subprocess.run([*command, f"--seconds={left}"], stdout=log, stderr=log, check=False).returncode

        sys.exit(supervise(options, start))
