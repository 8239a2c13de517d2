"""Schemes: names, single settings, and the errors of both."""

import pytest
from torch import nn

from onebit.nn import SCHEMES, BinaryConv2d, as_scheme


@pytest.mark.parametrize("weights", ["sign", "mean", "mean-detached", "trained"])
@pytest.mark.parametrize("weight_estimator", ["clipped-identity", "higher-order", "long-tailed-higher-order"])
@pytest.mark.parametrize("inputs", ["step", "trained-step"])
def test_the_ablation_of_trained_binarization_is_a_matter_of_settings(weights, weight_estimator, inputs):
    scheme = as_scheme("trained-binarization", weights=weights, weight_estimator=weight_estimator, inputs=inputs)
    conv = scheme.conv2d(4, 4, 3)
    assert conv.weight_binarizer.estimator == weight_estimator
    learned = {name.rpartition(".")[2] for name, _ in conv.named_parameters()} - {"weight"}
    assert learned == {name for name, on in (("alpha", weights == "trained"), ("beta", inputs == "trained-step")) if on}


def test_trained_binarization_is_what_the_paper_says():
    scheme = SCHEMES["trained-binarization"]
    assert (scheme.weights, scheme.inputs) == ("trained", "trained-step")
    assert scheme.input_estimator == "long-tailed-higher-order"


def test_float_makes_torch_layers():
    assert type(SCHEMES["float"].conv2d(3, 4, 3)) is nn.Conv2d
    assert type(SCHEMES["float"].linear(3, 4)) is nn.Linear
    assert isinstance(SCHEMES["binary-weights"].conv2d(3, 4, 3), BinaryConv2d)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"weight": "mean"}, "Unknown setting 'weight' of a scheme; did you mean 'weights'"),
        ({"weights": "median"}, "weights must be one of"),
        ({"inputs": "relu"}, "inputs must be one of"),
        ({"weight_estimator": "tnah"}, "did you mean 'tanh'"),
        ({"weight_granularity": "filter"}, "granularity must be one of"),
        ({"pad_value": -1.0}, "pad_value must be one of"),
        ({"input_scale_start": 0.0}, "start must be above 0"),
    ],
)
def test_mistakes(changes, message):
    with pytest.raises(ValueError, match=message):
        as_scheme("trained-binarization", **changes)


@pytest.mark.parametrize("name", SCHEMES)
def test_every_scheme_says_what_it_does(name):
    assert SCHEMES[name].describe()
