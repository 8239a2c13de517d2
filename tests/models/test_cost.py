"""The counter counts what the layers compute."""

import pytest
import torch
from torch import nn

import onebit
from onebit.models import MODELS
from onebit.nn import BinaryConv2d, BinaryLinear
from onebit.nn.cost import count_cost
from onebit.nn.rpc import ReshapedPointwiseConv2d


def test_each_kind_of_layer():
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2, padding=1),
        nn.BatchNorm2d(8),
        BinaryConv2d(8, 12, 3, padding=1, groups=4),
        BinaryConv2d(12, 4, 1, weight_binarizer=None),
        BinaryConv2d(4, 4, 1, input_binarizer=None),
        nn.Flatten(),
        BinaryLinear(4 * 5 * 4, 6),
        nn.Linear(6, 2),
    )
    cost = count_cost(model, (3, 9, 8))
    assert [(r.name, r.shape, r.weights, r.weight_bits, r.flops, r.bops) for r in cost.rows] == [
        ("0", (8, 5, 4), 216, 32, 20 * 216, 0),
        ("2", (12, 5, 4), 216, 1, 0, 20 * 216),
        ("3", (4, 5, 4), 48, 32, 20 * 48, 0),
        ("4", (4, 5, 4), 16, 1, 20 * 16, 0),
        ("6", (6,), 480, 1, 0, 480),
        ("7", (2,), 12, 32, 12, 0),
    ]
    assert (cost.flops, cost.bops) == (20 * 280 + 12, 20 * 216 + 480)
    assert cost.ops == cost.flops + cost.bops / 64
    assert cost.parameters == sum(p.numel() for p in model.parameters())
    assert cost.as_dict()["total"] == {
        "parameters": cost.parameters,
        "flops": cost.flops,
        "bops": cost.bops,
        "ops": cost.ops,
    }
    table = str(cost).splitlines()
    assert table[0].split() == ["layer", "type", "shape", "weights", "bits", "FLOPs", "BOPs", "OPs"]
    assert len(table) == 6 + 5


def test_a_layer_that_runs_twice_has_its_weights_once():
    layer = BinaryConv2d(4, 4, 3, padding=1)
    cost = count_cost(nn.Sequential(layer, layer), (4, 5, 5))
    assert [(r.weights, r.bops) for r in cost.rows] == [(144, 3600), (0, 3600)]


def test_the_model_stays_as_it_is():
    model = nn.Sequential(BinaryConv2d(1, 2, 3), nn.BatchNorm2d(2)).train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    count_cost(model, (1, 4, 4))
    assert all(m.training and not m._forward_hooks for m in model.modules())
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_mistakes():
    with pytest.raises(ValueError, match=r"input_shape must be \(channels, height, width\)"):
        count_cost(nn.Conv2d(1, 1, 1), (1, 4))
    with pytest.raises(ValueError, match=r"cannot take an image of shape \(2, 4, 4\)"):
        count_cost(nn.Conv2d(1, 1, 1), (2, 4, 4))


def test_reshaped_pointwise_convolutions_count_before_the_restore():
    body = [ReshapedPointwiseConv2d(8, 12), ReshapedPointwiseConv2d(12, 16, 2, restore=False)]
    stem = ReshapedPointwiseConv2d(3, 8, 2, weight_binarizer=None, input_binarizer=None)
    rows = count_cost(nn.Sequential(stem, *body), (3, 14, 9)).rows
    assert [(r.shape, r.weights, r.flops, r.bops) for r in rows] == [
        ((8, 7, 5), 32 * 48, 4 * 3 * 32 * 48, 0),  # blocks of 4 on 14 x 9
        ((12, 7, 5), 48 * 32, 0, 4 * 3 * 48 * 32),
        ((16, 4, 3), 16 * 48, 0, 4 * 3 * 16 * 48),
    ]


def test_a_reshaped_pointwise_convolution_against_a_3x3():
    three = count_cost(BinaryConv2d(64, 64, 3, padding=1), (64, 56, 56))
    rpc = count_cost(ReshapedPointwiseConv2d(64, 64), (64, 56, 56))
    assert three.bops == 2.25 * rpc.bops
    assert 9 * rpc.rows[0].weights == 16 * three.rows[0].weights


