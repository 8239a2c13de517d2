"""``pack``: from a trained torch model to a packed network, with a report of what runs as bits and what does not."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from onebit.export.activations import ACTIVATION_DTYPES, with_float16_activations
from onebit.export.capture import capture
from onebit.export.draft import PackError
from onebit.export.fuse import fuse
from onebit.export.int8 import STEMS, with_int8_stem
from onebit.files import write_atomic
from onebit.format.errors import FormatError
from onebit.format.file import to_bytes
from onebit.format.graph import Fit, Graph, InputSpec, validate
from onebit.format.summary import Summary, summarize
from onebit.nn.names import match_names
from onebit.runtime.parity import not_finite, output_error
from onebit.runtime.reference import ReferenceEngine

_EXPECTED = ("first layer", "last layer")


class Packed:
    """A packed network in memory.

    Attributes:
        graph: what the runtime executes.
        report: per layer: shape, bits, bytes, MACs, BOPs, OPs, runs as, why real; prints as a table.
        float_stem: the network as it was before its stem became int8, with float32 activations; ``graph`` itself where
            it did not.
    """

    def __init__(self, graph: Graph, float_stem: Graph | None = None) -> None:
        self.graph = graph
        self.float_stem = graph if float_stem is None else float_stem

    @cached_property
    def data(self) -> bytes:
        """Content of the file."""
        return to_bytes(self.graph)

    @cached_property
    def report(self) -> Summary:
        """The same table that ``onebit inspect`` prints for the file."""
        return summarize(self.graph, file_bytes=len(self.data))

    def save(self, path: str | os.PathLike[str]) -> int:
        """Write the file atomically; return its size in bytes.  Raises OSError and then leaves nothing behind."""
        write_atomic(path, self.data)
        return len(self.data)


def pack(
    model: nn.Module,
    input_shape: tuple[int, int, int],
    *,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    color: str | None = None,
    fit: Fit | None = None,
    classes: Sequence[str] | None = None,
    provenance: Mapping[str, Any] | None = None,
    strict: bool = False,
    keep_real: Sequence[str] = (),
    stem: str = "float",
    activation_dtype: str = "float32",
    calibration: NDArray[np.uint8] | None = None,
) -> Packed:
    """Turn a trained model into a packed network; the model is left as it is.

    Args:
        model: a torch module whose forward takes one image, in any mode, on any device.
        input_shape: (channels, height, width) of one image.
        mean, std: normalization per channel on the scale 0...1, ``x = (pixel/255 - mean)/std``; 0 and 1 if not given.
        color: "RGB", "L" or "other"; by the number of channels if not given.
        fit: how ``onebit run`` and ``eval`` bring pictures of another size to this one, ``onebit.Fit("crop")`` or
            ``onebit.Fit("stretch")``; if not given, ``run`` refuses such pictures.
        classes: label of each output feature.
        provenance: free facts to keep in the file: recipe, commit, accuracy.
        strict: refuse a network in which another layer than the first and the last runs in float.
        keep_real: names of layers that ``strict`` accepts as real, or patterns as in
            :func:`onebit.nn.names.match_names`.
        stem: "float", or "int8" for a first convolution of raw pixels with weights of 8 bits; see docs/packing.md.
        activation_dtype: "float32", or "float16" for values of half the size between the layers; see docs/packing.md.
        calibration: raw pixels (N, H, W, C) of typical images, by which the scales of an int8 stem are chosen, without
            them by the weights alone; and on which the range of float16 activations is checked, without them on noise.

    Raises:
        PackError: a layer without a packed form; with ``strict``, a float layer that was not expected; with
            ``stem="int8"``, a first layer that is no real convolution; with ``activation_dtype="float16"``, values
            that are too large.
        ValueError: bad ``input_shape``, mean or std; another ``stem`` or ``activation_dtype``; ``keep_real`` that
            matches no layer, or without ``strict``; ``calibration`` of another shape or type, or with neither an int8
            stem nor float16 activations.
    """
    for name, choice, allowed in (("stem", stem, STEMS), ("activation_dtype", activation_dtype, ACTIVATION_DTYPES)):
        if choice not in allowed:
            raise ValueError(f"{name} must be {' or '.join(map(repr, allowed))}, got {choice!r}")
    if len(input_shape) != 3 or any(not isinstance(side, int) or side < 1 for side in input_shape):
        raise ValueError(f"input_shape must be (channels, height, width), whole numbers from 1, got {input_shape}")
    if isinstance(classes, str):
        raise TypeError(f"classes must be a list of texts, got the text {classes!r}; write [{classes!r}]")
    if keep_real and not strict:
        raise ValueError("keep_real names layers that strict=True accepts as real, but strict is not asked for")
    for name, tensor in model.state_dict().items():
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise PackError(
                f"{name} holds NaN or infinity: the training diverged; train again with a lower learning rate"
            )
    if fit is not None and not isinstance(fit, Fit):
        raise TypeError(f"fit must be an onebit.Fit, got {fit!r}; write onebit.Fit('crop') or onebit.Fit('stretch')")
    channels, height, width = input_shape
    spec = InputSpec(
        height=height,
        width=width,
        channels=channels,
        mean=tuple(map(float, mean if mean is not None else [0.0] * channels)),
        std=tuple(map(float, std if std is not None else [1.0] * channels)),
        color=color or {1: "L", 3: "RGB"}.get(channels, "other"),
        fit=fit,
    )
    _check_calibration(calibration, stem == "int8" or activation_dtype == "float16", spec)
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with torch.no_grad():
            draft = capture(model, input_shape)
            graph = fuse(draft).finish(spec, None if classes is None else tuple(classes), dict(provenance or {}))
            try:
                validate(graph)
            except FormatError as error:
                raise PackError(f"the model has no packed form: {error}") from None
            _check_answers(model, graph)
    finally:
        for module, mode in modes:
            module.training = mode
    final = with_int8_stem(graph, calibration) if stem == "int8" else graph
    if activation_dtype == "float16":
        noise_NHWC = np.random.default_rng(0).integers(0, 256, (3, height, width, channels), dtype=np.uint8)
        final = with_float16_activations(final, noise_NHWC if calibration is None else calibration)
    packed = Packed(final, graph if stem == "int8" else final)
    if strict:
        _refuse_float(packed.report, keep_real)
    return packed


def _check_calibration(images: NDArray | None, used: bool, spec: InputSpec) -> None:
    if images is None:
        return
    if not used:
        raise ValueError("calibration is for stem='int8' and activation_dtype='float16', but neither is asked for")
    wanted = (spec.height, spec.width, spec.channels)
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1:] != wanted or len(images) == 0:
        found = f"{images.dtype} {list(images.shape)}"
        raise ValueError(f"calibration must be raw pixels, uint8 (N, H, W, C) with {wanted} (H, W, C), got {found}")


def _check_answers(model: nn.Module, graph: Graph) -> None:
    """Run model and packed network on three images of noise; PackError if they do not compute the same.

    A median, since rounding may flip a sign in one image.  What packing misreads changes every image.
    """
    spec = graph.input
    noise_NHWC = (
        np.random.default_rng(0).standard_normal((3, spec.height, spec.width, spec.channels)).astype(np.float32)
    )
    first = next(model.parameters(), torch.zeros(()))
    want = model(torch.from_numpy(noise_NHWC).permute(0, 3, 1, 2).to(first.device, first.dtype))
    want_NF = want.float().flatten(1).cpu().numpy()
    got_NF = ReferenceEngine(graph).run(noise_NHWC).transpose(0, 3, 1, 2).reshape(len(noise_NHWC), -1)
    if not_finite(want_NF):
        raise PackError("on noise the model's outputs are NaN or infinite, so nothing can be checked; train it again")
    error = output_error(want_NF, got_NF)
    limit = 1e-3 if first.dtype == torch.float32 and first.device.type == "cpu" else 5e-2
    if not error <= limit:
        raise PackError(
            f"the packed network would not compute what the model computes: on noise, outputs differ by {error:.2g} of "
            "the largest; something in the model's forward is not visible to packing (additions in place, code between "
            "the layers that depends on values, on state or on chance)"
        )


def _refuse_float(report: Summary, keep_real: Sequence[str]) -> None:
    layers = {row.name: row for row in report.rows if row.weights}
    kept = match_names(keep_real, layers, "keep_real")
    unexpected = [
        f"{name} ({row.note})"
        for name, row in layers.items()
        if row.macs and row.note not in _EXPECTED and name not in kept
    ]
    if unexpected:
        raise PackError(
            f"strict: {len(unexpected)} layer(s) would run in float: {'; '.join(unexpected)}; "
            "make them binary or name them in keep_real"
        )
