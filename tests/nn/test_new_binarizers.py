"""Rectifier, standardized and clamped weights, learned thresholds and offsets: forward and gradients by formula."""

import math

import pytest
import torch
import torch.nn.functional as F

from onebit.binarize import ESTIMATORS, sign
from onebit.binarize.scales import power_of_two, rectify, standardize
from onebit.nn import (
    BinaryConv2d,
    BinaryLinear,
    as_scheme,
    keep_positive_,
    parameter_roles,
    set_progress,
    set_real_weights,
)


def test_rectified_gradients_are_those_of_the_whole_matrix():
    torch.manual_seed(0)
    conv = BinaryConv2d(4, 5, 3, padding=1, weight_binarizer="rectified").double()
    rectifier = conv.weight_binarizer.rectifier
    assert rectifier.shape == (4, 3, 3)
    torch.testing.assert_close(rectifier.mean().item(), conv.weight.abs().mean().item(), rtol=1e-6, atol=0)
    with torch.no_grad():
        rectifier.add_(torch.rand(4, 3, 3))
    x, upstream = torch.randn(2, 4, 6, 6, dtype=torch.float64), torch.randn(2, 5, 6, 6, dtype=torch.float64)
    out = conv(x)
    signs = sign(conv.weight).detach()
    mean = rectifier.detach().mean()
    torch.testing.assert_close(out, mean * F.conv2d(sign(x), signs, padding=1))
    (out * upstream).sum().backward()
    product = (mean * signs).requires_grad_()  # the values of C . sign(w) in the forward pass
    (F.conv2d(sign(x), product, padding=1) * upstream).sum().backward()
    torch.testing.assert_close(rectifier.grad, (product.grad * signs).sum(0))
    slope = ESTIMATORS["polynomial"](conv.weight.detach(), torch.zeros(()))
    torch.testing.assert_close(conv.weight.grad, product.grad * mean * slope)


def test_rectifier_of_a_grouped_layer_and_its_floor():
    conv = BinaryConv2d(8, 6, 3, groups=2, weight_binarizer="rectified")
    rectifier = conv.weight_binarizer.rectifier
    assert rectifier.shape == (4, 3, 3)
    with torch.no_grad():
        rectifier[0, 0, 0], rectifier[1, 1, 1] = -0.5, 0.5
    before = rectifier.detach().clone()
    keep_positive_(conv)
    assert rectifier[0, 0, 0].item() == pytest.approx(1e-4)
    torch.testing.assert_close(rectifier.detach(), before.clamp_min(1e-4))
    assert parameter_roles(conv)["weight_binarizer.rectifier"] == "weight-scale"


def test_a_rectifier_belongs_to_one_layer():
    conv = BinaryConv2d(4, 4, 3, weight_binarizer="rectified")
    with pytest.raises(ValueError, match="give each layer its own"):
        BinaryConv2d(4, 4, 3, weight_binarizer=conv.weight_binarizer)


@pytest.mark.parametrize("name", ["shifted-sign", "balanced-sign"])
def test_learned_thresholds_belong_to_one_layer(name):
    conv = BinaryConv2d(4, 4, 3, input_binarizer=name)
    with pytest.raises(ValueError, match="give each layer its own"):
        BinaryConv2d(4, 4, 3, input_binarizer=conv.input_binarizer)


def test_a_rectifier_of_zero_gives_no_nan():
    conv = BinaryConv2d(2, 2, 3, weight_binarizer="rectified")
    with torch.no_grad():
        conv.weight_binarizer.rectifier.zero_()
    conv(torch.randn(1, 2, 5, 5)).sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in conv.parameters())


def test_standardized_weights_are_balanced_with_a_power_of_two():
    torch.manual_seed(0)
    conv = BinaryConv2d(16, 8, 3, weight_binarizer="standardized")
    with torch.no_grad():
        conv.weight.add_(0.3)  # a plain sign would now be +1 nearly everywhere
    signs, scale = conv.weight_binarizer(conv.weight)
    centered = conv.weight - conv.weight.mean((1, 2, 3), keepdim=True)
    assert torch.equal(signs, sign(centered))
    latent = standardize(conv.weight)
    torch.testing.assert_close(latent.mean((1, 2, 3)), torch.zeros(8), atol=1e-6, rtol=0)
    torch.testing.assert_close(latent.std((1, 2, 3), correction=0), torch.ones(8), atol=1e-2, rtol=0)
    assert torch.equal(scale.log2(), scale.log2().round())
    assert power_of_two(torch.tensor([0.75, 1.4, 1.5, 3.0])).tolist() == [1.0, 1.0, 2.0, 4.0]


