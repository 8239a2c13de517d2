"""``pack``: from a trained PyTorch model to a packed network, with a report of what runs in 1 bit and what in float."""

from __future__ import annotations

import operator
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn.parameter import is_lazy

from onebit.export.activations import ACTIVATION_DTYPES, with_float16_activations
from onebit.export.capture import capture
from onebit.export.draft import PackError
from onebit.export.fuse import fuse
from onebit.export.int8 import STEMS, with_int8_stem
from onebit.export.trace import noise
from onebit.files import write_atomic
from onebit.format.errors import FormatError
from onebit.format.file import to_bytes
from onebit.format.graph import Fit, Graph, InputSpec, validate
from onebit.format.summary import Summary, summarize
from onebit.nn.modes import evaluating, unwrapped
from onebit.nn.names import match_names
from onebit.runtime.parity import not_finite, output_error
from onebit.runtime.reference import ReferenceEngine

COLORS: Mapping[str, int | None] = {"RGB": 3, "L": 1, "other": None}  # name -> channels
SMALLEST_STD, LARGEST_STD = 1e-6, 10.0  # what a std of numbers from 0 to 1, or a scale in its place, can be
_EXPECTED = ("first layer", "last layer")


class Packed:
    """A packed network in memory.

    Attributes:
        graph: the network that the runtime executes.
        report: per layer: shape, bits, bytes, MACs, BOPs, OPs, how it runs, and why in float; prints as a table.
        float_stem: the network before its stem was quantized to int8, with float32 activations; without an int8 stem,
            ``graph`` itself.
    """

    def __init__(self, graph: Graph, float_stem: Graph | None = None) -> None:
        self.graph = graph
        self.float_stem: Graph = graph if float_stem is None else float_stem

    @cached_property
    def data(self) -> bytes:
        """Content of the file."""
        return to_bytes(self.graph)

    @cached_property
    def report(self) -> Summary:
        """The table that ``onebit inspect`` prints for the file."""
        return summarize(self.graph, file_bytes=len(self.data))

    def save(self, path: str | os.PathLike[str]) -> int:
        """Write the file atomically; return its size in bytes.  Raises OSError, and then leaves no file behind."""
        write_atomic(path, self.data)
        return len(self.data)


