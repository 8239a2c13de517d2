"""The engines that ``networks.py`` compares: a module each, imported only when a row needs it.

Every module has one function::

    prepare(network: nn.Module, image_BCHW: NDArray, *, threads: int, numbers: str, **options) -> Prepared

``network`` is in eval mode and computes in torch what the engine is to compute; ``image_BCHW`` is the batch, float32;
``numbers`` is what the convolutions are to compute in: "1-bit", "int8", "bf16" or "fp32".  It raises ``Refused`` where
the engine cannot do that on this machine, or does something else; a package that is missing raises by itself.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onebit.runtime.cold import Steps
from onebit.runtime.profile import Profile


class Refused(Exception):
    """A row that cannot be measured here; the text says why."""


@dataclass(frozen=True)
class Fresh:
    """How a process of its own gets to the first answer: ``save`` writes the file into a folder and names it."""

    save: Callable[[Path], Path]
    steps: Steps


@dataclass(frozen=True)
class Prepared:
    """A network ready to be timed.

    Args:
        run: computes the logits (B, classes) of the batch that the network was prepared with.
        runs_as: what the convolutions really run as, as the engine tells it.
        facts: more columns for the report's lines.
        fresh: for the cold start, of one image; None where it is not to be measured.
        profile: the time of every layer; None where the engine does not tell.
    """

    run: Callable[[], NDArray[np.float32]]
    runs_as: str
    facts: dict[str, Any]
    fresh: Fresh | None = None
    profile: Callable[[], Profile] | None = None


MEAN, STD = 0.5, 0.25  # of every channel, for pixels of 0...1


def noise(shape_BCHW: tuple[int, ...], seed: int) -> NDArray[np.float32]:
    """Pixels of noise, normalized: ``(pixel/255 - MEAN)/STD``."""
    pixels = np.random.default_rng(seed).integers(0, 256, shape_BCHW)
    return ((pixels / 255 - MEAN) / STD).astype(np.float32)


def calibration(shape_CHW: tuple[int, ...], count: int = 8) -> list[NDArray[np.float32]]:
    """Images (1, C, H, W), for engines that choose the ranges of int8 activations."""
    return [noise((1, *shape_CHW), seed) for seed in range(1, count + 1)]
