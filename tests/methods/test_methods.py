"""What holds for every method, and the capture of feature maps that they share."""

import pytest
import torch
from torch import nn

from onebit.methods import METHODS, Batch, Features, find_layers
from onebit.methods.features import map_shapes, pooled
from onebit.models import MODELS
from onebit.nn import binarize_
from onebit.tasks.classification import Classification

SHAPE = (3, 8, 8)
EXAMPLE = (torch.zeros(1, *SHAPE),)


class Unit(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8))

    def forward(self, x):
        return self.inner(x) + x


class Net(nn.Module):
    """A user's own small network: one convolution in a unit, one bare."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1)
        self.units = nn.ModuleList([Unit()])
        self.bare = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8))
        self.last = nn.Linear(8, 10)

    def forward(self, x):
        x = self.first(x)
        for unit in self.units:
            x = unit(x)
        return self.last(self.bare(x).mean((2, 3)))


@pytest.mark.parametrize("scheme", ["rbcn", "trained-binarization"])
@pytest.mark.parametrize("name", METHODS)
def test_every_method_trains_a_network_of_ones_own(name, scheme):
    torch.manual_seed(0)
    teacher, network = Net().eval().requires_grad_(False), Net()
    before = [p.clone() for p in teacher.parameters()]
    binarize_(network, scheme)
    method = METHODS[name]()
    form, guide = method.attach(network, teacher if method.needs_teacher else None, Classification(), EXAMPLE)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)
    batch = Batch((torch.randn(16, *SHAPE),), torch.arange(16) % 10)
    course = []
    for _ in range(15):
        terms, logits = method.losses(form, batch, guide)
        assert logits.shape == (16, 10)
        assert all(term.dim() == 0 for term in terms.values())
        loss = sum(terms.values())
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        course.append(loss.item())
    assert course[-1] < course[0]
    assert all(map(torch.equal, before, teacher.parameters()))
    assert not teacher.training


@pytest.mark.parametrize("name", METHODS)
def test_methods_are_documented(name):
    assert METHODS[name].__doc__


def test_the_default_layers_are_the_blocks_of_binary_convolutions():
    network = Net()
    binarize_(network, "bireal")
    assert find_layers(network, None) == ["units.0", "bare.0"]
    assert find_layers(MODELS["resnet20"](width=0.5), None) == [f"blocks.{index}" for index in range(18)]
    with pytest.raises(ValueError, match="has no binary convolution; name the layers"):
        find_layers(Net(), None)


def test_layers_by_name_and_pattern():
    network = Net()
    assert find_layers(network, ["bare.*", "first", "bare.0"]) == ["first", "bare.0", "bare.1"]
    with pytest.raises(ValueError, match=r"layers: no layer matches 'frist'; did you mean 'first'\?"):
        find_layers(network, ["frist"])
    with pytest.raises(TypeError, match=r"must be a list of layer names, got the text 'first'; write \['first'\]"):
        find_layers(network, "first")


def test_features_are_what_the_layers_return():
    torch.manual_seed(0)
    network = Net().eval()
    form = Features(network, ["units.0", "first"], pooled)
    images = torch.randn(2, *SHAPE)
    logits, (unit, first) = form(images)
    want = network.first(images)
    torch.testing.assert_close(first, want.mean((2, 3)))
    torch.testing.assert_close(unit, network.units[0](want).mean((2, 3)))
    assert torch.equal(logits, network(images))
    assert not form._maps  # nothing keeps the graph alive


def test_features_compile_to_one_graph():
    torch.manual_seed(0)
    network = Net()
    binarize_(network, "rbcn")
    form = Features(network, find_layers(network, None))
    counters = torch._dynamo.utils.counters
    counters.clear()
    images = torch.randn(2, *SHAPE)
    compiled = torch.compile(form, dynamic=False, backend="aot_eager")
    logits, maps = compiled(images)
    compiled(images)
    assert counters["stats"]["unique_graphs"] == 1
    assert not counters["graph_break"]
    want_logits, want_maps = form(images)
    torch.testing.assert_close(logits, want_logits)
    torch.testing.assert_close(maps, want_maps)
    sum(each.square().sum() for each in maps).backward()
    assert network.first.weight.grad is not None


def test_shapes_of_maps():
    network = Net()
    assert map_shapes(network, ["units.0", "last"], EXAMPLE) == {"units.0": (8, 8, 8), "last": (10,)}
    assert network.training
    assert not network.last._forward_hooks
    network.unused = nn.ReLU()
    with pytest.raises(ValueError, match="layer 'unused' does not run in the forward pass"):
        map_shapes(network, ["unused"], EXAMPLE)
