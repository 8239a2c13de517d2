"""The ONNX graphs that other engines are given: every float network of the zoo computes what torch computes."""

import numpy as np
import pytest
import torch
from torch import nn

from onebit.engines import Refused
from onebit.models import MODELS
from onebit.nn.randomize import randomize_

pytest.importorskip("onnx")

from onebit.engines.onnx_graph import to_onnx


def check(network, image):
    onnxruntime = pytest.importorskip("onnxruntime")
    content = to_onnx(network, tuple(image.shape)).SerializeToString()
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    with torch.no_grad():
        want = network(image).numpy()
    np.testing.assert_allclose(session.run(None, {"image": image.numpy()})[0], want, rtol=1e-3, atol=1e-4)


def test_layers_compute_what_torch_computes():
    from onnx.reference import ReferenceEvaluator

    from float_networks import Residual, SqueezeExcite

    torch.manual_seed(0)
    body = [nn.Conv2d(4, 4, 3, padding=1, groups=2, bias=False), nn.BatchNorm2d(4), nn.PReLU(4)]
    layers = [nn.Conv2d(3, 4, 3, 2, 1), nn.MaxPool2d(3, 2, 1), Residual(body, [nn.ReLU6()], nn.ReLU())]
    layers += [nn.Hardswish(), SqueezeExcite(4, 8)]
    small = nn.Sequential(*layers, nn.AvgPool2d(2), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 5)).eval()
    image = torch.randn(2, 3, 16, 16)
    got = ReferenceEvaluator(to_onnx(small, image.shape)).run(None, {"image": image.numpy()})[0]
    with torch.no_grad():
        np.testing.assert_allclose(got, small(image).numpy(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", MODELS)
def test_float_networks_of_the_zoo(name):
    network = MODELS[name](num_classes=5, input_size=64, width=0.125, scheme="float")
    randomize_(network, (3, 64, 64))
    check(network, torch.randn(2, 3, 64, 64))


@pytest.mark.parametrize(
    ("name", "size", "options"),
    [
        ("resnet20", 16, {"activation": "hardtanh", "activation_place": "before", "downsample": "pad"}),
        ("ftbnn-20", 15, {"groups": 2}),
        ("rb-net-20", 15, {"roll": "alternate", "norm": "before", "downsample": "rpc"}),
        ("rb-net-20", 14, {"roll": "alternate", "downsample": "pointwise"}),
    ],
)
def test_options_of_the_zoo(name, size, options):
    network = MODELS[name](num_classes=5, input_size=size, scheme="float", **options)
    randomize_(network, (3, size, size), slope=-0.5)
    check(network, torch.randn(2, 3, size, size))


def test_a_slope_of_zero_divides_nothing():
    """FPReLU is written with a quotient of its slopes where there is one."""
    from onebit.nn import FPReLU

    layer = FPReLU(2)
    with torch.no_grad():
        layer.positive[0], layer.negative[0] = 0.0, 0.5
    check(nn.Sequential(layer).eval(), torch.randn(1, 2, 4, 4))


def test_a_layer_without_a_form_is_refused_by_name():
    with pytest.raises(Refused, match="GELU has no form in ONNX here"):
        to_onnx(nn.Sequential(nn.GELU()).eval(), (1, 1, 2, 2))
