"""Networks filled with noise behave as trained ones do: no layer is constant."""

import pytest
import torch

from onebit.models import MODELS
from onebit.nn import BinaryConv2d
from onebit.nn.randomize import randomize_


@pytest.mark.parametrize("name", ["vgg-small", "resnet20", "reactnet-a", "rb-net-20"])
def test_every_layer_sees_both_levels(name):
    torch.manual_seed(0)
    model = MODELS[name](width=0.25, num_classes=10, input_size=32)
    weights = {n: p.clone() for n, p in model.named_parameters() if n.endswith("0.weight")}
    randomize_(model, (3, 32, 32))
    shares = []

    def look(layer, inputs, output):
        levels, _ = layer.input_binarizer(inputs[0])
        shares.append((levels == layer.input_binarizer.high).float().mean().item())

    for module in model.modules():
        if isinstance(module, BinaryConv2d):
            module.register_forward_hook(look)
    with torch.no_grad():
        out = model(torch.randn(4, 3, 32, 32))
    assert not model.training
    assert 0.1 < min(shares) < max(shares) < 0.9
    assert out.std(dim=0).mean() > 0.01
    assert all(torch.equal(model.get_parameter(n), value) for n, value in weights.items())


def test_the_seed_decides_and_nothing_else_is_drawn():
    def filled(seed):
        torch.manual_seed(0)
        model = MODELS["resnet20"](scheme="reactnet", activation="rprelu")
        before = torch.get_rng_state()
        randomize_(model, (3, 32, 32), seed=seed)
        assert torch.equal(before, torch.get_rng_state())
        return model.state_dict()

    first, again, other = filled(1), filled(1), filled(2)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["stem.1.running_mean"], other["stem.1.running_mean"])
    slopes = torch.cat([value for name, value in first.items() if name.endswith("negative")])
    shifts = torch.cat([value for name, value in first.items() if name.endswith(("shift", "before", "after"))])
    assert slopes.min() >= 0.05
    assert shifts.min() < -0.3
