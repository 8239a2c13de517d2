"""Files of released format versions read as they did, and give the numbers they gave."""

from pathlib import Path

import numpy as np
import pytest

from onebit.format.file import load_graph
from onebit.format.graph import BITS, validate
from onebit.runtime.engine import Engine, usable_isas
from onebit.runtime.reference import ReferenceEngine

HERE = Path(__file__).parent


@pytest.mark.parametrize("backend", ["reference", *usable_isas()])
@pytest.mark.parametrize("name", sorted(path.stem for path in HERE.glob("*.onebit")))
def test_golden_file(name, backend):
    graph = load_graph(HERE / f"{name}.onebit")
    golden = np.load(HERE / f"{name}.npz")
    engine = ReferenceEngine(graph) if backend == "reference" else Engine(graph, isa=backend, keep_values=True)
    np.testing.assert_allclose(engine.run(golden["images"]), golden["output"], rtol=1e-4, atol=1e-5)
    for name, value in validate(graph).items():
        if value.type == BITS:  # no float of this network lies near enough to a threshold for rounding to matter
            assert np.array_equal(engine.values()[name], golden[name]), name
