"""Write the golden files.  Run it only when the format's version changes: the old files must stay readable until then.

python tests/golden/make.py
"""

from pathlib import Path

import numpy as np

from onebit.format.file import save_graph
from onebit.runtime.reference import ReferenceEngine
from onebit.runtime.selftest import small_network

HERE = Path(__file__).parent

if __name__ == "__main__":
    graph = small_network()
    save_graph(graph, HERE / "small-v1.onebit")
    images = np.random.default_rng(7).integers(0, 256, (3, 9, 9, 3), dtype=np.uint8)
    engine = ReferenceEngine(graph)
    output = engine.run(images)
    np.savez_compressed(HERE / "small-v1.npz", images=images, output=output, **engine.values())
