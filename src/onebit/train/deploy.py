"""From a finished run to its packed form, and the proof that both give the same answers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from onebit.export import Packed, pack
from onebit.export.activations import largest, with_float32_activations
from onebit.export.int8 import stem_deviation
from onebit.fields import short
from onebit.format.graph import HALF, PIXELS, Graph, Node, activation_dtype_of
from onebit.format.ops.convolution import int8_sums
from onebit.nn.layers import BinaryConv2d, operands
from onebit.runtime.images import normalize, to_pixels
from onebit.runtime.model import Model
from onebit.runtime.parity import TOLERANCE, not_finite, output_error
from onebit.train.artifact import load_trained, task_of
from onebit.train.teacher import differences


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
    task = task_of(meta)
    module, arguments = task.packing(model, meta)
    facts = {
        "task": meta["task"],
        "task_options": meta["task_options"],
        "model": meta["model"],
        "model_options": {**task.model_arguments(meta), **meta["options"]},
        "scheme": meta["scheme"],
        **meta["provenance"],
    }
    return pack(
        module,
        **arguments,
        provenance=facts,
        strict=strict,
        keep_real=keep_real,
        stem=stem,
        activation_dtype=activation_dtype,
        calibration=calibration,
    )


def images_of_run(
    run: Path | str, data_dir: Path | str | None, limit: int | None, *, split: str = "test"
) -> tuple[NDArray[np.uint8], NDArray[Any]]:
    """Images (N, H, W, C) and targets (N, ...) of the data set that a run was trained on: the first ``limit`` of its
    "test" images, or as many spread evenly over those of "train".
    """
    _, meta = load_trained(run)
    task = task_of(meta)
    data = task.load_for(meta, meta["provenance"]["dataset"], None if data_dir is None else Path(data_dir))
    return task.examples(data, split, limit)


def refuse_other_run(run: Path | str, graph: Graph) -> None:
    """ValueError that names what differs if ``graph`` cannot have been packed from the run."""
    _, meta = load_trained(run)
    told = {name: value for name, value in task_of(meta).description_of(graph).items() if value is not None}
    for name, packed, trained in differences(told, meta):
        raise ValueError(
            f"the file was not packed from the run in {str(run)!r}: its {name} is {short(packed)}, the run's "
            f"{short(trained)}; name the run that it came from"
        )


def compare_stems(
    run: Path | str, packed: Packed, images_NHWC: NDArray[np.uint8], targets_N: NDArray[Any] | None
) -> dict[str, Any]:
    """What the int8 stem of ``packed`` costs, against the same network with its float stem.

    Returns task; images; same, those that both answer alike; rms and largest as in ``stem_deviation`` (on 16 images);
    and, where targets are given, scores of "float" and "int8".
    """
    _, meta = load_trained(run)
    task = task_of(meta)
    row: dict[str, Any] = {"task": meta["task"], "images": len(images_NHWC)}
    row |= stem_deviation(packed.float_stem, packed.graph, images_NHWC[:16])
    both = {"float": packed.float_stem, "int8": with_float32_activations(packed.graph)}
    outputs = {name: _packed_outputs(graph, images_NHWC) for name, graph in both.items()}
    row["same"] = int(task.same_answer(*outputs.values()).sum())
    if targets_N is not None:
        row["scores"] = {name: task.judge(found, targets_N, meta) for name, found in outputs.items()}
    return row


def compare_activations(
    run: Path | str, packed: Packed, images_NHWC: NDArray[np.uint8], targets_N: NDArray[Any] | None
) -> dict[str, Any]:
    """What the float16 activations of ``packed`` cost, against the same network with float32 activations.

    Returns task, images, same, output_error (median over the images of the largest difference, relative to the largest
    output), largest (magnitude of what the nodes write, on 16 images); where targets are given scores of "float32" and
    "float16", and change, how they differ in words; and refused, why they must not be used, or "".
    """
    _, meta = load_trained(run)
    task, graph = task_of(meta), packed.graph
    want, got = (_packed_outputs(g, images_NHWC) for g in (with_float32_activations(graph), graph))
    row: dict[str, Any] = {
        "task": meta["task"],
        "images": len(want),
        "same": int(task.same_answer(want, got).sum()),
        "output_error": output_error(want, got),
        "largest": max(largest(graph, images_NHWC[:16]).values()),
    }
    if not math.isfinite(row["largest"]):
        row["refused"] = "numbers pass 65504, the largest float16"
    else:
        broken = not_finite(got)
        row["refused"] = f"the outputs of {broken} of {len(got)} images are NaN or infinite" if broken else ""
    if targets_N is not None:
        before, after = (task.judge(found, targets_N, meta) for found in (want, got))
        row["scores"] = {"float32": before, "float16": after}
        row["change"], too_much = task.loss_of_precision(before, after, len(want))
        if too_much:
            metric = task.metric()
            row["refused"] = (
                f"the {metric.name} falls from {metric.text(before[metric.name])} to "
                f"{metric.text(after[metric.name])}: {row['change']}"
            )
    return row


def compare_with_torch(
    run: Path | str, graph: Graph, images_NHWC: NDArray[Any], targets_N: NDArray[Any] | None
) -> dict[str, Any]:
    """Answers of the trained torch model and of the packed network to the same images.

    Where the packed network has an int8 stem, torch computes with that stem too, in exact integers, and everything
    after it as it was trained.  Rounding the stem's weights is thus not counted as an error of the packed network.

    Likewise float16 activations: torch, which computes in float32, is compared with the same network with float32 ones.

    Returns task, images, same, other, allowed (how many may be answered otherwise), output_error (median over the
    images of the largest difference, relative to the largest output), not_finite (images whose outputs are NaN or
    infinite in either; then output_error is infinite), passed; where targets are given scores of "torch" and "packed";
    for an int8 stem also float_stem_same, and scores of "float_stem", of torch with the stem that it was trained with;
    for float16 activations also float16_same, and scores of "float16", of the file as it is.
    """
    refuse_other_run(run, graph)
    network, meta = load_trained(run)
    task = task_of(meta)
    network, _ = task.packing(network, meta)
    pixels = images_NHWC
    if pixels.dtype == np.uint8:
        pixels = normalize(pixels, graph.input.mean, graph.input.std)
    further: dict[str, NDArray[Any]] = {}
    if graph.input.type == PIXELS:
        further["float_stem"] = _torch_outputs(network, pixels)
        _give_int8_stem(network, graph)
    want = _torch_outputs(network, pixels)
    got = _packed_outputs(with_float32_activations(graph), images_NHWC)
    same = int(task.same_answer(want, got).sum())
    row: dict[str, Any] = {
        "task": meta["task"],
        "images": len(want),
        "same": same,
        "other": len(want) - same,
        "allowed": task.allowed_to_differ(len(want)),
        "output_error": output_error(want, got),
        "not_finite": max(not_finite(want), not_finite(got)),
    }
    if activation_dtype_of(graph) == HALF:
        further["float16"] = _packed_outputs(graph, images_NHWC)
    for name, outputs in further.items():
        row[f"{name}_same"] = int(task.same_answer(got if name == "float_stem" else want, outputs).sum())
    if targets_N is not None:
        every = {"torch": want, "packed": got, **further}
        row["scores"] = {name: task.judge(found, targets_N, meta) for name, found in every.items()}
    row["passed"] = row["other"] <= row["allowed"] and row["output_error"] <= TOLERANCE
    return row


def _packed_outputs(graph: Graph, images_NHWC: NDArray[Any]) -> NDArray[np.float32]:
    return Model(graph, threads=torch.get_num_threads())(images_NHWC)


def _torch_outputs(network: nn.Module, images_NHWC: NDArray[np.float32]) -> NDArray[np.float32]:
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
