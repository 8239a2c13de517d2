"""The counter counts what the layers compute."""

import pytest
import torch
from torch import nn

from onebit.nn import BinaryConv2d, BinaryLinear
from onebit.nn.cost import count_cost


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
