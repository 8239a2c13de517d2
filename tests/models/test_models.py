"""Rules every model of the zoo obeys."""

import pytest
import torch
from torch import nn

from onebit.models import MODELS
from onebit.nn import SCHEMES, BinaryConv2d, parameter_roles


@pytest.mark.parametrize("name", MODELS)
class TestEveryModel:
    @pytest.mark.parametrize("scheme", SCHEMES)
    def test_forward_and_backward(self, name, scheme):
        torch.manual_seed(0)
        model = MODELS[name](num_classes=7, in_channels=1, width=0.25, scheme=scheme)
        out = model(torch.randn(2, 1, 32, 32))
        assert out.shape == (2, 7)
        out.square().sum().backward()
        assert all(p.grad is not None for p in model.parameters())
        assert set(parameter_roles(model)) == {n for n, _ in model.named_parameters()}

    def test_float_twin_has_the_same_weights(self, name):
        binary, real = MODELS[name](), MODELS[name](scheme="float")
        shapes = [m.weight.shape for m in binary.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
        assert shapes == [m.weight.shape for m in real.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
        assert not any(isinstance(m, BinaryConv2d) for m in real.modules())

    def test_mistakes(self, name):
        with pytest.raises(ValueError, match="width must be above 0"):
            MODELS[name](width=0)
        with pytest.raises(ValueError, match="num_classes must be a whole number"):
            MODELS[name](num_classes=0)
        with pytest.raises(ValueError, match="did you mean 'float'"):
            MODELS[name](scheme="flaot")


def test_vgg_small_is_the_papers():
    model = MODELS["vgg-small"]()
    convs = [m for m in model.modules() if isinstance(m, nn.Conv2d)]
    assert [m.out_channels for m in convs] == [128, 128, 256, 256, 512, 512]
    assert [isinstance(m, BinaryConv2d) for m in convs] == [False] + [True] * 5
    assert model.classifier.in_features == 8192


def test_resnet18_costs_what_the_literature_counts():
    import onebit

    report = onebit.pack(MODELS["resnet18"](scheme="bireal"), (3, 32, 32)).report
    assert round(report.bops / 1e6) == 547
    assert report.rows[0].macs == 1_769_472


def test_resnet20_costs_what_the_literature_counts():
    import onebit

    report = onebit.pack(MODELS["resnet20"](scheme="bireal"), (3, 32, 32)).report
    assert round(report.bops / 1e5) == 401
