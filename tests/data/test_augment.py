"""Augmentation keeps what an image is, and depends on the seed alone."""

import pytest
import torch

from onebit.data import AUGMENTATIONS, Mixing, Normalize

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


class TestMixing:
    def mixed(self, seed=0, size=(16, 16), **alphas):
        generator = torch.Generator().manual_seed(1)
        x = torch.randn(8, 3, *size, generator=generator)
        before = x.clone()
        torch.manual_seed(seed)
        out, partners, share = Mixing(**{"mixup": 0.0, "cutmix": 0.0, **alphas})(x)
        assert torch.equal(x, before)
        assert sorted(partners.tolist()) == list(range(8))
        assert 0 <= share <= 1
        return x, out, x[partners], share

    @pytest.mark.parametrize("alpha", [1e-300, 0.2, 1.0, 1000.0])
    def test_mixup_by_formula(self, alpha):
        shares = []
        for seed in range(20):
            x, out, other, share = self.mixed(seed, mixup=alpha)
            torch.testing.assert_close(out, share * x + (1 - share) * other)
            shares.append(share)
        if alpha == 1000:
            assert all(0.44 < share < 0.56 for share in shares)
        if alpha == 0.2:
            assert len(set(shares)) == 20
            assert any(0.1 < share < 0.9 for share in shares)

    @pytest.mark.parametrize("size", [(16, 16), (1, 5), (7, 32)])
    def test_cutmix_pastes_a_box_whose_area_is_what_the_share_says(self, size):
        found = []
        for seed in range(20):
            x, out, other, share = self.mixed(seed, size, cutmix=1.0)
            pasted = (out != x).any(1).any(0)  # (H, W), the same for all images
            rows, columns = pasted.any(1).nonzero(), pasted.any(0).nonzero()
            if len(rows):
                box = (slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1))
                assert pasted[box].all()
                assert torch.equal(out[..., box[0], box[1]], other[..., box[0], box[1]])
            assert share == pytest.approx(1 - float(pasted.float().mean()))
            found.append(share)
        assert len(set(found)) > 1

    def test_a_function_of_the_seed_alone(self):
        one, same, other = (self.mixed(seed, mixup=0.4, cutmix=1.0)[1] for seed in (5, 5, 6))
        assert torch.equal(one, same)
        assert not torch.equal(one, other)

    def test_with_both_each_batch_takes_one(self):
        kinds = []
        for seed in range(40):
            x, out, other, _ = self.mixed(seed, mixup=1000.0, cutmix=1.0)
            kinds.append(bool(((out == x) | (out == other)).all()))
        assert 8 <= sum(kinds) <= 32
