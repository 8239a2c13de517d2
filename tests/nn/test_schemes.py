"""Schemes: names of binarizers, their options, and the errors of both."""

import pytest
from torch import nn

from onebit.nn import INPUT_BINARIZERS, SCHEMES, WEIGHT_BINARIZERS, BinaryConv2d, Scheme, as_scheme
from onebit.nn.schemes import read_scheme_options


@pytest.mark.parametrize("weights", ["sign", "mean-scale", "trained-scale"])
@pytest.mark.parametrize("weight_estimator", ["clipped-identity", "higher-order", "long-tailed-higher-order"])
@pytest.mark.parametrize("inputs", ["step", "trained-step"])
def test_the_ablation_of_trained_binarization_is_a_matter_of_settings(weights, weight_estimator, inputs):
    scheme = as_scheme("trained-binarization", weights=weights, weight_estimator=weight_estimator, inputs=inputs)
    conv = scheme.conv2d(4, 4, 3)
    assert conv.weight_binarizer.estimator == weight_estimator
    learned = {name.rpartition(".")[2] for name, _ in conv.named_parameters()} - {"weight"}
    found = (("alpha", weights == "trained-scale"), ("beta", inputs == "trained-step"))
    assert learned == {name for name, on in found if on}


def test_trained_binarization_is_what_the_paper_says():
    scheme = SCHEMES["trained-binarization"]
    assert (scheme.weights, scheme.inputs) == ("trained-scale", "trained-step")
    assert scheme.weight_options == {"estimator": "higher-order", "granularity": "layer", "standardized": False}
    assert scheme.input_options == {"estimator": "long-tailed-higher-order", "start": 1.0}


def test_float_makes_torch_layers():
    assert type(SCHEMES["float"].conv2d(3, 4, 3)) is nn.Conv2d
    assert type(SCHEMES["float"].linear(3, 4)) is nn.Linear
    assert isinstance(SCHEMES["binary-weights"].conv2d(3, 4, 3), BinaryConv2d)


@pytest.mark.parametrize("name", WEIGHT_BINARIZERS)
def test_schemes_take_every_weight_binarizer_with_its_own_options(name):
    conv = Scheme(weights=name, weight_options={"estimator": "tanh"}).conv2d(4, 4, 3)
    assert type(conv.weight_binarizer) is WEIGHT_BINARIZERS[name]
    assert conv.weight_binarizer.estimator == "tanh"


@pytest.mark.parametrize("name", INPUT_BINARIZERS)
def test_schemes_take_every_input_binarizer_with_its_own_options(name):
    linear = as_scheme("bireal", inputs=name, input_estimator="tanh").linear(4, 4)
    assert type(linear.input_binarizer) is INPUT_BINARIZERS[name]
    assert linear.input_binarizer.estimator == "tanh"


def test_another_binarizer_keeps_the_options_that_it_has_as_well():
    scheme = as_scheme("trained-binarization", weights="mean-scale", inputs="sign")
    kept = {"estimator": "higher-order", "granularity": "layer", "standardized": False}
    assert scheme.weight_options == {**kept, "detached": True}
    assert scheme.input_options == {"estimator": "long-tailed-higher-order"}
    assert as_scheme("trained-binarization", weights=None).weight_options == {}


@pytest.mark.parametrize(
    ("scheme", "changes", "message"),
    [
        ("trained-binarization", {"weight": "mean-scale"}, "Unknown setting 'weight' of a scheme .* mean 'weights'"),
        ("trained-binarization", {"weights": "mean"}, "Unknown weight binarizer 'mean'; choose one of .*'mean-scale'"),
        ("trained-binarization", {"weights": "none"}, "Unknown weight binarizer 'none'"),
        ("trained-binarization", {"inputs": "relu"}, "Unknown input binarizer 'relu'"),
        ("trained-binarization", {"weight_estimator": "tnah"}, "did you mean 'tanh'"),
        ("trained-binarization", {"weight_estimator": 3}, "weight_options.estimator must be a string, got 3"),
        ("trained-binarization", {"weight_granularity": "filter"}, "granularity must be one of"),
        ("trained-binarization", {"weight_granulrity": "layer"}, "did you mean 'weight_granularity'"),
        ("trained-binarization", {"pad_value": -1.0}, "pad_value must be one of"),
        ("trained-binarization", {"input_start": 0.0}, "start must be above 0"),
        (
            "ir-net",
            {"weight_granularity": "nonsense"},
            "Unknown setting 'weight_granularity' .* weights 'standardized'",
        ),
        ("bireal", {"input_start": 2.0}, "Unknown setting 'input_start' .* inputs 'sign'"),
        ("float", {"weight_estimator": "tanh"}, "Unknown setting 'weight_estimator' .* weights None"),
        ("bireal", {"inputs": None, "input_estimator": "tanh"}, "Unknown setting 'input_estimator'"),
    ],
)
def test_mistakes(scheme, changes, message):
    with pytest.raises(ValueError, match=message):
        as_scheme(scheme, **changes)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"weight_options": {"detach": True}}, "Unknown setting 'detach' in weight_options; did you mean 'detached'"),
        ({"inputs": "step", "input_options": {"start": 1.0}}, "Unknown setting 'start' in input_options"),
        (
            {"weights": None, "weight_options": {"estimator": "tanh"}},
            "are those of a binarizer, but the weights are real",
        ),
    ],
)
def test_mistakes_of_schemes(fields, message):
    with pytest.raises(ValueError, match=message):
        Scheme(**fields)


@pytest.mark.parametrize("name", SCHEMES)
def test_every_scheme_says_what_it_does(name):
    assert SCHEMES[name].describe()
    assert hash(SCHEMES[name]) == hash(as_scheme(name))


@pytest.mark.parametrize(
    ("scheme", "before", "now"),
    [
        ("bireal", {"weight_estimator": "tanh"}, {"weight_estimator": "tanh"}),
        ("xnor-net", {"weights": "mean-detached"}, {"weights": "mean-scale", "weight_detached": True}),
        ("bireal", {"weights": "mean"}, {"weights": "mean-scale", "weight_detached": False}),
        ("ir-net", {"weights": "trained"}, {"weights": "trained-scale", "weight_granularity": "channel"}),
        ("trained-binarization", {"weights": "trained"}, {"weights": "trained-scale"}),
        ("trained-binarization", {"input_scale_start": 0.5}, {"input_start": 0.5}),
        ("ir-net", {"weight_granularity": "layer"}, {}),  # nobody looked at it
        ("bireal", {"input_scale_start": 0.5, "weights": "sign"}, {"weights": "sign"}),
        ("bireal", {"weights": "none", "weight_estimator": "tanh"}, {"weights": None}),
        ("bireal", {"inputs": "none"}, {"inputs": None}),
        ("float", {"weights": "trained"}, {"weights": "trained-scale", "weight_granularity": "channel"}),
        ("ir-net", {"weights": "trained-scale"}, {"weights": "trained-scale"}),  # of today
    ],
)
def test_runs_made_before_stay_readable(scheme, before, now):
    found = read_scheme_options(scheme, before)
    if scheme == "float":
        assert found.pop("weight_estimator") == "clipped-identity"
    assert found == now
    as_scheme(scheme, **found)


def test_a_setting_that_never_was_is_not_dropped():
    with pytest.raises(ValueError, match="did you mean 'weight_estimator'"):
        as_scheme("bireal", **read_scheme_options("bireal", {"weight_estimatxr": "tanh"}))
