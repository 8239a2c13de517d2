"""A method that nobody has published: an estimator and a scale in ten lines; it trains, packs and runs as it is."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from onebit.binarize import ESTIMATORS
from onebit.export import pack
from onebit.nn import WEIGHT_BINARIZERS, BinaryConv2d, WeightBinarizer
from onebit.runtime.engine import Engine, usable_isas
from onebit.runtime.reference import ReferenceEngine


# The whole method ----------------------------------------------------------------------------------------------
def bump(x: Tensor, progress: Tensor) -> Tensor:
    """1 / (1 + x^2)^2, sharper as training goes on."""
    return 1 / (1 + (1 + progress) * x.square()).square()


class MedianScale(WeightBinarizer):
    """The median of |w| per filter."""

    def scale(self, latent: Tensor) -> Tensor:
        return latent.detach().abs().flatten(1).median(dim=1).values


# ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("isa", usable_isas())
def test_a_made_up_method_trains_and_packs_with_parity(isa, monkeypatch):
    monkeypatch.setitem(ESTIMATORS._items, "bump", bump)
    monkeypatch.setitem(WEIGHT_BINARIZERS._items, "median", MedianScale)
    torch.manual_seed(0)
    layers: list[nn.Module] = [nn.Conv2d(3, 40, 3, padding=1), nn.BatchNorm2d(40)]
    for _ in range(3):
        layers += [
            BinaryConv2d(40, 40, 3, padding=1, weight_binarizer=MedianScale("bump"), input_binarizer="sign"),
            nn.BatchNorm2d(40),
        ]
    model = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(40, 4))
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    images, labels = torch.randn(32, 3, 9, 9), torch.arange(32) % 4
    losses = []
    for _ in range(15):
        loss = F.cross_entropy(model(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    packed = pack(model, (3, 9, 9), strict=True)
    assert [row.runs_as for row in packed.report.rows].count("1-bit") == 3
    pixels = np.random.default_rng(0).standard_normal((4, 9, 9, 3)).astype(np.float32)
    reference, engine = ReferenceEngine(packed.graph), Engine(packed.graph, threads=1, isa=isa, keep_values=True)
    with torch.no_grad():
        want = model.eval()(torch.from_numpy(pixels).permute(0, 3, 1, 2)).numpy()
    for run in (reference, engine):
        np.testing.assert_allclose(run.run(pixels).reshape(4, 4), want, rtol=1e-4, atol=1e-4)
    for name, words in reference.values().items():
        if words.dtype == np.uint32:
            assert np.array_equal(words, engine.values()[name])
