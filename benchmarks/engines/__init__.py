"""The engines that ``networks.py`` compares: a module each, imported only when a row needs it.

Every module has one function::

    prepare(network: nn.Module, image_BCHW: NDArray, *, threads: int, numbers: str, **options) -> Prepared

``network`` is in eval mode and computes in torch what the engine is to compute; ``image_BCHW`` is the batch, float32;
``numbers`` is what the convolutions are to compute in: "1-bit", "int8", "bf16" or "fp32".  It raises ``Refused`` where
the engine cannot do that on this machine, or does something else; a package that is missing raises by itself.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


class Refused(Exception):
    """A row that cannot be measured here; the text says why."""


@dataclass(frozen=True)
class Prepared:
    """A network ready to be timed.

    Args:
        run: computes the logits (B, classes) of the batch that the network was prepared with.
        runs_as: what the convolutions really run as, as the engine tells it.
        facts: more columns for the report's lines.
    """

    run: Callable[[], NDArray[np.float32]]
    runs_as: str
    facts: dict[str, Any]


def calibration(shape_CHW: tuple[int, ...], count: int = 8) -> list[NDArray[np.float32]]:
    """Images of noise (1, C, H, W), for engines that choose the ranges of int8 activations."""
    rng = np.random.default_rng(1)
    return [rng.standard_normal((1, *shape_CHW), np.float32) for _ in range(count)]
