"""Rules every gradient estimator obeys.  New ones are picked up from the registry."""

import pytest
import torch

from onebit.binarize import ESTIMATORS, binarize_sign, binarize_step, mean_abs, sign, step

EDGES = torch.tensor([-2.0, -1.0, -1e-30, -0.0, 0.0, 1e-30, 1.0, 2.0])
PROGRESS = torch.tensor(0.5)


@pytest.mark.parametrize("name", ESTIMATORS)
class TestEveryEstimator:
    def test_forward_is_two_valued(self, name):
        x = EDGES.clone().requires_grad_()
        assert binarize_sign(x, name).tolist() == [-1, -1, -1, 1, 1, 1, 1, 1]
        assert binarize_step(x, name).tolist() == [0, 0, 0, 0, 0, 1, 1, 1]

    @pytest.mark.parametrize("binarize", [binarize_sign, binarize_step])
    def test_backward_is_the_registered_derivative(self, name, binarize):
        x = torch.linspace(-2, 2, 401, dtype=torch.float64, requires_grad=True)
        binarize(x, name, PROGRESS).mul(3).sum().backward()
        torch.testing.assert_close(x.grad, 3 * ESTIMATORS[name](x.detach(), PROGRESS))

    def test_derivative_is_finite_even_and_not_negative_near_zero(self, name):
        x = torch.tensor([-1e4, -0.3, -0.1, 0.0, 0.1, 0.3, 1e4])
        for progress in (0.0, 0.5, 1.0):
            slope = ESTIMATORS[name](x, torch.tensor(progress))
            assert slope.isfinite().all()
            torch.testing.assert_close(slope, slope.flip(0))
            assert (slope[1:6] >= 0).all()

    def test_half_precision_keeps_its_type(self, name):
        x = torch.randn(8, dtype=torch.bfloat16, requires_grad=True)
        out = binarize_sign(x, name, PROGRESS)
        out.sum().backward()
        assert out.dtype == x.grad.dtype == torch.bfloat16

    def test_input_is_left_alone(self, name):
        x = EDGES.clone().requires_grad_()
        binarize_sign(x, name)
        binarize_step(x, name)
        assert torch.equal(x, EDGES)


@pytest.mark.parametrize(
    ("name", "points"),
    [
        ("clipped-identity", {-1.5: 0, -1: 1, 0: 1, 1: 1, 1.01: 0}),
        ("polynomial", {-1: 0, -0.5: 1, 0: 2, 0.25: 1.5, 2: 0}),
        ("higher-order", {-0.5: 0, -0.25: 1, 0: 2, 0.1: 1.6, 0.6: 0}),
        ("long-tailed-higher-order", {0: 2, 0.25: 1, 0.39: 0.44, 0.41: 0.4, 1: 0.4, -0.7: 0.4, 1.01: 0}),
        ("tanh", {0: 1}),
        ("swish", {0: 5}),
    ],
)
def test_values_of_the_formulas(name, points):
    x = torch.tensor([float(p) for p in points])
    torch.testing.assert_close(ESTIMATORS[name](x, PROGRESS), torch.tensor([float(v) for v in points.values()]))


def test_swish_is_the_derivative_of_the_sign_swish():
    x = torch.linspace(-2, 2, 101, dtype=torch.float64, requires_grad=True)
    soft = 2 * torch.sigmoid(5 * x) * (1 + 5 * x * (1 - torch.sigmoid(5 * x))) - 1
    (slope,) = torch.autograd.grad(soft.sum(), x)
    torch.testing.assert_close(ESTIMATORS["swish"](x.detach(), PROGRESS), slope)


def test_error_decay_sharpens_with_progress():
    zero = torch.zeros(())
    assert ESTIMATORS["error-decay"](zero, torch.tensor(1.0)) > ESTIMATORS["error-decay"](zero, torch.tensor(0.0))


def test_zero_of_either_sign_is_high_for_sign_and_low_for_step():
    assert sign(torch.tensor([0.0, -0.0])).tolist() == [1, 1]
    assert step(torch.tensor([0.0, -0.0])).tolist() == [0, 0]


def test_unknown_estimator_names_the_nearest():
    with pytest.raises(ValueError, match=r"Unknown gradient estimator 'polynomal'; did you mean 'polynomial'\?"):
        binarize_sign(EDGES, "polynomal")


def test_mean_abs():
    weight = torch.tensor([[1.0, -3.0], [0.5, 0.5]])
    assert mean_abs(weight).tolist() == [2.0, 0.5]
    assert mean_abs(weight, "layer").item() == 1.25
    with pytest.raises(ValueError, match="granularity must be one of"):
        mean_abs(weight, "filter")
