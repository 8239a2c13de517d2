"""Binary layers: forward against plain torch on signs, gradients against the paper's formulas, life as a torch
module.
"""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from onebit.binarize import ESTIMATORS, sign, step
from onebit.nn import INPUT_BINARIZERS, WEIGHT_BINARIZERS, BinaryConv2d, BinaryLinear, keep_positive_, parameter_roles
from onebit.nn.binarizers import MeanScaleWeight, TrainedScaleWeight, TrainedStepInput

NONE = torch.zeros(())


def test_without_binarizers_it_is_the_torch_layer():
    torch.manual_seed(0)
    x = torch.randn(2, 4, 9, 9)
    ours = BinaryConv2d(4, 6, 3, 2, 1, 2, 2, True, weight_binarizer=None, input_binarizer=None)
    torchs = nn.Conv2d(4, 6, 3, 2, 1, 2, 2, True)
    torchs.load_state_dict(ours.state_dict())
    assert torch.equal(ours(x), torchs(x))
    linear = BinaryLinear(5, 3, True, weight_binarizer=None, input_binarizer=None)
    assert torch.equal(linear(x[0, 0, :, :5]), F.linear(x[0, 0, :, :5], linear.weight, linear.bias))


@pytest.mark.parametrize("pad_value", [-1.0, 0.0, 1.0])
@pytest.mark.parametrize(("stride", "dilation", "groups"), [(1, 1, 1), (2, 1, 2), ((2, 1), (1, 2), 4)])
def test_forward_is_a_convolution_of_signs(pad_value, stride, dilation, groups):
    torch.manual_seed(0)
    x = torch.randn(2, 8, 7, 6)
    x[0, 0, 0, :4] = torch.tensor([0.0, -0.0, 1e-30, -1e-30])
    conv = BinaryConv2d(8, 12, 3, stride, (1, 2), dilation, groups, bias=True, pad_value=pad_value)
    padded = F.pad(sign(x), (2, 2, 1, 1), value=pad_value)
    signs = F.conv2d(padded, sign(conv.weight), None, stride, 0, dilation, groups)
    want = signs * conv.weight.abs().mean((1, 2, 3))[:, None, None] + conv.bias[:, None, None]
    assert torch.equal(conv(x), want)


def test_trained_binarization_gradients_are_the_papers():
    torch.manual_seed(0)
    conv = BinaryConv2d(3, 4, 3, padding=1, weight_binarizer="trained-scale", input_binarizer="trained-step").double()
    with torch.no_grad():
        conv.weight.mul_(3)  # so that some weights lie outside the estimator's support
    alpha, beta = conv.weight_binarizer.alpha, conv.input_binarizer.beta
    torch.testing.assert_close(alpha.item(), conv.weight.abs().mean().item() / 3, rtol=1e-6, atol=0)
    x = torch.randn(2, 3, 5, 5, dtype=torch.float64, requires_grad=True)
    upstream = torch.randn(2, 4, 5, 5, dtype=torch.float64)
    (conv(x) * upstream).sum().backward()
    weight_b = (alpha * sign(conv.weight)).detach().requires_grad_()
    input_b = (beta * step(x)).detach().requires_grad_()
    (F.conv2d(input_b, weight_b, padding=1) * upstream).sum().backward()
    torch.testing.assert_close(alpha.grad, (weight_b.grad * sign(conv.weight)).sum())
    torch.testing.assert_close(beta.grad, (input_b.grad * step(x)).sum())
    tight, long = ESTIMATORS["higher-order"], ESTIMATORS["long-tailed-higher-order"]
    torch.testing.assert_close(conv.weight.grad, weight_b.grad * alpha * tight(conv.weight, NONE))
    torch.testing.assert_close(x.grad, input_b.grad * beta * long(x, NONE))


def test_mean_scale_lets_gradients_through_only_when_asked():
    weight = torch.randn(4, 3, 3, 3, requires_grad=True)
    assert MeanScaleWeight().scale(weight).requires_grad is False
    assert MeanScaleWeight(detached=False).scale(weight).requires_grad is True


def test_learned_scales_per_channel_and_kept_positive():
    conv = BinaryConv2d(3, 4, 3, weight_binarizer=TrainedScaleWeight(granularity="channel"), input_binarizer="step")
    alpha = conv.weight_binarizer.alpha
    torch.testing.assert_close(alpha.detach(), conv.weight.detach().abs().mean((1, 2, 3)))
    with torch.no_grad():
        alpha.fill_(-1)
    keep_positive_(nn.Sequential(conv))
    assert (alpha > 0).all()


def test_a_binarizer_belongs_to_one_layer():
    shared = TrainedScaleWeight()
    BinaryConv2d(3, 4, 3, weight_binarizer=shared)
    with pytest.raises(ValueError, match="already belongs to a layer"):
        BinaryConv2d(3, 4, 3, weight_binarizer=shared)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"pad_value": 2.0}, r"pad_value must be one of \(-1.0, 0.0, 1.0\) for these inputs, got 2.0"),
        ({"pad_value": -1.0, "input_binarizer": "step"}, r"pad_value must be one of \(0.0, 1.0\)"),
        ({"pad_value": 1.0, "input_binarizer": None}, r"pad_value must be one of \(0.0,\)"),
        ({"weight_binarizer": "trained-scal"}, "did you mean 'trained-scale'"),
        ({"input_binarizer": "signe"}, "did you mean 'sign'"),
        ({"padding": "same", "stride": 2}, "padding='same' is not supported for strided convolutions"),
        ({"padding": "full"}, "Invalid padding string 'full'"),
    ],
)
def test_mistakes_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        BinaryConv2d(3, 4, 3, **arguments)


