"""Every network of the zoo, and every option of its families: torch, the reference and the C++ core agree.

Packed strictly, with norms, slopes and shifts as if it had been trained.  The core is compared with the reference node
by node, where bits made from integers must be equal; both are compared with torch at the output.
"""

import numpy as np
import pytest
import torch
from torch import nn

import onebit
from onebit.models import MODELS
from onebit.nn import SCHEMES, as_scheme
from onebit.nn.randomize import randomize_
from onebit.runtime.engine import Engine, usable_isas
from onebit.runtime.parity import check_kernels
from onebit.runtime.reference import ReferenceEngine

IMAGES = 3
SHORTCUTS = ["*.shortcut.*"]  # the real 1x1 convolutions of Bi-Real Net's and ReActNet's layout

# Layers that stay real between the first and the last, by model; the others have none.
REAL = {"ftbnn-18-baseline": SHORTCUTS, "reactnet18": SHORTCUTS}
SIDES = {"alexnet": 63}

OPTIONS = [
    *(("resnet18", {"stem": stem}) for stem in ("imagenet", "light", "rpc")),
    *(("resnet20", {"downsample": kind}) for kind in ("duplicate", "conv1x1", "binary1x1")),
    *(("resnet20", {"activation": kind}) for kind in ("none", "relu", "fprelu", "rprelu", "hardtanh")),
    ("resnet20", {"activation_place": "before", "activation": "fprelu"}),
    ("resnet20", {"convs_per_shortcut": 2, "activation": "hardtanh", "scheme": "recu"}),
    ("resnet20", {"groups": 2, "activation": "rprelu"}),
    ("resnet20", {"groups": 4, "downsample": "duplicate", "activation_place": "before"}),
    ("resnet18", {"stages": "8-8-16-32", "blocks": "1-2-1-1", "width": 1.0}),
    ("resnet18", {"stem_width": 40, "stem": "light"}),
    *(("rb-net-20", {"downsample": kind}) for kind in ("pointwise", "rpc")),
    ("rb-net-20", {"roll": "alternate"}),
    ("rb-net-20", {"roll": "alternate", "norm": "before", "downsample": "pointwise"}),
    ("rb-net-20", {"norm": "before", "downsample": "rpc", "shortcut": "duplicate"}),
    ("rb-net-20", {"scheme": "trained-binarization", "roll": "alternate"}),
    ("rb-net-20", {"input_size": 30, "downsample": "pointwise", "roll": "alternate"}),
    ("rb-net-20", {"input_size": 27, "downsample": "rpc"}),
    ("rb-net-18-rpc-stem", {"input_size": 66}),
    ("rb-net-18-wide", {"input_size": 66}),
    ("ftbnn-18-k1.5-g2", {"input_size": 64}),
    ("reactnet-a", {"input_size": 64}),
    ("resnet18", {"input_size": 28}),
    ("vgg-small", {"scheme": "bireal"}),
    *(
        ("resnet20", {"scheme": scheme})
        for scheme in SCHEMES
        if scheme not in ("float", "binary-weights", "binary-inputs")
    ),
    *(
        (name, {"scheme": "rb-net", "inputs": inputs, "pad_value": value})
        for name in ("resnet20", "rb-net-20")
        for inputs, value in (("balanced-sign", 0), ("shifted-sign", 1), ("sign", -1), ("step", 1))
    ),
    *(("resnet20", {"scheme": scheme, "real": ["*"]}) for scheme in ("float", "binary-weights", "binary-inputs")),
]
MONOTONE, ANY = 0.05, -0.5  # smallest slope of an activation: with ANY, some chains have no integer threshold
CASES = [(name, {}, MONOTONE) for name in MODELS] + [(name, options, ANY) for name, options in OPTIONS]


def network(name: str, options: dict, slope: float) -> tuple[nn.Module, int]:
    """The model at an eighth of its width, as if trained, and the side of its images."""
    options = dict(options)
    changes = {key: options.pop(key) for key in ("inputs", "pad_value") if key in options}
    if changes:
        options["scheme"] = as_scheme(options["scheme"], **changes)
    options = {"width": 0.125, "num_classes": 7, "input_size": SIDES.get(name, 32), **options}
    torch.manual_seed(0)
    model = MODELS[name](**options)
    randomize_(model, (3, options["input_size"], options["input_size"]), slope=slope)
    return model, options["input_size"]


def assert_close(got_NHWC, want_NF) -> None:
    """Equal to rounding in all images but one: there, rounding of the floats may have flipped a sign."""
    got_NF = np.asarray(got_NHWC).reshape(len(want_NF), -1)
    errors = np.abs(got_NF - want_NF).max(axis=1) / np.abs(want_NF).max()
    assert np.sort(errors)[-2] < 1e-4, errors


def label(value: object) -> str:
    """The part of a test's name that stands for one parameter."""
    return "-".join(map(str, value.values())) if isinstance(value, dict) else str(value)


@pytest.mark.parametrize(("name", "options", "slope"), CASES, ids=label)
def test_zoo(name, options, slope):
    options = dict(options)
    allowed = options.pop("real", REAL.get(name, SHORTCUTS if options.get("downsample") == "conv1x1" else []))
    model, side = network(name, options, slope)
    packed = onebit.pack(model, (3, side, side), strict=True, keep_real=allowed)
    images_NHWC = np.random.default_rng(1).standard_normal((IMAGES, side, side, 3)).astype(np.float32)
    with torch.no_grad():
        want_NF = model(torch.from_numpy(images_NHWC).permute(0, 3, 1, 2).contiguous()).numpy()
    assert_close(ReferenceEngine(packed.graph).run(images_NHWC), want_NF)
    for isa in usable_isas():
        assert_close(Engine(packed.graph, threads=1, isa=isa).run(images_NHWC), want_NF)
    for row in check_kernels(packed.graph, images_NHWC[:1]):
        assert row["passed"], row
