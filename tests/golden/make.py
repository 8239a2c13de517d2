"""Write the golden files.  Run it only when the format's version changes: the old files must stay readable until then.

python tests/golden/make.py
"""

from pathlib import Path

import numpy as np

from onebit.format.file import save_graph
from onebit.runtime.reference import ReferenceEngine
from onebit.runtime.selftest import moving_network, small_network

HERE = Path(__file__).parent

NETWORKS = {"small-v1": small_network, "moves-v2": moving_network}

if __name__ == "__main__":
    for name, network in NETWORKS.items():
        graph = network()
        save_graph(graph, HERE / f"{name}.onebit")
        shape = (3, graph.input.height, graph.input.width, 3)
        images = np.random.default_rng(7).integers(0, 256, shape, dtype=np.uint8)
        engine = ReferenceEngine(graph)
        output = engine.run(images)
        np.savez_compressed(HERE / f"{name}.npz", images=images, output=output, **engine.values())
