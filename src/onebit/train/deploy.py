"""From a finished run to its packed form, and the proof that both predict the same."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from onebit.data import DATASETS
from onebit.export import Packed, pack
from onebit.runtime.graph import Graph
from onebit.runtime.model import Model
from onebit.runtime.parity import TOLERANCE
from onebit.runtime.reference import normalize
from onebit.train.artifact import load_trained

_COLORS = {"grey": "L", "rgb": "RGB"}


def pack_trained(run: Path | str, *, strict: bool = False, allow_real: Sequence[str] = ()) -> Packed:
    """Pack the trained model of a run's folder (or checkpoint); errors as in ``load_trained`` and ``pack``."""
    model, meta = load_trained(run)
    image = meta["input"]
    facts = {
        "model": meta["model"],
        "model_options": meta["options"],
        "scheme": meta["scheme"],
        "num_classes": meta["num_classes"],
        **meta["provenance"],
    }
    return pack(
        model,
        (meta["in_channels"], image["size"], image["size"]),
        mean=image["mean"],
        std=image["std"],
        color=_COLORS.get(image["colour"], "other"),
        classes=meta["classes"],
        provenance=facts,
        strict=strict,
        allow_real=allow_real,
    )


def images_of_run(run: Path | str, data_dir: Path | str | None, limit: int | None) -> tuple[NDArray[np.uint8], NDArray]:
    """Test images (N, H, W, C) and labels (N,) of the data set that a run was trained on, the first ``limit`` of
    them.
    """
    _, meta = load_trained(run)
    name = meta["provenance"]["dataset"]
    data = DATASETS[name](None if data_dir is None else Path(data_dir), meta["input"]["size"])
    count = len(data.test) if limit is None else min(limit, len(data.test))
    images_NCHW, labels_N = data.test.batch(torch.arange(count))
    return np.ascontiguousarray(images_NCHW.permute(0, 2, 3, 1).numpy()), labels_N.numpy()


def compare_with_torch(run: Path | str, graph: Graph, images_NHWC: NDArray, labels_N: NDArray | None) -> dict[str, Any]:
    """Predictions of the trained torch model and of the packed network on the same images.

    Returns images, same_class, other_class, allowed (2 of 10,000, rounded up), output_error (median over the images
    of the largest difference, relative to the largest output), accuracies where labels are given, passed.
    """
    network, _ = load_trained(run)
    pixels = images_NHWC
    if pixels.dtype == np.uint8:
        pixels = normalize(pixels, graph.input.mean, graph.input.std)
    with torch.inference_mode():
        parts = torch.from_numpy(pixels).permute(0, 3, 1, 2).split(500)
        want = torch.cat([network(part) for part in parts]).numpy()
    got = Model(graph, threads=torch.get_num_threads()).logits(images_NHWC)
    other = int((want.argmax(1) != got.argmax(1)).sum())
    allowed = math.ceil(2 * len(want) / 10_000)
    errors = np.abs(want - got).max(axis=1) / np.abs(want).max(axis=1).clip(1e-30)
    row: dict[str, Any] = {
        "images": len(want),
        "same_class": len(want) - other,
        "other_class": other,
        "allowed": allowed,
    }
    row["output_error"] = float(np.median(errors))
    if labels_N is not None:
        row["torch_accuracy"] = float((want.argmax(1) == labels_N).mean())
        row["packed_accuracy"] = float((got.argmax(1) == labels_N).mean())
    row["passed"] = other <= allowed and row["output_error"] <= TOLERANCE
    return row
