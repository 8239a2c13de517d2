"""binarize_ on ordinary torch models."""

import warnings
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


def test_default_rule_keeps_first_and_last_linear_layer_real():
    model = network()
    before = model[2].weight
    report = onebit.binarize_(model, "trained-binarization")
    assert [type(model[i]) for i in (0, 2, 5, 6)] == [nn.Conv2d, BinaryConv2d, BinaryLinear, nn.Linear]
    assert report.binary == ("2", "5")
    reasons = {row.name: row.reason for row in report.rows}
    assert reasons["0"] == "first layer"
    assert reasons["6"] == "last linear layer"
    assert "padding_mode 'circular'" in reasons["3.1"]
    assert model[2].weight is before
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


def warned(scheme: str, *layers: nn.Module) -> str:
    """The warnings about the last of ``layers``, which stand behind a convolution."""
    model = nn.Sequential(nn.Conv2d(3, 4, 3), *layers, nn.Conv2d(4, 4, 1))
    return "; ".join(onebit.binarize_(model, scheme, keep_real=["0"]).warnings)


@pytest.mark.parametrize(
    ("layers", "sign", "step"),
    [
        ([nn.ReLU()], "the output of 1, a ReLU, which is never negative: every input becomes +1", ""),
        ([nn.ReLU(), nn.MaxPool2d(2), nn.Dropout()], "the output of 1, a ReLU", ""),
        ([nn.ReLU6(), nn.AvgPool2d(2)], "the output of 1, a ReLU6", ""),
        ([nn.Sigmoid()], "a Sigmoid, which is always positive: every input becomes +1", "every input becomes +1"),
        ([nn.Softmax(1), nn.LeakyReLU()], "the output of 1, a Softmax", "the output of 1, a Softmax"),
        ([nn.Softplus()], "a Softplus", "a Softplus"),
        ([nn.Hardtanh(0, 6)], "a Hardtanh, which is never negative", ""),
        ([nn.LogSoftmax(1)], "", "a LogSoftmax, which is never positive: every input becomes +0"),
        ([nn.ReLU(), nn.BatchNorm2d(4)], "", ""),
        ([nn.ReLU(), nn.PReLU()], "", ""),
        ([nn.Hardtanh()], "", ""),
        ([nn.Tanh(), nn.LeakyReLU()], "", ""),
    ],
)
def test_inputs_of_one_sign_are_warned_about(layers, sign, step):
    for scheme, message in (("bireal", sign), ("trained-binarization", step)):
        assert message in (found := warned(scheme, *layers))
        assert bool(message) == bool(found)
    assert warned("binary-weights", *layers) == ""


class Residual(nn.Module):
    def __init__(self, combine) -> None:
        super().__init__()
        self.first, self.second, self.combine = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1), combine

    def forward(self, x):
        return self.second(self.combine(self.first(x), x))


@pytest.mark.parametrize(
    ("combine", "warned"),
    [
        (lambda y, x: torch.abs(y), "abs_1, which is never negative"),
        (lambda y, x: y.square(), "square, which is never negative"),
        (lambda y, x: y**2, "pow"),
        (lambda y, x: y * y + 1, ""),  # of one sign, but only if both are the same
        (lambda y, x: y.relu() + x, "add, which is never negative"),
        (lambda y, x: -y.relu() - 1, "sub, which is always negative: every input becomes -1"),
        (lambda y, x: 1 - y.relu(), ""),
        (lambda y, x: torch.cat([y.relu(), x], 1)[:, :3], "cat, which is never negative"),
        (lambda y, x: torch.cat([y.relu(), y], 1)[:, :3], ""),
        (lambda y, x: y.clamp(min=0), "clamp, which is never negative"),
        (lambda y, x: y.clamp(-1, 1), ""),
        (lambda y, x: 2 * y.sigmoid() - 1, ""),
        (lambda y, x: 1 - y.sigmoid(), ""),
        (lambda y, x: x * 2 + 1, "add, which is always positive"),
        (lambda y, x: x, "the image, whose pixels are never negative unless they were normalized"),
        (lambda y, x: (x - 0.5) / 0.5, ""),
        (lambda y, x: y + x, ""),
    ],
)
def test_signs_through_arithmetic(combine, warned):
    warnings = onebit.binarize_(Residual(combine), "bireal", keep_real=["first"]).warnings
    assert warned in "; ".join(warnings)
    assert bool(warned) == bool(warnings)


def test_learned_thresholds_may_move():
    assert "every input becomes +1, unless its thresholds move" in warned("reactnet", nn.ReLU())


class Reordered(nn.Module):
    """Layers that are registered in another order than they run in, with an optional argument."""

    def __init__(self, traceable: bool = True) -> None:
        super().__init__()
        self.head, self.body, self.stem = nn.Linear(8, 4), nn.Linear(8, 8), nn.Linear(12, 8)
        self.other, self.traceable = nn.Linear(3, 3), traceable

    def forward(self, x, mask=None):
        if not self.traceable and x.sum() > 1:
            return x
        x = self.body(self.stem(x.flatten(1)))
        return self.head(x if mask is None else x * mask)


