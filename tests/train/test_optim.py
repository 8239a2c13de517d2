"""Parameter groups by role, and the learning rate as a function of the step."""

from dataclasses import replace
from itertools import pairwise

import pytest
import torch

from onebit.models import MODELS
from onebit.nn import parameter_roles
from onebit.train.optim import OPTIMIZERS, SCHEDULES, build_optimizer, learning_rate, set_learning_rate


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_decay_and_factor_follow_the_role(tiny, name):
    settings = replace(tiny, optimizer=name, weight_decay=0.5, scale_decay=0.25, lr_factors={"latent": 3.0})
    model = MODELS["resnet20"](width=0.5)
    optimizer = build_optimizer(model, settings)
    decays = {group["role"]: group["weight_decay"] for group in optimizer.param_groups}
    assert decays == {
        "latent": 0.0,
        "weight-scale": 0.25,
        "input-scale": 0.0,
        "slope": 0.0,
        "norm": 0.5,
        "real": 0.5,
    }
    set_learning_rate(optimizer, 0.1)
    assert {group["role"]: group["lr"] for group in optimizer.param_groups}["latent"] == pytest.approx(0.3)
    owner = {id(p): group["role"] for group in optimizer.param_groups for p in group["params"]}
    roles = parameter_roles(model)
    assert {name: owner[id(p)] for name, p in model.named_parameters()} == roles  # each parameter once, none left out


def test_float_network_has_no_binary_groups(tiny):
    optimizer = build_optimizer(MODELS["vgg-small"](width=0.1, scheme="float"), tiny)
    assert {group["role"] for group in optimizer.param_groups} == {"norm", "real"}


@pytest.mark.parametrize("name", SCHEDULES)
def test_every_schedule_starts_at_the_peak_and_never_rises(tiny, name):
    settings = replace(tiny, schedule=name, warmup=0.0)
    rates = [learning_rate(step, 100, settings) for step in range(100)]
    assert rates[0] == settings.lr
    assert all(a >= b > 0 for a, b in pairwise(rates))


def test_warmup_is_linear_and_meets_the_schedule(tiny):
    settings = replace(tiny, schedule="linear", warmup=0.1, lr=1.1)
    rates = [learning_rate(step, 100, settings) for step in range(100)]
    torch.testing.assert_close(torch.tensor(rates[:10]), torch.arange(1, 11) / 10)
    assert rates[10] == 1.1
    assert rates[55] == pytest.approx(0.55)


@pytest.mark.parametrize(("epochs", "rising"), [(200, 5), (300, 10), (12, 3)])
def test_warmup_of_several_epochs_is_a_share_of_them(tiny, epochs, rising):
    settings = replace(tiny, epochs=epochs, warmup=rising / epochs)
    rates = [learning_rate(step, epochs * 390, settings) for step in range(epochs * 390)]
    assert rates.index(max(rates)) == rising * 390
    assert all(a < b for a, b in pairwise(rates[: rising * 390 + 1]))


def test_step_schedule_drops_at_the_milestones(tiny):
    settings = replace(tiny, schedule="step", warmup=0.0, lr=1.0, milestones=(0.5, 0.75), gamma=0.1)
    rates = [learning_rate(step, 100, settings) for step in (0, 49, 50, 74, 75, 99)]
    assert rates == pytest.approx([1, 1, 0.1, 0.1, 0.01, 0.01])