def pack(
    model: nn.Module,
    input_shape: tuple[int, int, int],
    *,
    mean: float | Sequence[float] | None = None,
    std: float | Sequence[float] | None = None,
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
    """Convert a trained model to a packed network; the model does not change.

    Args:
        model: a PyTorch module whose forward takes a batch of images, in any mode, on any device; may be wrapped in
            DataParallel, DistributedDataParallel, AveragedModel or ``torch.compile``.
        input_shape: (channels, height, width) of one image.
        mean, std: normalization on the scale 0...1, ``x = (pixel/255 - mean)/std``, one number per channel or one for
            all channels; 0 and 1 by default.
        color: "RGB", "L" or "other"; inferred from the number of channels by default.
        fit: how pictures of another size are resized, ``onebit.Fit("crop")`` or ``onebit.Fit("stretch")``; by default
            ``onebit run`` refuses such pictures.
        classes: labels of the output features.
        provenance: free-form metadata for the file, such as recipe, commit or accuracy.
        strict: whether to refuse a network in which a layer other than the first and the last runs in float.
        keep_real: layers that ``strict`` accepts in float, as names or patterns of :func:`onebit.nn.names.match_names`.
        stem: "float", or "int8" for a first convolution on raw pixels with 8-bit weights; see docs/packing.md.
        activation_dtype: dtype of the activations between layers, "float32" or "float16"; see docs/packing.md.
        calibration: raw pixels (N, H, W, C) of typical images, used to choose the scales of an int8 stem (by default
            from the weights only) and to check the range of float16 activations (by default on noise).

    Raises:
        PackError: a layer without a packed form; with ``strict``, an unexpected float layer; with ``stem="int8"``, a
            first layer that is not a full-precision convolution; with ``activation_dtype="float16"``, activations that
            are too large.
        ValueError: invalid ``input_shape``, ``mean``, ``std``, ``stem`` or ``activation_dtype``; ``keep_real`` that
            matches no layer or is given without ``strict``; ``calibration`` of another shape or dtype, or without an
            int8 stem or float16 activations.
    """
    for name, choice, allowed in (("stem", stem, STEMS), ("activation_dtype", activation_dtype, ACTIVATION_DTYPES)):
        if choice not in allowed:
            raise ValueError(f"{name} must be {' or '.join(map(repr, allowed))}, got {choice!r}")
    if isinstance(classes, str):
        raise TypeError(f"classes must be a list of strings, got the string {classes!r}; write [{classes!r}]")
    if keep_real and not strict:
        raise ValueError("keep_real names layers that strict=True accepts in float, but strict is False")
    if fit is not None and not isinstance(fit, Fit):
        raise TypeError(f"fit must be an onebit.Fit, got {fit!r}; write onebit.Fit('crop') or onebit.Fit('stretch')")
    spec = _input_spec(input_shape, mean, std, color, fit)
    calibration = _checked_calibration(calibration, stem == "int8" or activation_dtype == "float16", spec)
    model = unwrapped(model)
    _check_weights(model)
    with _plain(model):
        draft = capture(model, (spec.channels, spec.height, spec.width))
        graph = fuse(draft).finish(spec, None if classes is None else tuple(classes), dict(provenance or {}))
        try:
            validate(graph)
        except FormatError as error:
            raise PackError(f"the model has no packed form: {error}") from None
        _check_answers(model, graph)
    final = with_int8_stem(graph, calibration) if stem == "int8" else graph
    if activation_dtype == "float16":
        size = (3, spec.height, spec.width, spec.channels)
        noise_NHWC = np.random.default_rng(0).integers(0, 256, size, dtype=np.uint8)
        final = with_float16_activations(final, noise_NHWC if calibration is None else calibration)
    packed = Packed(final, graph if stem == "int8" else final)
    if strict:
        _refuse_float(packed.report, keep_real)
    return packed


def _input_spec(input_shape: Any, mean: Any, std: Any, color: str | None, fit: Fit | None) -> InputSpec:
    """The input of the network; ValueError for values that no image can have."""
    try:
        channels, height, width = map(operator.index, input_shape)
    except (TypeError, ValueError):
        channels = height = width = 0
    if min(channels, height, width) < 1:
        raise ValueError(f"input_shape must be (channels, height, width), integers from 1, got {input_shape}")
    mean, std = _per_channel("mean", mean, 0.0, channels), _per_channel("std", std, 1.0, channels)
    scale = "pixels are from 0 to 1 here, x = (pixel/255 - mean)/std"
    if not all(0 <= number <= 1 for number in mean):
        raise ValueError(f"mean must be from 0 to 1, got {list(mean)}; {scale}: divide it by 255")
    if not all(SMALLEST_STD <= number <= LARGEST_STD for number in std):
        allowed = f"from {SMALLEST_STD:g} to {LARGEST_STD:g}"
        raise ValueError(f"std must be {allowed}, got {list(std)}; {scale}: one of 255 pixel values is divided by 255")
    color = color or {1: "L", 3: "RGB"}.get(channels, "other")
    if color not in COLORS or COLORS[color] not in (channels, None):
        raise ValueError(f"color must be 'RGB' for 3 channels, 'L' for 1, or 'other', got {color!r} for {channels}")
    return InputSpec(height, width, channels, mean, std, color, fit=fit)


def _per_channel(name: str, given: Any, default: float, channels: int) -> tuple[float, ...]:
    """One number per channel; a single number applies to all channels."""
    try:
        numbers = np.asarray(default if given is None else given, dtype=np.float64)
    except (TypeError, ValueError):
        numbers = np.empty((0, 0))
    if numbers.shape not in ((), (1,), (channels,)):
        raise ValueError(f"{name} must be a number, or one for each of the {channels} channels, got {given!r}")
    return tuple(np.broadcast_to(numbers, channels).tolist())


def _check_weights(model: nn.Module) -> None:
    """PackError for weights that are uninitialized, on the meta device, NaN or infinite."""
    for name, tensor in model.state_dict(keep_vars=True).items():
        if is_lazy(tensor):
            raise PackError(f"{name} has no shape yet; run the model on one image before it is packed")
        if not isinstance(tensor, torch.Tensor) or not tensor.is_floating_point():
            continue
        if tensor.is_meta:
            raise PackError(f"{name} is on the meta device and has no values; load the trained weights first")
        if not tensor.isfinite().all():
            raise PackError(
                f"{name} holds NaN or infinity: the training diverged; train again with a lower learning rate"
            )


@contextmanager
def _plain(model: nn.Module) -> Iterator[None]:
    """Context with the model in eval mode, without gradients, compilation and autocast."""
    device = next(model.parameters(), torch.zeros(())).device.type
    with ExitStack() as stack:
        for context in (evaluating(model), torch.inference_mode(False), torch.no_grad()):
            stack.enter_context(context)
        stack.enter_context(torch.autocast(device, enabled=False))
        if "torch._dynamo" in sys.modules:  # a part of the model may be compiled
            stack.enter_context(torch.compiler.set_stance("force_eager"))
        yield


def _checked_calibration(images: Any, used: bool, spec: InputSpec) -> NDArray[np.uint8] | None:
    if images is None:
        return None
    if not used:
        raise ValueError("calibration is used by stem='int8' and activation_dtype='float16', but neither is set")
    wanted, array = (spec.height, spec.width, spec.channels), np.asarray(images)
    if array.dtype != np.uint8 or array.ndim != 4 or array.shape[1:] != wanted or len(array) == 0:
        found = f"{array.dtype} {list(array.shape)}"
        raise ValueError(f"calibration must be raw pixels, uint8 (N, H, W, C) with {wanted} (H, W, C), got {found}")
    return array


def _check_answers(model: nn.Module, graph: Graph) -> None:
    """Run the model and the packed network on three noise images; PackError if their outputs differ.

    The median is compared, since rounding may flip a sign in one image.  A misinterpreted layer changes every image.
    """
    spec, count = graph.input, 3
    images_BCHW = noise(model, count, (spec.channels, spec.height, spec.width))
    want_NF = model(images_BCHW).float().reshape(count, -1).cpu().numpy()
    images_NHWC = np.ascontiguousarray(images_BCHW.float().permute(0, 2, 3, 1).cpu().numpy())
    got_NF = ReferenceEngine(graph).run(images_NHWC).transpose(0, 3, 1, 2).reshape(count, -1)
    if not_finite(want_NF):
        raise PackError("on noise the model's outputs are NaN or infinite, so nothing can be checked; train it again")
    error = output_error(want_NF, got_NF)
    exact = images_BCHW.dtype == torch.float32 and images_BCHW.device.type == "cpu"
    limit = 1e-3 if exact else 5e-2
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
