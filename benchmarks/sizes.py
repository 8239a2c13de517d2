"""Measures the packed size of every network of the zoo and writes src/onebit/zoo/sizes.json.

The networks are untrained, with random norms, slopes and shifts, so that no tables are equal by accident; a trained one
differs by the bytes of its provenance.
"""

import json
from pathlib import Path

import torch

import onebit
from onebit.export.capture import capture
from onebit.export.fuse import fuse
from onebit.format.file import to_bytes
from onebit.format.graph import InputSpec
from onebit.models import build
from onebit.nn.randomize import randomize_
from onebit.zoo.networks import NETWORKS, Network

OUT = Path(onebit.__file__).parent / "zoo" / "sizes.json"


def measure(network: Network) -> int:
    """Bytes of the network's file.

    Packed without the comparison on images of noise that ``onebit.pack`` ends with: at 224x224 it takes minutes.
    """
    torch.manual_seed(0)
    model = build(network)
    randomize_(model, network.input_shape)
    channels, height, width = network.input_shape
    spec = InputSpec(height, width, channels, (0.0,) * channels, (1.0,) * channels, "RGB")
    with torch.no_grad():
        graph = fuse(capture(model, network.input_shape)).finish(spec, None, {})
    return len(to_bytes(graph))


def main() -> None:
    """Measure all and write the file."""
    sizes = {}
    for network in NETWORKS:
        sizes[network.name] = measure(network)
        print(f"{network.name:<24} {sizes[network.name]:>10}", flush=True)
    OUT.write_text(json.dumps(sizes, indent=2, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
