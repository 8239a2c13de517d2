"""Augmentation keeps what an image is, and depends on the seed alone."""

import pytest
import torch

from onebit.data import AUGMENTATIONS, Normalize

MEAN, STD = (0.5, 0.25, 0.125), (0.5, 0.25, 1.0)


def images(count=8, size=16):
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, 3, size, size), generator=generator, dtype=torch.uint8)


def test_normalize_formula():
    x = images()
    expected = (x.double() / 255 - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)
    torch.testing.assert_close(Normalize(MEAN, STD)(x), expected.float())


@pytest.mark.parametrize(("mean", "std"), [((0.5,), (0.5, 0.5)), ((0.5,), (0.0,))])
def test_normalize_refuses_nonsense(mean, std):
    with pytest.raises(ValueError, match="one value per channel and std above 0"):
        Normalize(mean, std)


@pytest.mark.parametrize("name", AUGMENTATIONS)
class TestEveryAugmentation:
    def test_shape_range_and_seed(self, name):
        augment = AUGMENTATIONS[name](16)
        x = images().float() / 255
        before = x.clone()
        torch.manual_seed(1)
        one = augment(x)
        torch.manual_seed(1)
        assert torch.equal(augment(x), one)
        assert one.shape == x.shape
        assert one.min() >= 0
        assert one.max() <= 1 + 1e-6
        assert torch.equal(x, before)

    def test_off_for_evaluation(self, name):
        normalize = Normalize(MEAN, STD, AUGMENTATIONS[name](16)).eval()
        assert torch.equal(normalize(images()), Normalize(MEAN, STD)(images()))


def test_crops_are_shifts_by_whole_pixels_and_flips():
    augment = AUGMENTATIONS["crop-flip"](16)
    x = images(32).float() / 255
    torch.manual_seed(0)
    out = augment(x)
    flipped = 0
    for before, after in zip(x, out, strict=True):
        padded = torch.nn.functional.pad(before, (2, 2, 2, 2))
        windows = [padded[:, r : r + 16, c : c + 16] for r in range(5) for c in range(5)]
        straight = any(torch.allclose(after, window, atol=1e-4) for window in windows)
        mirrored = any(torch.allclose(after.flip(2), window, atol=1e-4) for window in windows)
        assert straight or mirrored
        flipped += mirrored
    assert 8 <= flipped <= 24
