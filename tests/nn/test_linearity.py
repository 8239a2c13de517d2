"""The linearity probe on cases whose answer is known."""

import pytest
import torch
from torch import nn

from onebit.nn import BinaryConv2d, probe_linearity
from onebit.report.linearity import linearity_png


def test_a_binary_layer_on_binary_data_is_linear_and_on_real_data_is_not():
    torch.manual_seed(0)
    model = nn.Sequential(BinaryConv2d(4, 8, 3, padding=1))
    with torch.no_grad():
        model[0].weight.copy_(0.1 * torch.randn_like(model[0].weight).sign())
    signs, noise = torch.randn(16, 4, 8, 8).sign(), torch.randn(16, 4, 8, 8)
    (on_signs,) = probe_linearity(model, signs)
    (on_noise,) = probe_linearity(model, noise)
    assert (on_signs.name, on_signs.kind) == ("0", "convolution")
    assert on_signs.r2 == pytest.approx(1, abs=1e-6)
    assert on_noise.r2 == pytest.approx(2 / torch.pi, abs=0.05)  # corr(x, sign x)^2 of a normal variable


def test_blocks_linear_or_not_strided_or_not():
    torch.manual_seed(0)
    linear = nn.Sequential(nn.Conv2d(4, 6, 1), nn.BatchNorm2d(6))
    strided = nn.Sequential(nn.AvgPool2d(2), nn.Conv2d(6, 6, 1))
    bent = nn.Sequential(nn.BatchNorm2d(6), nn.ReLU())
    model = nn.Sequential(linear, strided, bent, BinaryConv2d(6, 6, 1)).train()
    got = {row.name: row.r2 for row in probe_linearity(model, torch.randn(32, 4, 8, 8), blocks=["[012]"])}
    assert got["0"] == pytest.approx(1, abs=1e-6)
    assert got["1"] == pytest.approx(1, abs=1e-6)
    assert got["2"] < 0.95
    assert model.training
    assert not model[0]._forward_hooks


def test_errors_name_the_module():
    model = nn.Sequential(BinaryConv2d(3, 4, 3), nn.Flatten())
    with pytest.raises(ValueError, match="no module matches 'blocks"):
        probe_linearity(model, torch.randn(1, 3, 8, 8), blocks=["blocks.*"])
    with pytest.raises(ValueError, match="1 gives no map"):
        probe_linearity(model, torch.randn(1, 3, 8, 8), blocks=["1"])
    with pytest.raises(ValueError, match="no binary convolution"):
        probe_linearity(nn.Conv2d(3, 3, 1), torch.randn(1, 3, 8, 8))


def test_the_picture_is_a_png():
    assert linearity_png({"a": [("x", 0.5), ("y", 0.7)], "b": [("x", 0.2)]}).startswith(b"\x89PNG")
    with pytest.raises(ValueError, match="at least one"):
        linearity_png({})
