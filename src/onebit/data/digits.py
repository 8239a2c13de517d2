"""The handwritten digits bundled with scikit-learn: 1797 gray images of 8x8 pixels, without downloads."""

from pathlib import Path

import torch

from onebit.data.base import DATASETS, ORIGINS, Color, ImageData, Origin, in_memory
from onebit.format.graph import Fit
from onebit.runtime.images import CROP

TEST_IMAGES = 360

ORIGINS.register("digits")(
    Origin(
        "Alpaydin, E. & Kaynak, C. (1998). Optical Recognition of Handwritten Digits [Dataset]. UCI Machine Learning "
        "Repository. https://doi.org/10.24432/C50P49",  # as the repository asks to be cited
        "CC BY 4.0",
    )
)


@DATASETS.register("digits")
def digits(
    data_dir: Path | None = None, image_size: int | None = None, fit: Fit = CROP, color: Color | None = None
) -> ImageData:
    """scikit-learn's bundled digits: 1437 train, 360 test, 8x8 gray.

    The split is stratified by class and fixed.  Pixels of 0..16 are scaled to 0..255.
    """
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    bundle = load_digits()
    images = torch.from_numpy(bundle.images * (255 / 16)).round().to(torch.uint8).unsqueeze(1)
    labels = torch.from_numpy(bundle.target).long()
    train, test = train_test_split(range(len(labels)), test_size=TEST_IMAGES, stratify=labels.numpy(), random_state=0)
    classes = tuple(str(name) for name in bundle.target_names)
    return in_memory("digits", (images[train], labels[train]), (images[test], labels[test]), classes, image_size, fit)