def test_the_first_and_last_layer_are_those_that_run_first_and_last():
    report = onebit.binarize_(Reordered(), "bireal")
    assert {row.name: row.reason for row in report.rows} == {
        "head": "last linear layer",
        "body": "by rule",
        "stem": "first layer",
        "other": "by rule",
    }
    assert report.warnings == ()


def test_models_that_cannot_be_traced_go_by_registration_and_say_so():
    report = onebit.binarize_(Reordered(traceable=False), "bireal")
    assert {row.name: row.reason for row in report.rows if not row.binary} == {
        "head": "first layer",
        "other": "last linear layer",
    }
    (warning,) = report.warnings
    assert "torch.fx cannot trace the model (TraceError" in warning
    assert "in the order of registration" in warning


def test_the_first_layer_of_a_network_without_convolutions_stays_real():
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.BatchNorm1d(32), nn.Linear(32, 16), nn.Linear(16, 10))
    assert onebit.binarize_(model, "bireal").binary == ("3",)
    (warning,) = onebit.binarize_(nn.Sequential(nn.Linear(4, 4)), "bireal", keep_real=[]).warnings
    assert warning.startswith("0 binarizes the image, whose pixels are never negative unless")


def test_the_report_names_every_convolution():
    model = nn.Sequential(
        nn.Conv1d(3, 3, 1), nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1), nn.ConvTranspose2d(4, 4, 2), nn.Conv3d(1, 1, 1)
    )
    rows = {row.name: (row.layer, row.binary, row.reason) for row in onebit.binarize_(model, "bireal").rows}
    assert rows == {
        "0": ("Conv1d", False, "first layer"),
        "1": ("Conv2d", True, "by rule"),
        "2": ("Conv2d", True, "by rule"),
        "3": ("ConvTranspose2d", False, "ConvTranspose2d has no binary form"),
        "4": ("Conv3d", False, "Conv3d has no binary form"),
    }


@pytest.mark.parametrize("scheme", ["bireal", "trained-binarization", "reactnet"])
def test_an_optimizer_made_before_trains_the_same_parameters(scheme):
    torch.manual_seed(0)
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    before = {name: (p, p.detach().clone()) for name, p in model.named_parameters()}
    report = onebit.binarize_(model, scheme)
    model(torch.randn(4, 3, 8, 8)).square().sum().backward()
    optimizer.step()
    now = dict(model.named_parameters())
    assert set(now) - set(before) == set(report.added)
    for name, (parameter, value) in before.items():
        assert now[name] is parameter
        assert not torch.equal(parameter, value), name
    assert (f"{len(report.added)} new parameters" in str(report)) == bool(report.added)


def test_tied_weights_stay_tied():
    model = nn.Sequential(nn.Embedding(6, 6), nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 6))
    model[3].weight = model[2].weight = model[0].weight
    report = onebit.binarize_(model, "trained-binarization", keep_real=["1"])
    assert report.binary == ("2", "3", "4")
    assert model[3].weight is model[2].weight is model[0].weight
    assert model[3].weight_binarizer.alpha is not model[2].weight_binarizer.alpha


def test_what_a_binary_layer_would_drop_is_refused():
    hooked = nn.Linear(4, 4)
    hooked.register_forward_hook(lambda module, arguments, output: output)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the older weight_norm is deprecated
        normed = nn.utils.weight_norm(nn.Linear(4, 4))
    model = nn.Sequential(
        nn.Linear(4, 4), nn.utils.parametrizations.weight_norm(nn.Linear(4, 4)), normed, hooked, nn.Linear(4, 4)
    )
    reasons = [row.reason for row in onebit.binarize_(model, "bireal").rows]
    assert reasons[1:4] == [
        "its weight is computed by a parametrization; make it plain with parametrize.remove_parametrizations",
        "its weight is computed before each call (weight_norm, pruning); make it a plain parameter first",
        "has hooks, which a binary layer would drop; remove them first",
    ]
    lazy = nn.Sequential(nn.Linear(4, 4), nn.LazyLinear(4), nn.Linear(4, 4))
    assert onebit.binarize_(lazy, "bireal").rows[1].reason.startswith("its shape is not known yet; run the model")


def test_padding_in_words_stays():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3, padding="same"), nn.Conv2d(4, 4, 3, padding="valid"))
    onebit.binarize_(model, "bireal")
    assert [type(layer).__name__ for layer in model[1:]] == ["BinaryConv2d"] * 2
    assert model(torch.randn(1, 3, 8, 8)).shape == (1, 4, 4, 4)


def test_wrapped_models():
    model = nn.DataParallel(network())
    assert onebit.binarize_(model, "bireal").binary == ("2", "5")
    assert isinstance(model.module[2], BinaryConv2d)


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
    with pytest.raises(ValueError, match="keep_real names layers that strict=True accepts in float, but strict"):
        onebit.pack(model, (3, 4, 4), keep_real=["conv2"])
    with pytest.raises(ValueError, match="keep_real: no layer matches 'x'; there are 'conv1', 'conv2', 'fc'"):
        onebit.binarize_(model, "bireal", keep_real=["x"])
