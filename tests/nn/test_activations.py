"""Activations and the channel shuffle against their formulas."""

import pytest
import torch
from torch import nn

from onebit.nn import ACTIVATIONS, ChannelShuffle, FPReLU, RPReLU, parameter_roles


def test_fprelu_and_rprelu_by_formula():
    torch.manual_seed(0)
    x = torch.randn(2, 3, 4, 4)
    f, r = FPReLU(3), RPReLU(3)
    assert torch.equal(f(x), torch.where(x > 0, x, 0.25 * x))
    with torch.no_grad():
        for parameter in [*f.parameters(), *r.parameters()]:
            parameter.normal_()
    a, b = f.positive[:, None, None], f.negative[:, None, None]
    torch.testing.assert_close(f(x), torch.where(x > 0, a * x, b * x))
    z = x + r.before[:, None, None]
    torch.testing.assert_close(r(x), torch.where(z > 0, z, r.negative[:, None, None] * z) + r.after[:, None, None])
    assert set(parameter_roles(f).values()) == set(parameter_roles(r).values()) == {"slope"}


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_every_activation_keeps_the_shape(name):
    x = torch.randn(2, 5, 3, 3)
    activation = ACTIVATIONS[name](5)
    assert activation(x).shape == x.shape
    assert torch.equal(activation(x[:, :, 1, 1]), activation(x)[:, :, 1, 1])  # vectors as maps of one pixel


@pytest.mark.parametrize("kind", [FPReLU, RPReLU])
@pytest.mark.parametrize("shape", [(8,), (8, 2), (2, 4, 8, 8)])
def test_another_number_of_channels_is_refused(kind, shape):
    with pytest.raises(ValueError, match=r"the input must be \(B, 8, ...\)"):
        kind(8)(torch.randn(shape))


def test_channel_shuffle_is_torchs():
    x = torch.arange(12.0).reshape(1, 12, 1, 1)
    assert torch.equal(ChannelShuffle(3)(x), nn.ChannelShuffle(3)(x))
    assert ChannelShuffle(3)(x).flatten().tolist() == [0, 4, 8, 1, 5, 9, 2, 6, 10, 3, 7, 11]
    with pytest.raises(ValueError, match="groups must be at least 1"):
        ChannelShuffle(0)