@pytest.mark.parametrize("name", ["sign", "mean-scale", "trained-scale"])
def test_weight_standardization_is_an_option(name):
    torch.manual_seed(0)
    options = {"weights": name, "weight_standardized": True, "weight_estimator": "polynomial"}
    conv = as_scheme("bireal", **options).conv2d(16, 8, 3).double()
    with torch.no_grad():
        conv.weight.add_(0.3)  # a plain sign would now be +1 nearly everywhere
    signs, scale = conv.weight_binarizer(conv.weight)
    latent = standardize(conv.weight)
    assert torch.equal(signs, sign(conv.weight - conv.weight.mean((1, 2, 3), keepdim=True)))
    if name == "mean-scale":
        torch.testing.assert_close(scale, latent.abs().mean((1, 2, 3)))
    upstream = torch.randn_like(signs)
    (signs * upstream).sum().backward()
    weight = conv.weight.detach().clone().requires_grad_()
    slope = ESTIMATORS["polynomial"](latent.detach(), torch.zeros(()))
    (standardize(weight) * upstream * slope).sum().backward()
    torch.testing.assert_close(conv.weight.grad, weight.grad)  # through the mean and the deviation too
    assert "standardized=True" in repr(conv)


def test_the_clamp_of_recu_moves_no_sign_and_tightens_with_less_tau():
    torch.manual_seed(0)
    latent = torch.distributions.Laplace(0.0, 1.0).sample((64, 64))
    for tau in (0.85, 0.99):
        clamped = rectify(latent, tau)
        assert torch.equal(sign(clamped), sign(latent))
        # a Laplace variable lies within its tau-quantile with probability 2 tau - 1
        assert (clamped == latent).float().mean().item() == pytest.approx(2 * tau - 1, abs=0.02)
    conv = BinaryConv2d(8, 8, 3, weight_binarizer="recu")
    limits = []
    for progress in (0.0, 1.0):
        set_progress(conv, progress)
        limits.append(conv.weight_binarizer.latent(conv.weight).abs().max().item())
    assert limits[0] < limits[1]
    assert limits[0] == pytest.approx(standardize(conv.weight).abs().mean().item() * -math.log(0.3), rel=1e-5)


@pytest.mark.parametrize("name", ["shifted-sign", "balanced-sign"])
def test_learned_thresholds_are_per_channel(name):
    torch.manual_seed(0)
    conv = BinaryConv2d(3, 4, 1, input_binarizer=name)
    inputs = conv.input_binarizer
    shift = inputs.shift if name == "shifted-sign" else inputs.theta
    assert shift.shape == (3,)
    with torch.no_grad():
        shift.copy_(torch.tensor([0.5, -0.25, 0.0]))
    threshold = inputs.threshold()
    x = torch.randn(2, 3, 5, 5, requires_grad=True)
    with torch.no_grad():
        x[:, :, 0, 0] = threshold  # exactly at the threshold: high
    levels, _ = inputs(x)
    assert torch.equal(levels, torch.where(x < threshold[:, None, None], -1.0, 1.0))
    assert (levels[:, :, 0, 0] == 1).all()
    levels.sum().backward()
    slope = ESTIMATORS[inputs.estimator]((x - threshold[:, None, None]).detach(), torch.zeros(()))
    want = slope.sum((0, 2, 3)) * (1 if name == "shifted-sign" else -1)
    torch.testing.assert_close(shift.grad, want)
    assert parameter_roles(conv)[f"input_binarizer.{'shift' if name == 'shifted-sign' else 'theta'}"] == "slope"


def test_thresholds_of_a_linear_layer_lie_on_the_last_axis():
    linear = BinaryLinear(3, 2, input_binarizer="shifted-sign", weight_binarizer="sign")
    with torch.no_grad():
        linear.input_binarizer.shift.copy_(torch.tensor([1.0, 0.0, -1.0]))
    levels, _ = linear.input_binarizer(torch.tensor([[-0.5, -0.5, 0.5]]))
    assert levels.tolist() == [[1.0, -1.0, -1.0]]


@pytest.mark.parametrize("weights", ["mean-scale", "sign", None])
@pytest.mark.parametrize("padding", [0, 1])
def test_an_offset_holds_everywhere_borders_included(weights, padding):
    torch.manual_seed(0)
    conv = BinaryConv2d(3, 4, 3, padding=padding, bias=True, weight_binarizer=weights, input_binarizer="balanced-sign")
    inputs = conv.input_binarizer
    with torch.no_grad():
        inputs.s.fill_(0.7)
        inputs.b.fill_(-0.3)
        inputs.theta.copy_(torch.tensor([0.1, -0.2, 0.0]))
    x = torch.randn(2, 3, 6, 6)
    signs, scale = (conv.weight, None) if weights is None else conv.weight_binarizer(conv.weight)
    values = 0.7 * torch.where(x < inputs.theta[:, None, None], -1.0, 1.0) - 0.3
    padded = F.pad(values, (padding,) * 4, value=-0.3)  # the border holds the middle of the two levels
    want = F.conv2d(padded, signs if scale is None else signs * scale[:, None, None, None], conv.bias)
    torch.testing.assert_close(conv(x), want)


def test_real_weights_for_a_phase():
    torch.manual_seed(0)
    conv = BinaryConv2d(3, 4, 3)
    x = torch.randn(1, 3, 5, 5)
    binary = conv(x)
    set_real_weights(conv, True)
    torch.testing.assert_close(conv(x), F.conv2d(sign(x), conv.weight))
    set_real_weights(conv, False)
    assert torch.equal(conv(x), binary)
