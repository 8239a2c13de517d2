"""Some hundred files that lie; `make fuzz` reads as many as it has time for."""

from collections import Counter
from random import Random

import pytest
from mutations import check, join, mutate, seeds, split

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