# ---------------------------------------------------------------------------------------------------------------
# The networks of the literature: millions of FLOPs, BOPs and OPs, None where no number is told
# ---------------------------------------------------------------------------------------------------------------

BIREAL = {"scheme": "bireal"}
TABLE = [
    ("resnet18", {**BIREAL, "downsample": "conv1x1"}, 224, 137.8, 1676, 164.0),
    ("resnet18", {**BIREAL, "downsample": "duplicate"}, 224, None, 1676, 144.7),
    ("resnet18", {**BIREAL, "downsample": "pad"}, 224, None, 1676, 144.7),
    ("resnet18", {**BIREAL, "downsample": "duplicate", "stem": "light"}, 224, None, 1676, 48.4),
    ("resnet18", {**BIREAL, "downsample": "binary1x1", "stem": "light"}, 224, None, None, 48.7),
    ("resnet18", {**BIREAL, "convs_per_shortcut": 2, "downsample": "conv1x1"}, 224, 137.8, 1676, 164.0),
    ("ftbnn-18-baseline", {}, 224, 137.8, 1676, 164.0),
    ("ftbnn-18", {}, 224, None, 1676, 48.4),
    ("ftbnn-18-k1.5-g2", {}, 224, None, None, 51.9),
    ("ftbnn-18-k2-g4", {}, 224, None, 1676, 48.9),
    ("ftbnn-18-k2-g2", {}, 224, None, None, 75.1),
    ("ftbnn-18-k4-g8", {}, 224, None, None, 76.1),
    ("rb-net-18-rpc-stem", {}, 224, None, None, 51.7),
    ("rb-net-18-wide", {}, 224, None, None, 52.1),
    ("reactnet18", {}, 224, 137.8, 1676, 164.0),
    ("reactnet-a", {}, 224, 11.9, 4817, 87.1),
    ("resnet18", BIREAL, 32, None, 547, None),
    ("resnet20", BIREAL, 32, None, 40.1, None),
    ("ftbnn-18", {}, 32, None, 547, None),
    ("ftbnn-20", {}, 32, None, 40.1, None),
]


def digits_of(number: float) -> int:
    """Decimal places of a number as the table writes it."""
    return len(str(number).partition(".")[2])


@pytest.mark.parametrize(("name", "options", "side", "flops", "bops", "ops"), TABLE)
def test_published_costs(name, options, side, flops, bops, ops):
    with torch.device("meta"):
        model = MODELS[name](num_classes=1000 if side == 224 else 10, input_size=side, **options)
    cost = count_cost(model, (3, side, side))
    for counted, told in ((cost.flops, flops), (cost.bops, bops), (cost.ops, ops)):
        assert told is None or round(counted / 1e6, digits_of(told)) == told


@pytest.mark.parametrize(("name", "stem"), [("resnet18", 1_769_472), ("resnet20", 442_368)])
def test_published_stems(name, stem):
    with torch.device("meta"):
        cost = count_cost(MODELS[name](scheme="bireal"), (3, 32, 32))
    assert cost.rows[0].flops == stem


def test_rb_net_stays_within_a_million_of_its_52():
    for name in ("rb-net-18-rpc-stem", "rb-net-18-wide"):
        with torch.device("meta"):
            model = MODELS[name](num_classes=1000)
        assert abs(count_cost(model, (3, 224, 224)).ops - 52e6) < 1e6


@pytest.mark.parametrize(
    ("name", "options", "side"),
    [("resnet20", {}, 32), ("vgg-small", {}, 32), ("rb-net-20", {"roll": "alternate"}, 30), ("ftbnn-18-k2-g4", {}, 32)],
)
def test_a_packed_network_reports_the_same(name, options, side):
    model = MODELS[name](width=0.5, input_size=side, scheme="bireal", **options)
    cost, report = count_cost(model, (3, side, side)), onebit.pack(model, (3, side, side)).report
    assert (cost.flops, cost.bops) == (report.macs, report.bops)
    assert [r.weights for r in cost.rows] == [r.weights for r in report.rows if r.weights]
