"""RBCN: losses against hand-computed values, directions of its gradients, who is updated when."""

import math
from itertools import pairwise

import pytest
import torch
from torch import nn

from onebit.methods import METHODS, Batch
from onebit.methods.discriminators import Discriminators, adversarial_loss, discriminator_loss
from onebit.methods.rbcn import kernel_loss, rectified_layers
from onebit.models import MODELS
from onebit.nn import BinaryConv2d, binarize_
from onebit.tasks.classification import Classification

SHAPE = (3, 8, 8)


def layer(weight, rectifier):
    """A 1x1 binary convolution with the given weight (two filters of one input) and rectifier."""
    made = BinaryConv2d(1, 2, 1, weight_binarizer="rectified")
    with torch.no_grad():
        made.weight.copy_(torch.tensor(weight).reshape(2, 1, 1, 1))
        made.weight_binarizer.rectifier.fill_(rectifier)
    return made


def test_kernel_loss_by_hand():
    made = layer([0.75, -0.25], 0.5)
    loss = kernel_loss([made, made])
    assert loss.item() == pytest.approx(2 * 0.5 * (0.25**2 + 0.25**2))


@pytest.mark.parametrize(
    ("gradient", "expected"),
    [
        ("direct", [0.25, 0.25]),  # W - C sign(W): descent moves 0.75 down and -0.25 further from 0, both toward +-C
        ("printed", [-0.25 * 0.5 * 0.5, -0.25 * 0.5 * 1.5]),  # -(W - C sign W) C (2 - 2|W|): descent lets 0.75 grow
    ],
)
def test_kernel_gradient_by_hand(gradient, expected):
    made = layer([0.75, -0.25], 0.5)
    kernel_loss([made], gradient).backward()
    torch.testing.assert_close(made.weight.grad.flatten(), torch.tensor(expected))
    # of C: -sum_o sign(w_o) (w_o - C sign(w_o)) = -(0.25) + (0.25)
    torch.testing.assert_close(made.weight_binarizer.rectifier.grad.flatten(), torch.tensor([0.0]))


def test_printed_gradient_pushes_away_and_direct_pulls_in():
    moved = {}
    for gradient in ("direct", "printed"):
        made = layer([0.75, 0.75], 0.5)
        kernel_loss([made], gradient).backward()
        moved[gradient] = -made.weight.grad
    assert (moved["direct"] < 0).all()
    assert (moved["printed"] > 0).all()


def test_adversarial_losses_by_hand():
    real, false = torch.tensor([[math.log(3.0)], [0.0]]), torch.tensor([[0.0], [math.log(3.0)]])  # D = 3/4 or 1/2
    expected = -(math.log(0.75) + math.log(0.5)) - (math.log(0.5) + math.log(0.25))
    assert discriminator_loss(real, false).item() == pytest.approx(expected)
    assert adversarial_loss(false).item() == pytest.approx(0.5**2 + 0.25**2)


def test_losses_stay_finite_for_certain_discriminators():
    logits = torch.tensor([[-1e4, 1e4]], requires_grad=True)
    loss = discriminator_loss(logits, logits) + adversarial_loss(logits)
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(logits.grad).all()


def test_discriminators_equal_separate_networks():
    torch.manual_seed(0)
    both = Discriminators([3, 5])
    x = [torch.randn(4, 3), torch.randn(4, 5)]
    got = both(x)
    for index, width in enumerate((3, 5)):
        sizes = (width, 128, 256, 128, 1)
        layers = []
        for a, b in pairwise(sizes):
            layers += [nn.Linear(a, b), nn.LeakyReLU(0.2)]
        alone = nn.Sequential(*layers[:-1])
        weights = [both.entries[index], *(weight[index] for weight in both.weights)]
        for linear, weight in zip(alone[::2], weights, strict=True):
            linear.weight.data.copy_(weight.T)
            nn.init.zeros_(linear.bias)
        torch.testing.assert_close(got[index], alone(x[index]).squeeze(1), rtol=1e-4, atol=1e-9)


def attached(network, teacher, **options):
    method = METHODS["rbcn"](**options)
    form, guide = method.attach(network, teacher, Classification(), (torch.zeros(1, *SHAPE),))
    return method, form, guide


def batch(count):
    return Batch((torch.randn(count, *SHAPE),), torch.arange(count) % 10)


def pair(width=0.5, **options):
    torch.manual_seed(0)
    make = MODELS["resnet20"]
    return make(scheme="rbcn", width=width, **options), make(scheme="float", width=width).eval().requires_grad_(False)


