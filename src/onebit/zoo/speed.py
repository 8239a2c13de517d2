"""The latency of a packed network on this machine, with the conditions of the measurement."""

import os
from datetime import datetime, timezone

import numpy as np

from onebit.format.graph import Graph
from onebit.runtime.cpu import describe
from onebit.runtime.model import Model
from onebit.runtime.timing import time_in_turn
from onebit.zoo.card import Speed


def measure_speed(graph: Graph, seconds: float = 1.0) -> Speed:
    """Time one image on one thread for that long; the image is noise, on which no latency depends."""
    load = round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None
    model, spec = Model(graph), graph.input
    image = np.random.default_rng(0).integers(0, 256, (spec.height, spec.width, spec.channels), dtype=np.uint8)
    timing = time_in_turn({"packed": lambda: model(image)}, seconds=seconds, stay=0.1)["packed"]
    return Speed(
        median_ms=milliseconds(timing.median),
        p90_ms=milliseconds(timing.p90),
        least_ms=milliseconds(timing.fastest),
        count=timing.count,
        isa=str(model.isa),
        machine=describe(),
        load=load,
        date=today(),
    )


def milliseconds(seconds: float) -> float:
    """With four significant digits."""
    return float(f"{1e3 * seconds:.4g}")


def today() -> str:
    """The date in UTC, "2026-11-25"."""
    return datetime.now(timezone.utc).date().isoformat()
