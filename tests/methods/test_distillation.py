"""Distillation of outputs and of attention maps."""

import math

import pytest
import torch
from torch import nn

from onebit.methods import METHODS, Batch
from onebit.methods.distillation import attention, attention_loss
from onebit.models import MODELS
from onebit.tasks.classification import Classification, soft_cross_entropy

SHAPE = (3, 8, 8)
TASK = (Classification(), (torch.zeros(1, *SHAPE),))


def test_soft_cross_entropy_by_hand():
    logits = torch.tensor([[0.0, math.log(3.0)]])  # softmax: 1/4, 3/4
    targets = torch.zeros(1, 2)
    assert soft_cross_entropy(logits, targets).item() == pytest.approx(-(math.log(0.25) + math.log(0.75)) / 2)
    expected = 4 * soft_cross_entropy(logits / 2, torch.tensor([[0.5, -0.5]])).item()
    assert soft_cross_entropy(logits, torch.tensor([[1.0, -1.0]]), 2.0).item() == pytest.approx(expected)


def test_attention_by_hand():
    maps = torch.tensor([[[[1.0, 0.0]], [[-1.0, 2.0]]]])  # sums of squares: 2 and 4
    torch.testing.assert_close(attention(maps), torch.tensor([[1.0, 2.0]]) / math.sqrt(5))


def test_attention_loss_is_zero_for_identical_maps_and_blind_to_their_size():
    maps = torch.randn(2, 4, 3, 3, generator=torch.Generator().manual_seed(0))
    assert attention_loss([attention(maps)], [attention(maps)]) == 0
    assert attention_loss([attention(maps)], [attention(-2 * maps)]) < 1e-12
    assert attention_loss([attention(maps)], [attention(maps.flip(3))]) > 0.01
    orthogonal = [attention(torch.tensor([[[[1.0, 0.0]]]])), attention(torch.tensor([[[[0.0, 1.0]]]]))]
    assert attention_loss(orthogonal[:1], orthogonal[1:]) == 2


def networks(width=0.5, teacher_width=0.5):
    torch.manual_seed(0)
    make = MODELS["resnet20"]
    return make(scheme="bireal", width=width), make(scheme="float", width=teacher_width).eval().requires_grad_(False)


@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
def test_terms_add_up(alpha):
    network, teacher = networks()
    method = METHODS["distillation"](alpha=alpha, temperature=3.0)
    form, guide = method.attach(network, teacher, *TASK)
    images, labels = torch.randn(4, *SHAPE), torch.arange(4)
    terms, logits = method.losses(form, Batch((images,), labels), guide)
    soft = soft_cross_entropy(logits, teacher(images), 3.0)
    hard = nn.functional.cross_entropy(logits, labels)
    torch.testing.assert_close(sum(terms.values()), alpha * soft + (1 - alpha) * hard)


def test_a_network_that_copies_its_teacher_is_done():
    _, teacher = networks()
    copy = MODELS["resnet20"](scheme="float", width=0.5).eval()
    copy.load_state_dict(teacher.state_dict())
    method = METHODS["attention-distillation"](layers=["blocks.*"])
    form, guide = method.attach(copy, teacher, *TASK)
    terms, _ = method.losses(form, Batch((torch.randn(4, *SHAPE),), torch.arange(4)), guide)
    assert terms["attention"] == 0
    terms["distillation"].backward()
    assert max(p.grad.abs().max() for p in copy.parameters() if p.grad is not None) < 1e-5


def test_attention_needs_no_equal_channels():
    network, teacher = networks(0.5, 1.0)
    method = METHODS["attention-distillation"](attention_weight=10.0)
    form, guide = method.attach(network, teacher, *TASK)
    terms, _ = method.losses(form, Batch((torch.randn(4, *SHAPE),), torch.arange(4)), guide)
    assert len(form.layers) == 18
    assert 0 < terms["attention"] < 10 * 18 * 2
    terms["attention"].backward()
    assert network.stem[0].weight.grad.abs().max() > 0


def test_layers_of_two_networks_are_matched():
    network, teacher = networks()
    method = METHODS["attention-distillation"](
        layers=["blocks.5", "blocks.11"], teacher_layers=["blocks.3", "blocks.9"]
    )
    form, guide = method.attach(network, teacher, *TASK)
    assert (form.layers, guide.layers) == (("blocks.5", "blocks.11"), ("blocks.3", "blocks.9"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layers": ["block.3"]}, r"method_options\.layers: no layer matches 'block\.3'; did you mean 'blocks\.3'\?"),
        ({"layers": ["blocks.3"], "teacher_layers": ["blocks.3", "blocks.4"]}, "layers names 1 layers"),
        ({"layers": ["blocks.3"], "teacher_layers": ["blocks.9"]}, r"layer 'blocks\.3' gives maps \(8, 8, 8\), the .*"),
        ({"layers": ["classifier"]}, r"layer 'classifier' gives \(10,\), which has no positions"),
    ],
)
def test_layers_that_do_not_fit_are_refused(options, message):
    network, teacher = networks()
    with pytest.raises(ValueError, match=message):
        METHODS["attention-distillation"](**options).attach(network, teacher, *TASK)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperature": 0.0}, "temperature must be above 0, got 0.0"),
        ({"alpha": 1.5}, "alpha must be from 0 to 1, got 1.5"),
        ({"attention_weight": -1.0}, "attention_weight must be a number from 0 up, got -1.0"),
    ],
)
def test_bad_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        METHODS["attention-distillation"](**options)
