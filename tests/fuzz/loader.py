"""Reads and runs altered packed files until the time is up; stops at the first finding and keeps its file.

python tests/fuzz/loader.py --seconds 1200 --out build/fuzz/loader

With atheris installed, altered files are chosen by the code that they reach; otherwise by chance, and those that are
still valid are altered further.
"""

import argparse
import os
import sys
import time
from collections import Counter
from pathlib import Path
from random import Random
from types import FunctionType, ModuleType

try:
    import atheris
except ImportError:
    atheris = None

from mutations import check, mutate, seeds

import onebit.format.file
import onebit.format.graph

POOL = 300  # files that were still valid, to alter further


def watch(module: ModuleType) -> None:
    """Tells atheris what code of the module's functions is reached; while they are imported, it misses those of an
    editable install."""
    for holder in (module, *(value for value in vars(module).values() if isinstance(value, type))):
        for value in list(vars(holder).values()):
            if isinstance(value, FunctionType) and value.__module__ == module.__name__:
                atheris.instrument_func(value)


def by_coverage(seconds: int, out: Path) -> None:
    watch(onebit.format.file)
    watch(onebit.format.graph)
    corpus = out / "corpus"
    corpus.mkdir(exist_ok=True)
    for index, data in enumerate(seeds()):
        (corpus / f"seed{index}").write_bytes(data)

    def alter(data: bytes, max_size: int, seed: int) -> bytes:
        return mutate(data, Random(seed))[:max_size]

    limits = [f"-max_total_time={seconds}", "-max_len=200000", "-rss_limit_mb=3000", "-timeout=60"]
    arguments = [sys.argv[0], str(corpus), f"-artifact_prefix={out}/", *limits]
    atheris.Setup(arguments, lambda data: check(data, out / "file.onebit"), custom_mutator=alter)
    atheris.Fuzz()


def by_chance(seconds: int, out: Path, seed: int) -> None:
    first, results, random = seeds(), Counter(), Random(seed)
    pool: list[bytes] = []
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        data = mutate(random.choice(pool if pool and random.random() < 0.5 else first), random)
        try:
            result = check(data, out / "file.onebit")
        except Exception:
            (out / "finding.onebit").write_bytes(data)
            print(f"finding: {out / 'finding.onebit'}, after {results.total()} files with seed {seed}", flush=True)
            raise
        results[result] += 1
        if result == "ran":
            pool.append(data)
            del pool[:-POOL]
    print(f"{results.total()} files without a finding: {dict(results)}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--out", type=Path, default=Path("build/fuzz/loader"))
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(4), "little"))
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    if atheris is None:
        by_chance(options.seconds, options.out, options.seed)
    else:
        by_coverage(options.seconds, options.out)
