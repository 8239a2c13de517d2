"""The rows of one commit, timed on request: what ``compare.py`` starts for each of the two.

``networks``, ``speed`` and ``onebit`` are that commit's; little of them is used, since it must fit old commits too.
"""

import json
import sys
import time
from collections.abc import Callable
from functools import partial

import numpy as np
import torch

import networks
import speed
from onebit.runtime.engine import Engine, usable_isas


def work(words: list[str]) -> dict[str, Callable[[], object]]:
    """Row -> what is timed; the keys say what stays the same when options and labels are renamed."""
    found: dict[str, Callable[[], object]] = {}
    for row in networks.ROWS:
        name = " ".join([row.network, *sorted(map(str, row.options.values()))])
        if row.engine == "onebit" and wanted(name, words):
            try:
                found[name] = networks.prepare(row, 1, 1)[0].run
            except networks.Refused as why:
                print(f"{name}: {why}", file=sys.stderr)
    for channels, side in speed.SHAPES:
        for isa in usable_isas():
            name = f"layer {channels} ch {side}x{side} {isa}"
            if wanted(name, words):
                engine = Engine(speed.layer_graph(channels, side), threads=1, isa=isa)
                image = np.random.default_rng(0).standard_normal((1, side, side, channels)).astype(np.float32)
                found[name] = partial(engine.run, image)
    return found


def wanted(name: str, words: list[str]) -> bool:
    """Whether the row is one of those that were asked for; all are where no word was given."""
    return not words or any(word.lower() in name.lower() for word in words)


def turn(function: Callable[[], object], seconds: float) -> list[float]:
    """Milliseconds of the calls that ``seconds`` have room for; the first tenth, one call at least, is left out."""
    begin = time.perf_counter()
    function()
    while time.perf_counter() < begin + seconds / 10:
        function()
    times: list[float] = []
    while not times or time.perf_counter() < begin + seconds:
        start = time.perf_counter()
        function()
        times.append((time.perf_counter() - start) * 1e3)
    return times


def serve(words: list[str]) -> None:
    """Say which rows there are, then time one for each line of standard input, as JSON lines."""
    rows = work(words)
    print(json.dumps(list(rows)), flush=True)
    for line in sys.stdin:
        name, seconds = json.loads(line)
        print(json.dumps(turn(rows[name], seconds)), flush=True)


if __name__ == "__main__":
    torch.set_num_threads(1)
    serve(sys.argv[1:])
