"""What the engines share: a module each, imported only when a row needs it.

Every module has one function::

    prepare(network: nn.Module, image_BCHW: NDArray, *, threads: int, numbers: str, **options) -> Prepared

``network`` is in eval mode and computes in torch what the engine is to compute; ``image_BCHW`` is the batch, float32;
``numbers`` is what the convolutions are to compute in: "1-bit", "int8", "bf16" or "fp32".  It raises ``Refused`` where
the engine cannot do that on this machine, or does something else; a package that is missing raises by itself.
"""

import contextlib
import importlib
import io
import logging
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as version_of
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from onebit.runtime.cold import Steps, cold_start
from onebit.runtime.profile import Profile

if TYPE_CHECKING:
    from torch import nn

PACKAGES = ("torch", "openvino", "nncf", "onnxruntime", "onnx", "numpy")
FRESH_PROCESSES = 3


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
        compute: computes the logits of another batch (B, C, H, W) of the same shape.
        runs_as: what the convolutions really run as, as the engine tells it.
        facts: more columns for the report's lines.
        fresh: for the cold start, of one image; None where it is not to be measured.
        profile: the time of every layer; None where the engine does not tell.
    """

    run: Callable[[], NDArray[np.float32]]
    compute: Callable[[NDArray[np.float32]], NDArray[np.float32]]
    runs_as: str
    facts: dict[str, Any] = field(default_factory=dict)
    fresh: Fresh | None = None
    profile: Callable[[], Profile] | None = None


MEAN, STD = 0.5, 0.25  # of every channel, for pixels of 0...1


def noise(shape_BCHW: tuple[int, ...], seed: int) -> NDArray[np.float32]:
    """Pixels of noise, normalized: ``(pixel/255 - MEAN)/STD``."""
    pixels = np.random.default_rng(seed).integers(0, 256, shape_BCHW)
    return ((pixels / 255 - MEAN) / STD).astype(np.float32)


@dataclass(frozen=True, eq=False)  # hashed by identity: a quantized network is kept per network and calibration
class Calibration:
    """The images (N, C, H, W) from which an engine chooses the ranges of int8 activations."""

    images_NCHW: NDArray[np.float32]

    def one_by_one(self) -> list[NDArray[np.float32]]:
        """The images as batches of one, (1, C, H, W)."""
        return [self.images_NCHW[i : i + 1] for i in range(len(self.images_NCHW))]


def calibration_of(given: Calibration | None, shape_CHW: tuple[int, ...]) -> Calibration:
    """The given images; 8 of noise without any."""
    return given or Calibration(np.concatenate([noise((1, *shape_CHW), seed) for seed in range(1, 9)]))


def prepare(
    engine: str, network: "nn.Module", image_BCHW: NDArray[np.float32], *, threads: int, numbers: str, **options: Any
) -> Prepared:
    """``network`` in an engine, "OpenVINO" for the module ``openvino``; Refused also where its packages are missing."""
    try:
        module = importlib.import_module(f"onebit.engines.{engine.lower().replace(' ', '')}")
        prepared: Prepared = module.prepare(network, image_BCHW, threads=threads, numbers=numbers, **options)
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package in ("", "onebit"):
            raise
        raise Refused(f'{package} is not installed: pip install "onebit[bench]"') from error
    return prepared


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without the progress bars and warnings of quantization tools, which tell of every layer."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.disable(level)


def cold(fresh: Fresh, threads: int) -> dict[str, Any]:
    """The cold start of what ``fresh`` saves, and the bytes of its files; RuntimeError where a process fails."""
    with TemporaryDirectory() as folder:
        path = fresh.save(Path(folder))
        size = sum(file.stat().st_size for file in Path(folder).iterdir())
        found = cold_start(str(path), threads=threads, count=FRESH_PROCESSES, steps=fresh.steps)
    return {**asdict(found), "file_bytes": size}


def versions() -> dict[str, str]:
    """Version of every package of the engines that is installed."""
    found = {}
    for package in PACKAGES:
        try:
            found[package] = version_of(package)
        except PackageNotFoundError:
            continue
    return found
