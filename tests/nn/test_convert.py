"""binarize_ on ordinary torch models."""

from collections import OrderedDict

import pytest
import torch
from torch import nn

import onebit
from onebit.methods import find_layers
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


def test_keep_real_by_name_and_pattern():
    model = network()
    report = onebit.binarize_(model, "bireal", keep_real=["0", "3.*", "6"])
    assert report.binary == ("2", "5")
    assert {r.name: r.reason for r in report.rows}["3.1"] == "kept real by '3.*'"


def test_keep_real_nothing():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(4, 2))
    assert onebit.binarize_(model, "bireal", keep_real=[]).binary == ("0", "2")


@pytest.mark.parametrize(
    ("scheme", "keep_real", "error", "message"),
    [
        ("bireel", None, ValueError, "did you mean 'bireal'"),
        ("float", None, ValueError, "binarizes nothing"),
        ("bireal", ["conv1"], ValueError, "no layer matches 'conv1'"),
        ("bireal", "0", TypeError, "keep_real must be a list"),
    ],
)
def test_mistakes(scheme, keep_real, error, message):
    with pytest.raises(error, match=message):
        onebit.binarize_(network(), scheme, keep_real=keep_real)


def test_models_with_nothing_to_replace():
    with pytest.raises(ValueError, match="no Conv2d and no Linear"):
        onebit.binarize_(nn.Sequential(nn.ReLU()), "bireal")
    with pytest.raises(ValueError, match="itself one layer"):
        onebit.binarize_(nn.Conv2d(1, 1, 1), "bireal")


def test_a_relu_before_a_sign_is_warned_about():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 4, 3))
    (warning,) = onebit.binarize_(model, "bireal", keep_real=["0"]).warnings
    assert "3 binarizes the output of 1, a ReLU" in warning
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3))
    assert onebit.binarize_(model, "trained-binarization", keep_real=["0"]).warnings == ()


def test_a_shared_layer_stays_shared():
    shared = nn.Conv2d(4, 4, 1)
    model = nn.ModuleDict({"first": nn.Conv2d(3, 4, 1), "a": shared, "b": shared})
    onebit.binarize_(model, "bireal")
    assert isinstance(model["a"], BinaryConv2d)
    assert model["a"] is model["b"]


def test_one_meaning_of_a_pattern():
    """The layers of "body" by pattern: binarize_, strict packing, the methods' layers and the linearity probe."""
    body = nn.Sequential(nn.Sequential(BinaryConv2d(4, 4, 1), nn.ReLU()), BinaryConv2d(4, 4, 1))
    model = nn.Sequential(OrderedDict(stem=nn.Conv2d(3, 4, 1), body=body, end=nn.Conv2d(4, 2, 1)))
    inside = ["body.0", "body.0.0", "body.0.1", "body.1"]
    assert find_layers(model, ["body.*"]) == inside
    rows = onebit.probe_linearity(model, torch.randn(8, 3, 4, 4), blocks=["body.*"])
    assert [row.name for row in rows] == ["body.0.0", "body.1", "body.0"]  # of nested modules the outermost
    real = nn.Sequential(
        OrderedDict(stem=nn.Conv2d(3, 4, 1), body=nn.Sequential(nn.Conv2d(4, 4, 1)), end=nn.Conv2d(4, 2, 1))
    )
    assert onebit.binarize_(real, "bireal", keep_real=["b?dy.*"]).binary == ("stem", "end")
    packed = onebit.pack(real, (3, 4, 4), strict=True, keep_real=["*.0"])
    assert packed.report.rows


def test_patterns_without_a_match_are_refused_with_the_nearest_name():
    model = nn.Sequential(OrderedDict(conv1=nn.Conv2d(3, 4, 1), conv2=nn.Conv2d(4, 4, 1), fc=nn.Conv2d(4, 2, 1)))
    with pytest.raises(ValueError, match=r"keep_real: no layer matches 'conv2.*'; did you mean 'conv2'\?"):
        onebit.pack(model, (3, 4, 4), strict=True, keep_real=["conv2.*"])
    with pytest.raises(ValueError, match=r"keep_real: no layer matches 'convv1'; did you mean 'conv1'\?"):
        onebit.binarize_(model, "bireal", keep_real=["convv1"])
    with pytest.raises(ValueError, match="keep_real names layers that strict=True accepts as real, but strict"):
        onebit.pack(model, (3, 4, 4), keep_real=["conv2"])
    with pytest.raises(ValueError, match="keep_real: no layer matches 'x'; there are 'conv1', 'conv2', 'fc'"):
        onebit.binarize_(model, "bireal", keep_real=["x"])
