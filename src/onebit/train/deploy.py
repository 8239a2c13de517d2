"""From a finished run to its packed form, and the proof that both predict the same."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from onebit.data import DATASETS, ImageSet
from onebit.export import Packed, pack
from onebit.export.activations import largest, with_float32_activations
from onebit.export.int8 import stem_deviation
from onebit.format.graph import HALF, PIXELS, Graph, Node, activation_dtype_of, validate
from onebit.format.ops.convolution import int8_sums
from onebit.nn.layers import BinaryConv2d, operands
from onebit.runtime.images import CROP, normalize, to_pixels
from onebit.runtime.model import Model
from onebit.runtime.parity import TOLERANCE, not_finite, output_error
from onebit.train.artifact import load_trained


def pack_trained(
    run: Path | str,
    *,
    strict: bool = False,
    keep_real: Sequence[str] = (),
    stem: str = "float",
    activation_dtype: str = "float32",
    calibration: NDArray[np.uint8] | None = None,
) -> Packed:
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
        (image.channels, image.height, image.width),
        mean=image.mean,
        std=image.std,
        color=image.color,
        fit=image.fit,
        classes=meta["classes"],
        provenance=facts,
        strict=strict,
        keep_real=keep_real,
        stem=stem,
        activation_dtype=activation_dtype,
        calibration=calibration,
    )


def images_of_run(
    run: Path | str, data_dir: Path | str | None, limit: int | None, *, split: str = "test"
) -> tuple[NDArray[np.uint8], NDArray]:
    """Images (N, H, W, C) and labels (N,) of the data set that a run was trained on: the first ``limit`` of its "test"
    images, or as many spread evenly over those of "train".
    """
    _, meta = load_trained(run)
    name = meta["provenance"]["dataset"]
    image = meta["input"]
    data = DATASETS[name](None if data_dir is None else Path(data_dir), image.height, image.fit or CROP)
    images: ImageSet = getattr(data, split)
    count = len(images) if limit is None else min(limit, len(images))
    step = len(images) // count if split == "train" else 1
    images_NCHW, labels_N = images.batch(torch.arange(count) * step)
    return np.ascontiguousarray(images_NCHW.permute(0, 2, 3, 1).numpy()), labels_N.numpy()


def compare_stems(packed: Packed, images_NHWC: NDArray[np.uint8], labels_N: NDArray | None) -> dict[str, Any]:
    """What the int8 stem of ``packed`` costs, against the same network with its float stem.

    Returns images; rms and largest as in ``stem_deviation`` (on 16 images); and, where labels are given,
    float_accuracy, int8_accuracy and same_class, the images that both put into one class.
    """
    row: dict[str, Any] = {"images": len(images_NHWC)}
    row |= stem_deviation(packed.float_stem, packed.graph, images_NHWC[:16])
    if labels_N is None:
        return row
    both = (packed.float_stem, with_float32_activations(packed.graph))
    classes = [_packed_logits(graph, images_NHWC).argmax(axis=1) for graph in both]
    row["float_accuracy"], row["int8_accuracy"] = (float((c == labels_N).mean()) for c in classes)
    row["same_class"] = int((classes[0] == classes[1]).sum())
    return row


def compare_activations(packed: Packed, images_NHWC: NDArray[np.uint8], labels_N: NDArray | None) -> dict[str, Any]:
    """What the float16 activations of ``packed`` cost, against the same network with float32 activations.

    Returns images, same_class, output_error (median over the images of the largest difference, relative to the largest
    output), largest (magnitude of what the nodes write, on 16 images); where labels are given float32_accuracy,
    float16_accuracy, lost (images that float32 has right, less those that float16 has) and allowed (1 of 1,000, and 1
    of fewer); and refused, why they must not be used, or "".
    """
    graph = packed.graph
    want, got = (_packed_logits(g, images_NHWC) for g in (with_float32_activations(graph), graph))
    row: dict[str, Any] = {
        "images": len(want),
        "same_class": int((want.argmax(1) == got.argmax(1)).sum()),
        "output_error": output_error(want, got),
        "largest": max(largest(graph, images_NHWC[:16]).values()),
    }
    if not math.isfinite(row["largest"]):
        row["refused"] = "numbers pass 65504, the largest float16"
    else:
        broken = not_finite(got)
        row["refused"] = f"the outputs of {broken} of {len(got)} images are NaN or infinite" if broken else ""
    if labels_N is not None:
        right = [int((logits.argmax(1) == labels_N).sum()) for logits in (want, got)]
        row["float32_accuracy"], row["float16_accuracy"] = (count / len(want) for count in right)
        row["lost"], row["allowed"] = right[0] - right[1], max(1, len(want) // 1000)
        if row["lost"] > row["allowed"]:
            row["refused"] = (
                f"{row['lost']} of {len(want)} images are lost (allowed: {row['allowed']}), the accuracy falls from "
                f"{row['float32_accuracy']:.2%} to {row['float16_accuracy']:.2%}"
            )
    return row


def refuse_other_run(run: Path | str, graph: Graph) -> None:
    """ValueError where the trained model of ``run`` takes other images than ``graph``, or gives other outputs."""
    _, meta = load_trained(run)
    image, spec = meta["input"], graph.input
    found = (image.channels, image.height, image.width, meta["num_classes"])
    packed = (spec.channels, spec.height, spec.width, math.prod(validate(graph)[graph.output].shape))
    if found != packed:
        takes, wanted = (f"images of {c}x{h}x{w} (C, H, W) and gives {k} outputs" for c, h, w, k in (found, packed))
        raise ValueError(
            f"the model of {str(run)!r} takes {takes}; the packed network takes {wanted}: "
            "it was packed from another run"
        )


def compare_with_torch(run: Path | str, graph: Graph, images_NHWC: NDArray, labels_N: NDArray | None) -> dict[str, Any]:
    """Predictions of the trained torch model and of the packed network on the same images.

    Where the packed network has an int8 stem, torch computes with that stem too, in exact integers, and everything
    behind it as it was trained: rounding the stem's weights is no error of the packed network, and hides none.

    Likewise float16 activations: torch, which computes in float32, is compared with the same network with float32 ones.

    Returns images, same_class, other_class, allowed (2 of 10,000, rounded up), output_error (median over the images
    of the largest difference, relative to the largest output), not_finite (images whose outputs are NaN or infinite in
    either; then output_error is infinite), accuracies where labels are given, passed; for an int8 stem also
    float_accuracy and float_same_class, of torch with the stem that it was trained with; for float16 activations also
    float16_accuracy and float16_same_class, of the file as it is.
    """
    network, _ = load_trained(run)
    pixels = images_NHWC
    if pixels.dtype == np.uint8:
        pixels = normalize(pixels, graph.input.mean, graph.input.std)
    trained = _logits(network, pixels)
    want = trained
    if graph.input.type == PIXELS:
        _give_int8_stem(network, graph)
        want = _logits(network, pixels)
    got = _packed_logits(with_float32_activations(graph), images_NHWC)
    other = int((want.argmax(1) != got.argmax(1)).sum())
    allowed = math.ceil(2 * len(want) / 10_000)
    row: dict[str, Any] = {
        "images": len(want),
        "same_class": len(want) - other,
        "other_class": other,
        "allowed": allowed,
    }
    row["output_error"] = output_error(want, got)
    row["not_finite"] = max(not_finite(want), not_finite(got))
    if labels_N is not None:
        row["torch_accuracy"] = float((want.argmax(1) == labels_N).mean())
        row["packed_accuracy"] = float((got.argmax(1) == labels_N).mean())
    if graph.input.type == PIXELS:
        row["float_same_class"] = int((trained.argmax(1) == got.argmax(1)).sum())
        if labels_N is not None:
            row["float_accuracy"] = float((trained.argmax(1) == labels_N).mean())
    if activation_dtype_of(graph) == HALF:
        halves = _packed_logits(graph, images_NHWC)
        row["float16_same_class"] = int((want.argmax(1) == halves.argmax(1)).sum())
        if labels_N is not None:
            row["float16_accuracy"] = float((halves.argmax(1) == labels_N).mean())
    row["passed"] = other <= allowed and row["output_error"] <= TOLERANCE
    return row


def _packed_logits(graph: Graph, images_NHWC: NDArray) -> NDArray[np.float32]:
    return Model(graph, threads=torch.get_num_threads())(images_NHWC).reshape(len(images_NHWC), -1)


def _logits(network: nn.Module, images_NHWC: NDArray[np.float32]) -> NDArray[np.float32]:
    with torch.inference_mode():
        parts = torch.from_numpy(images_NHWC).permute(0, 3, 1, 2).split(500)
        return torch.cat([network(part) for part in parts]).numpy()


def _give_int8_stem(network: nn.Module, graph: Graph) -> None:
    """Make the layer of ``network`` that became the int8 stem of ``graph`` compute what the stem computes."""
    stem = next(node for node in graph.nodes if graph.input.name in node.inputs)
    layer: Any = network.get_submodule(stem.name)
    scale: Tensor | None = None
    bias: Tensor | None = layer.bias
    if isinstance(layer, BinaryConv2d):  # one that keeps real weights, and perhaps a scale
        _, _, scale, bias = operands(layer, torch.zeros(1, graph.input.channels, 1, 1))

    def compute(_: nn.Module, arguments: tuple[Tensor], __: Tensor) -> Tensor:
        y_BOHW = _int8_convolution(graph, stem, arguments[0])
        y_BOHW = y_BOHW if scale is None else y_BOHW * scale.reshape(-1, 1, 1)
        return y_BOHW if bias is None else y_BOHW + bias.reshape(-1, 1, 1)

    layer.register_forward_hook(compute)


def _int8_convolution(graph: Graph, stem: Node, x_BCHW: Tensor) -> Tensor:
    pixels_BHWC = to_pixels(x_BCHW.permute(0, 2, 3, 1).numpy(), graph.input)
    codes, zero = (graph.tensors[stem.tensors[role]] for role in ("weight", "zero"))
    parts = [
        int8_sums(part, weight=codes, zero=zero, **stem.attrs)
        for part in np.array_split(pixels_BHWC, -(-len(pixels_BHWC) // 16))
    ]
    y_BHWO = np.concatenate(parts).astype(np.float32) * graph.tensors[stem.tensors["scale"]]
    return torch.from_numpy(y_BHWO).permute(0, 3, 1, 2)