def test_discriminators_learn_to_tell_the_networks_apart():
    network, teacher = pair()
    method, form, guide = attached(network, teacher, discriminator_lr=1e-3)
    images = torch.randn(16, *SHAPE)
    before = [p.clone() for p in network.parameters()]
    losses = []
    for _ in range(60):
        with torch.no_grad():
            _, real = guide(images)
            _, false = form(images)
        method._ascend(real, false)
        losses.append(method.scalars["discriminator_loss"].item())
    assert losses[0] == pytest.approx(2 * math.log(2), rel=1e-3)
    assert losses[-1] < 0.5 * losses[0]
    assert method.scalars["discriminator_real"] > 0.6 > 0.4 > method.scalars["discriminator_false"]
    assert all(torch.equal(a, b) for a, b in zip(before, network.parameters(), strict=True))


def test_the_adversarial_term_reaches_the_network_and_not_the_discriminators():
    network, teacher = pair()
    method, form, guide = attached(network, teacher)
    terms, _ = method.losses(form, batch(4), guide)
    assert set(terms) == {"cross_entropy", "kernel", "adversarial"}
    for parameter in method.discriminators.parameters():
        parameter.grad = None
    terms["adversarial"].backward()
    assert all(parameter.grad is None for parameter in method.discriminators.parameters())
    assert network.stem[0].weight.grad.abs().max() > 0
    assert all(parameter.grad is None for parameter in teacher.parameters())


def test_one_forward_pass_of_each_network_per_step():
    network, teacher = pair()
    method, form, guide = attached(network, teacher)
    calls = []
    network.stem.register_forward_hook(lambda *_: calls.append("network"))
    teacher.stem.register_forward_hook(lambda *_: calls.append("teacher"))
    method.losses(form, batch(2), guide)
    assert sorted(calls) == ["network", "teacher"]


def test_without_the_gan_there_is_no_teacher():
    network, _ = pair()
    method, form, guide = attached(network, None, gan=False)
    assert (form, guide) == (network, None)
    assert not method.needs_teacher
    assert not method.optimizers
    terms, _ = method.losses(form, batch(2))
    assert set(terms) == {"cross_entropy", "kernel"}
    expected = 1e-4 * kernel_loss(rectified_layers(network))
    torch.testing.assert_close(terms["kernel"], expected)
    assert len(rectified_layers(network)) == 18


def test_a_guide_of_another_shape_is_refused():
    network, _ = pair(width=0.5)
    _, teacher = pair(width=1.0)
    with pytest.raises(ValueError, match=r"layer 'blocks\.0' gives maps \(8, 8, 8\), the teacher \(16, 8, 8\)"):
        attached(network, teacher)


def test_frozen_roles_are_a_function_of_the_step():
    method = METHODS["rbcn"](gan=False, bn_update=0.2)
    assert [bool(method.frozen_roles(step, 10)) for step in range(10)] == [False] * 8 + [True] * 2
    assert method.frozen_roles(9, 10) == {"latent", "weight-scale"}
    assert not replace_bn(0.0).frozen_roles(9, 10)


def replace_bn(share):
    return METHODS["rbcn"](gan=False, bn_update=share)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kernel_weight": -1.0}, "kernel_weight must be a number from 0 up, got -1.0"),
        ({"adversarial_weight": math.nan}, "adversarial_weight must be a number from 0 up"),
        ({"kernel_gradient": "straight"}, "kernel_gradient must be one of"),
        ({"discriminator_lr": 0.0}, "discriminator_lr must be above 0, got 0.0"),
        ({"bn_update": 1.0}, "bn_update must be from 0 to below 1, got 1.0"),
    ],
)
def test_bad_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        METHODS["rbcn"](**options)


class Net(nn.Module):
    """A user's own small network."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1)
        self.unit = nn.Sequential(nn.BatchNorm2d(8), nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8))
        self.last = nn.Linear(8, 10)

    def forward(self, x):
        return self.last(self.unit(self.first(x)).mean((2, 3)))


@pytest.mark.parametrize("scheme", ["rbcn", "bireal"])
def test_it_trains_a_network_of_ones_own(scheme):
    torch.manual_seed(0)
    teacher, network = Net().eval().requires_grad_(False), Net()
    binarize_(network, scheme)
    method, form, guide = attached(network, teacher)
    assert form.layers == ("unit.1",)  # no module of its own around the convolution
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)
    examples = batch(16)
    first = None
    for _ in range(20):
        terms, _ = method.losses(form, examples, guide)
        sum(terms.values()).backward()
        optimizer.step()
        optimizer.zero_grad()
        first = first or terms["cross_entropy"].item()
    assert terms["cross_entropy"].item() < first
