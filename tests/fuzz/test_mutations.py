"""Some hundred files that lie; `make fuzz` reads as many as it has time for."""

import copy
from collections import Counter
from random import Random

import pytest
from mutations import MARK, RAW, WILD, check, join, mutate, seeds, split

from onebit.format.file import load_graph
from onebit.format.ops import OPS


def test_seeds_are_read_and_run(tmp_path):
    ops = {node["op"] for data in seeds() for node in split(data)[0]["nodes"]}
    assert ops == set(OPS)
    for data in seeds():
        assert check(data, tmp_path / "seed.onebit") == "ran"
        rejoined = tmp_path / "rejoined.onebit"
        rejoined.write_bytes(join(*split(data), honest_hash=True))
        load_graph(rejoined)


@pytest.mark.parametrize("start", range(4))
def test_files_that_lie_are_refused_or_run(tmp_path, start):
    results = Counter()
    corpus = seeds()
    for seed in range(100 * start, 100 * start + 100):
        random = Random(seed)
        results[check(mutate(random.choice(corpus), random), tmp_path / "lie.onebit")] += 1
    assert results["refused"] > 20
    assert results["ran"] > 2


def fields(value: object, path: tuple = ()) -> list[tuple]:
    """Paths of all fields and entries in a JSON value."""
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [p for key, entry in entries for p in [(*path, key), *fields(entry, (*path, key))]]


@pytest.mark.parametrize("place", range(len(seeds())))
def test_every_field_may_hold_anything(tmp_path, place):
    """Numbers that overflow, texts that nobody can print, what JSON can write and Python cannot: with a hash that fits,
    each is refused by a FormatError, or the file runs."""
    document, tensors = split(seeds()[place])
    random, results = Random(place), Counter()
    for *path, last in fields(document):
        altered = copy.deepcopy(document)
        holder = altered
        for key in path:
            holder = holder[key]
        holder[last] = random.choice((random.choice(WILD), MARK + random.choice(RAW)))
        results[check(join(altered, tensors, honest_hash=True), tmp_path / "lie.onebit")] += 1
    assert results["refused"] > results["ran"] > 0