@pytest.mark.parametrize("pad_value", [0.0, 1.0, -1.0])
@pytest.mark.parametrize(("words", "numbers"), [("same", (2, 1)), ("valid", 0)])
def test_padding_in_words(words, numbers, pad_value):
    options = {"dilation": (1, 1), "pad_value": pad_value}
    named, counted = (BinaryConv2d(3, 4, (5, 3), padding=padding, **options) for padding in (words, numbers))
    counted.load_state_dict(named.state_dict())
    x = torch.randn(2, 3, 7, 6)
    assert torch.equal(named(x), counted(x))


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
def test_same_padding_of_an_even_kernel_is_that_of_torch():
    conv = BinaryConv2d(3, 4, 2, padding="same", weight_binarizer=None, input_binarizer=None)
    padded = BinaryConv2d(3, 4, 2, padding="same", pad_value=1.0, weight_binarizer=None, input_binarizer="sign")
    x = torch.randn(2, 3, 7, 6).sign()
    torch.testing.assert_close(conv(x), torch.nn.functional.conv2d(x, conv.weight, padding="same"))
    by_hand = torch.nn.functional.conv2d(torch.nn.functional.pad(x, (0, 1, 0, 1), value=1.0), padded.weight)
    torch.testing.assert_close(padded(x), by_hand)


def test_wrong_kind_of_binarizer():
    with pytest.raises(TypeError, match="input_binarizer must be a name"):
        BinaryConv2d(3, 4, 3, input_binarizer=nn.ReLU())
    with pytest.raises(ValueError, match="start must be above 0, got 0"):
        TrainedStepInput(start=0)


@pytest.mark.parametrize("weights", [*WEIGHT_BINARIZERS, None])
@pytest.mark.parametrize("inputs", [*INPUT_BINARIZERS, None])
class TestLifeAsAModule:
    def make(self, weights, inputs):
        torch.manual_seed(0)
        return nn.Sequential(
            BinaryConv2d(3, 8, 3, padding=1, weight_binarizer=weights, input_binarizer=inputs),
            nn.Flatten(),
            BinaryLinear(8 * 16, 5, weight_binarizer=weights, input_binarizer=inputs),
        )

    def test_state_dict_and_deepcopy(self, weights, inputs):
        model, x = self.make(weights, inputs), torch.randn(2, 3, 4, 4)
        torch.manual_seed(1)
        other = nn.Sequential(
            BinaryConv2d(3, 8, 3, padding=1, weight_binarizer=weights, input_binarizer=inputs),
            nn.Flatten(),
            BinaryLinear(8 * 16, 5, weight_binarizer=weights, input_binarizer=inputs),
        )
        other.load_state_dict(model.state_dict())
        assert torch.equal(other(x), model(x))
        assert torch.equal(copy.deepcopy(model)(x), model(x))

    def test_autocast(self, weights, inputs):
        model = self.make(weights, inputs)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = model(torch.randn(2, 3, 4, 4)).float().square().mean()
        loss.backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())

    def test_export(self, weights, inputs):
        model, x = self.make(weights, inputs).eval(), torch.randn(2, 3, 4, 4)
        torch._dynamo.reset()  # old releases count what was compiled of the class, and stop at a few
        torch.testing.assert_close(torch.export.export(model, (x,)).module()(x), model(x))


@pytest.mark.slow
def test_compile_gives_the_same_step():
    torch.manual_seed(0)
    model = nn.Sequential(
        BinaryConv2d(3, 8, 3, padding=1, weight_binarizer="trained-scale", input_binarizer="trained-step"),
        nn.Flatten(),
        BinaryLinear(8 * 16, 5),
    )
    compiled = copy.deepcopy(model)
    x = torch.randn(2, 3, 4, 4)
    model(x).square().sum().backward()
    torch.compile(compiled)(x).square().sum().backward()
    for ours, theirs in zip(model.parameters(), compiled.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad)


def test_roles():
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3),
        nn.BatchNorm2d(4),
        BinaryConv2d(4, 4, 3, bias=True, weight_binarizer="trained-scale", input_binarizer="trained-step"),
        nn.PReLU(4),
        BinaryConv2d(4, 4, 1, weight_binarizer=None),
    )
    assert parameter_roles(model) == {
        "0.weight": "real",
        "0.bias": "real",
        "1.weight": "norm",
        "1.bias": "norm",
        "2.weight": "latent",
        "2.bias": "real",
        "2.weight_binarizer.alpha": "weight-scale",
        "2.input_binarizer.beta": "input-scale",
        "3.weight": "slope",
        "4.weight": "real",
    }
