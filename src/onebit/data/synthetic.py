"""Random images for tests: no files needed, and nothing to learn."""

from pathlib import Path

import torch

from onebit.data.base import DATASETS, Color, ImageData, in_memory
from onebit.format.graph import Fit
from onebit.runtime.images import CROP


@DATASETS.register("random16")
def random16(
    data_dir: Path | None = None, image_size: int | None = None, fit: Fit = CROP, color: Color | None = None
) -> ImageData:
    """16 random 32x32 color images and 8 for testing, 10 classes; fixed."""
    generator = torch.Generator().manual_seed(16)

    def images(count: int) -> tuple[torch.Tensor, torch.Tensor]:
        pixels = torch.randint(0, 256, (count, 3, 32, 32), generator=generator, dtype=torch.uint8)
        return pixels, torch.randint(0, 10, (count,), generator=generator)

    return in_memory("random16", images(16), images(8), tuple("0123456789"), image_size, fit)
