"""The numbers of training health: what is counted, and that measuring changes nothing."""

import pytest
import torch
from torch import nn

from onebit.binarize import ESTIMATORS
from onebit.nn import (
    BinaryConv2d,
    BinaryLinear,
    SignWeight,
    latent_signs,
    layer_health,
    set_progress,
    set_real_weights,
    watch_inputs,
)


def conv(**changes):
    torch.manual_seed(0)
    return BinaryConv2d(4, 8, 3, padding=1, **({"weight_binarizer": "sign", "input_binarizer": "sign"} | changes))


def network(**changes):
    return nn.Sequential(nn.Conv2d(3, 4, 1), conv(**changes), nn.Flatten(), BinaryLinear(8 * 36, 2))


def test_flips_are_counted_layer_by_layer():
    net = network()
    before = latent_signs(net)
    assert before.dtype == torch.bool
    assert len(before) == 4 * 8 * 9 + 8 * 36 * 2
    with torch.no_grad():
        net[1].weight.flatten()[:72].neg_()
        net[3].weight.flatten()[:9].neg_()
    found = layer_health(net, before)
    assert list(found) == ["1", "3"]
    assert [found[name].weights for name in found] == [288, 576]
    assert [found[name].flipped for name in found] == [72 / 288, 9 / 576]
    assert [layer.flipped for layer in layer_health(net, latent_signs(net)).values()] == [0.0, 0.0]


def test_latents_outside_the_window():
    layer = conv()
    for share, size in ((0.0, 0.99), (1.0, 1.01)):
        nn.init.constant_(layer.weight, size)
        assert layer_health(layer, latent_signs(layer))[""].outside == share
    with torch.no_grad():
        layer.weight.flatten()[:36] = -0.5
    assert layer_health(layer, latent_signs(layer))[""].outside == 1 - 36 / 288


@pytest.mark.parametrize("name", ESTIMATORS)
@pytest.mark.parametrize("progress", [0.0, 1.0])
def test_every_estimator_has_its_window_around_0(name, progress):
    layer = conv(weight_binarizer=SignWeight(name))
    set_progress(layer, progress)
    shares = []
    for size in (0.0, 100.0):
        nn.init.constant_(layer.weight, size)
        shares.append(layer_health(layer, latent_signs(layer))[""].outside)
    nearly_flat = name == "identity"
    assert shares == [0.0, 0.0 if nearly_flat else 1.0] or (name, progress) == ("error-decay", 0.0)


def test_scales():
    layer = conv(weight_binarizer="trained-scale", input_binarizer="trained-step")
    layer.weight_binarizer.alpha.data.fill_(0.25)
    layer.input_binarizer.beta.data.fill_(1.5)
    found = layer_health(layer, latent_signs(layer))[""]
    assert (found.scale, found.input_scale) == (0.25, 1.5)
    found = layer_health(mean := conv(weight_binarizer="mean-scale"), latent_signs(mean))[""]
    assert found.scale == pytest.approx(float(mean.weight.detach().abs().mean()), rel=1e-6)
    assert found.input_scale is None
    assert layer_health(none := conv(), latent_signs(none))[""].scale is None


def test_real_weights_have_no_signs_to_flip():
    layer = conv(weight_binarizer="trained-scale")
    set_real_weights(layer, True)
    found = layer_health(layer, ~latent_signs(layer))[""]
    assert found.flipped is found.outside is found.scale is None


def test_a_layer_with_one_side_binary():
    inputs, weights = conv(weight_binarizer=None), conv(input_binarizer=None)
    net = nn.Sequential(inputs, BinaryConv2d(8, 4, 1), weights)
    with watch_inputs(net) as watched:
        net(torch.randn(2, 4, 8, 8))
    found = layer_health(net, latent_signs(net), watched)
    assert list(found) == ["0", "1", "2"]
    assert found["0"].weights == 0
    assert found["0"].flipped is None
    assert found["0"].inputs is not None
    assert found["2"].inputs is None
    assert found["2"].as_json()["constant"] is None
    assert layer_health(nn.Conv2d(3, 3, 1), latent_signs(nn.Conv2d(3, 3, 1))) == {}


class TestInputs:
    def watched(self, layer, x):
        with watch_inputs(layer) as found:
            for part in x.split(25):
                layer(part)
        return found[""]

    def test_constant_channels(self):
        x = torch.randn(100, 4, 8, 8)
        layer = conv(input_binarizer="shifted-sign")
        assert self.watched(layer, x).constant == 0.0
        with torch.no_grad():
            layer.input_binarizer.shift[1], layer.input_binarizer.shift[2] = 10.0, -10.0
        assert self.watched(layer, x).constant == 0.5

    def test_inputs_outside_the_window(self):
        layer = conv(input_binarizer="shifted-sign")
        x = torch.zeros(4, 4, 8, 8)
        x[:, 0], x[:, 1] = 1.5, -1.5
        assert self.watched(layer, x).outside == 0.5
        with torch.no_grad():
            layer.input_binarizer.shift[0] = -1.5
        assert self.watched(layer, x).outside == 0.25

    @pytest.mark.parametrize("shape", [(64, 4), (16, 3, 4)])
    def test_linear_layers(self, shape):
        layer = BinaryLinear(4, 2)
        x = torch.randn(shape)
        x[..., 3] = 0.5
        assert self.watched(layer, x).constant == 0.25

    def test_all_steps_and_zeros(self):
        layer = conv(input_binarizer="trained-step")
        assert self.watched(layer, torch.full((4, 4, 8, 8), -0.5)).constant == 1.0

    def test_nothing_runs(self):
        with watch_inputs(conv()) as found:
            pass
        assert found == {}


def test_measuring_changes_nothing():
    net = network(input_binarizer="shifted-sign")
    x = torch.randn(2, 3, 6, 6)
    want, state, seed = net(x), {k: v.clone() for k, v in net.state_dict().items()}, torch.get_rng_state()
    with watch_inputs(net) as found, torch.inference_mode():
        got = net(x)
    layer_health(net, latent_signs(net), found)
    assert torch.equal(want, got)
    assert torch.equal(torch.get_rng_state(), seed)
    assert all(torch.equal(v, state[k]) for k, v in net.state_dict().items())
    assert not any(module._forward_hooks for module in net.modules())
    with pytest.raises(RuntimeError), watch_inputs(net):
        net(torch.randn(2, 9))
    assert not any(module._forward_hooks for module in net.modules())
