"""binarize_ on ordinary torch models."""

import pytest
import torch
from torch import nn

import onebit
from onebit.nn import BinaryConv2d, BinaryLinear


def network() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.Conv2d(8, 8, 3, stride=2, padding=1, groups=2, bias=False),
        nn.Sequential(nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1, padding_mode="circular")),
        nn.Flatten(),
        nn.Linear(8 * 16, 6),
        nn.Linear(6, 5),
    )


def test_default_rule_keeps_first_convolution_and_last_linear_layer_real():
    model = network()
    before = model[2].weight.clone()
    report = onebit.binarize_(model, "trained-binarization")
    assert [type(model[i]) for i in (0, 2, 5, 6)] == [nn.Conv2d, BinaryConv2d, BinaryLinear, nn.Linear]
    assert report.binary == ("2", "5")
    reasons = {row.name: row.reason for row in report.rows}
    assert reasons["0"] == "first convolution"
    assert reasons["6"] == "last linear layer"
    assert "padding_mode 'circular'" in reasons["3.1"]
    assert torch.equal(model[2].weight, before)
    assert (model[2].stride, model[2].groups, model[2].bias) == ((2, 2), 2, None)
    torch.testing.assert_close(model[2].weight_binarizer.alpha.item(), before.abs().mean().item())
    assert "2 of 5 layers are binary" in str(report)
    model(torch.randn(2, 3, 8, 8)).sum().backward()


def test_skip_by_name_and_pattern():
    model = network()
    report = onebit.binarize_(model, "bireal", skip=["0", "3.*", "6"])
    assert report.binary == ("2", "5")
    assert {r.name: r.reason for r in report.rows}["3.1"] == "skipped by '3.*'"


def test_skip_nothing():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(4, 2))
    assert onebit.binarize_(model, "bireal", skip=[]).binary == ("0", "2")


@pytest.mark.parametrize(
    ("scheme", "skip", "error", "message"),
    [
        ("bireel", None, ValueError, "did you mean 'bireal'"),
        ("float", None, ValueError, "binarizes nothing"),
        ("bireal", ["conv1"], ValueError, "no layer matches 'conv1'"),
        ("bireal", "0", TypeError, "skip must be a list"),
    ],
)
def test_mistakes(scheme, skip, error, message):
    with pytest.raises(error, match=message):
        onebit.binarize_(network(), scheme, skip=skip)


def test_models_with_nothing_to_replace():
    with pytest.raises(ValueError, match="no Conv2d and no Linear"):
        onebit.binarize_(nn.Sequential(nn.ReLU()), "bireal")
    with pytest.raises(ValueError, match="itself one layer"):
        onebit.binarize_(nn.Conv2d(1, 1, 1), "bireal")


def test_a_relu_before_a_sign_is_warned_about():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 4, 3))
    (warning,) = onebit.binarize_(model, "bireal", skip=["0"]).warnings
    assert "3 binarizes the output of 1, a ReLU" in warning
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3))
    assert onebit.binarize_(model, "trained-binarization", skip=["0"]).warnings == ()


def test_a_shared_layer_stays_shared():
    shared = nn.Conv2d(4, 4, 1)
    model = nn.ModuleDict({"first": nn.Conv2d(3, 4, 1), "a": shared, "b": shared})
    onebit.binarize_(model, "bireal")
    assert isinstance(model["a"], BinaryConv2d)
    assert model["a"] is model["b"]
