"""Images on their way into a network: checked once, then as pixels or as normalized floats."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from onebit.format.graph import PIXELS, InputSpec

# Shape letters: N images, H W image, C channels.


def prepare(images: ArrayLike, spec: InputSpec) -> tuple[NDArray, bool]:
    """Check images against ``spec``: a contiguous batch (N, H, W, C) of uint8 or float32, and whether it was one image.

    Raises ValueError that says what was found, what the network takes and what to do.
    """
    array = np.asarray(images)
    takes = f"the network takes {spec.height}x{spec.width} images of {spec.channels} channel(s)"
    if array.dtype != np.uint8 and array.dtype.kind != "f":
        raise ValueError(f"images have dtype {array.dtype}; give raw pixels as uint8 or normalized ones as float32")
    hwc, chw = (spec.height, spec.width, spec.channels), (spec.channels, spec.height, spec.width)
    pixels = array.dtype == np.uint8
    if spec.channels == 1 and array.ndim in ((2, 3) if pixels else (2,)) and array.shape[-2:] == hwc[:2]:
        array = array[..., None]
    single = array.ndim == 3
    batch = array[None] if single else array
    layouts = (hwc,) if pixels else (chw, hwc)
    if batch.ndim != 4 or len(batch) == 0 or batch.shape[1:] not in layouts:
        raise ValueError(
            f"images have shape {np.shape(images)}; {takes}: resize them to {hwc} (H, W, C), alone or in a batch"
        )
    if not pixels and batch.shape[1:] == chw:
        batch = batch.transpose(0, 2, 3, 1)
    if batch.dtype != np.uint8:
        batch = batch.astype(np.float32, copy=False)
        if not np.isfinite(batch).all():
            raise ValueError("images hold NaN or infinity; check how they were normalized")
    return np.ascontiguousarray(batch), single


def as_input(images_NHWC: NDArray, spec: InputSpec) -> NDArray:
    """What the input's value holds for raw pixels (uint8) or normalized floats: floats, or pixels where its type is
    "uint8"; ValueError as in :func:`to_pixels`.
    """
    if (images_NHWC.dtype == np.uint8) == (spec.type == PIXELS):
        return images_NHWC
    return to_pixels(images_NHWC, spec) if spec.type == PIXELS else normalize(images_NHWC, spec.mean, spec.std)


def to_pixels(images_NHWC: NDArray, spec: InputSpec) -> NDArray[np.uint8]:
    """The nearest pixels, ``round(255 (x std + mean))``: what ``normalize`` made floats of comes back exactly.

    Raises ValueError where a pixel would lie outside 0...255: then the images were normalized in another way.
    """
    std, mean = np.asarray(spec.std, np.float64), np.asarray(spec.mean, np.float64)
    levels = np.rint(255 * (images_NHWC * std + mean))
    if not (levels.min() >= 0 and levels.max() <= 255):
        low, high = ([round(float(x), 3) for x in (limit - mean) / std] for limit in (0, 1))
        raise ValueError(
            f"the network takes pixels: its first layer is int8. Floats must be pixels normalized by its mean and std, "
            f"from {low} to {high} per channel, but these lie between {images_NHWC.min():.3f} and "
            f"{images_NHWC.max():.3f}; give raw pixels as uint8, or pack the network with a float stem"
        )
    return levels.astype(np.uint8)


def normalize(pixels_NHWC: NDArray[np.uint8], mean: tuple[float, ...], std: tuple[float, ...]) -> NDArray[np.float32]:
    """``(pixel/255 - mean)/std`` in float32, by a 256-entry table per channel as the C++ core does it."""
    levels = np.arange(256, dtype=np.float32)[:, None] / np.float32(255)
    table = (levels - np.asarray(mean, np.float32)) / np.asarray(std, np.float32)  # (256, C)
    return table[pixels_NHWC, np.arange(pixels_NHWC.shape[-1])].astype(np.float32, copy=False)
