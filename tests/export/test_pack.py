"""Packing: what torch computes is what the packed network computes; fusion does what it says; mistakes are named."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from marks import slow_except
from torch import nn

import onebit
from onebit.format.file import load_graph
from onebit.format.graph import validate
from onebit.models import MODELS
from onebit.nn import BinaryConv2d, BinaryLinear
from onebit.nn.binarizers import SignInput
from onebit.runtime.reference import ReferenceEngine


def randomized(model: nn.Module) -> nn.Module:
    """Norms and slopes far from their start, some of them negative or zero, so that every branch of packing is
    taken.
    """
    for m in model.modules():
        if isinstance(m, nn.modules.batchnorm._BatchNorm):
            m.running_mean.normal_(0, 3)
            m.running_var.uniform_(0.5, 20)
            nn.init.normal_(m.weight)
            nn.init.normal_(m.bias)
            with torch.no_grad():
                m.weight[0] = 0
        if isinstance(m, nn.PReLU):
            nn.init.uniform_(m.weight, -0.5, 1)
    return model.eval()


def packed_sides(packed: onebit.Packed) -> tuple[int, int]:
    """Height and width of the output."""
    return validate(packed.graph)[packed.graph.output].shape[:2]


def agree(model: nn.Module, shape: tuple[int, int, int], images: int = 3, **options: object) -> onebit.Packed:
    """Pack, then compare with torch on random images; returns the packed network."""
    packed = onebit.pack(model, shape, **options)
    x = torch.randn(images, *shape)
    with torch.no_grad():
        want = model.eval()(x).reshape(images, -1, *packed_sides(packed)).permute(0, 2, 3, 1).numpy()
    got = ReferenceEngine(packed.graph).run(x.permute(0, 2, 3, 1).contiguous().numpy())
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-4 * np.abs(want).max())
    return packed


@pytest.mark.parametrize(
    "scheme", ["trained-binarization", "bireal", "binarynet", "binary-weights", "binary-inputs", "float"]
)
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("vgg-small", {"width": 0.25}),
        ("resnet20", {}),
        ("resnet20", {"downsample": "conv1x1"}),
        ("resnet20", {"convs_per_shortcut": 2, "activation": "relu"}),
    ],
)
def test_zoo_models(name, options, scheme):
    torch.manual_seed(0)
    agree(
        randomized(MODELS[name](scheme=scheme, **options)), (3, 16, 16) if "resnet" in name else (3, 32, 32), images=2
    )


@pytest.mark.parametrize("inputs", ["sign", "step", "trained-step"])
@pytest.mark.parametrize("weights", ["sign", "mean-scale", "trained-scale"])
@pytest.mark.parametrize("channels", [1, 3, 31, 32, 33, 64, 65])
def test_channel_counts_around_the_words(channels, weights, inputs):
    torch.manual_seed(channels)
    conv = BinaryConv2d(channels, 7, 3, padding=1, bias=True, weight_binarizer=weights, input_binarizer=inputs)
    model = nn.Sequential(nn.Conv2d(2, channels, 1), conv, nn.BatchNorm2d(7), BinaryConv2d(7, 5, 1))
    agree(randomized(model), (2, 6, 5))


@pytest.mark.parametrize(
    ("groups", "stride", "padding", "dilation", "pad_value", "inputs"),
    [
        (1, 2, 1, 1, 0.0, "sign"),
        (3, 1, (2, 0), 2, 1.0, "sign"),
        (2, (1, 3), 1, (2, 1), -1.0, "sign"),
        (6, 1, 1, 1, 0.0, "step"),
        (1, 2, 2, 1, 1.0, "trained-step"),
    ],
)
def test_geometry(groups, stride, padding, dilation, pad_value, inputs):
    torch.manual_seed(0)
    conv = BinaryConv2d(66, 12, 3, stride, padding, dilation, groups, pad_value=pad_value, input_binarizer=inputs)
    agree(nn.Sequential(nn.Conv2d(3, 66, 1), conv), (3, 9, 8))


def test_edges_of_the_sign_rule():
    """0.0, -0.0 and the smallest floats reach a sign and a step exactly as they are."""
    x = torch.tensor([0.0, -0.0, 1e-30, -1e-30, 1e-42, -1e-42, 1.0, -1.0]).reshape(1, 1, 1, 8)
    for inputs in ("sign", "step"):
        model = nn.Sequential(BinaryConv2d(1, 1, 1, weight_binarizer="sign", input_binarizer=inputs))
        packed = onebit.pack(model, (1, 1, 8))
        got = ReferenceEngine(packed.graph).run(x.permute(0, 2, 3, 1).numpy())
        assert np.array_equal(got.reshape(-1), model(x).detach().numpy().reshape(-1))


def test_a_chain_without_shortcut_becomes_integer_thresholds_and_bit_pools():
    torch.manual_seed(0)
    packed = agree(randomized(MODELS["vgg-small"](width=0.25)), (3, 32, 32))
    ops = [(node.op, [step["step"] for step in node.epilogue]) for node in packed.graph.nodes]
    assert ops == [
        ("conv2d", ["affine", "binarize"]),
        ("binary_conv2d", ["threshold"]),
        ("bit_max_pool2d", ["store"]),
        ("binary_conv2d", ["threshold"]),
        ("binary_conv2d", ["threshold"]),
        ("bit_max_pool2d", ["store"]),
        ("binary_conv2d", ["threshold"]),
        ("binary_conv2d", ["affine", "store"]),
        ("max_pool2d", ["affine", "slopes", "store"]),
        ("flatten", ["store"]),
        ("conv2d", ["affine", "store"]),
    ]


def test_a_residual_network_has_no_node_for_norm_sign_or_addition():
    packed = agree(randomized(MODELS["resnet20"]()), (3, 16, 16))
    assert {node.op for node in packed.graph.nodes} == {"conv2d", "binary_conv2d", "avg_pool2d", "pad_channels"}
    second = next(node for node in packed.graph.nodes if node.name == "blocks.1.body.0")
    assert [step["step"] for step in second.epilogue] == ["affine", "add", "slopes", "store", "binarize"]


@pytest.mark.parametrize("name", slow_except(MODELS, "vgg-small", "resnet20", "rb-net-20", "ftbnn-18", "reactnet-a"))
@pytest.mark.parametrize("scheme", ["trained-binarization", "bireal"])
def test_untrained_models_agree_too(name, scheme):
    """Fresh norms leave sums that are exactly 0 in front of a sign: rounding must not push them off it."""
    torch.manual_seed(0)
    side = 63 if name == "alexnet" else 32
    agree(MODELS[name](scheme=scheme, width=0.25, input_size=side, num_classes=10).eval(), (3, side, side), images=2)


def test_thresholds_are_exact_at_every_sum():
    """All 2^9 weights-times-inputs patterns of a 9-tap convolution, behind norms of either direction."""
    torch.manual_seed(0)
    conv = BinaryConv2d(9, 16, 1, weight_binarizer="trained-scale", input_binarizer="sign")
    norm = nn.BatchNorm2d(16)
    head = BinaryConv2d(16, 16, 1, weight_binarizer="sign", input_binarizer="sign")
    model = randomized(nn.Sequential(conv, norm, head))
    codes = torch.arange(512)
    x = (1 - 2 * ((codes[:, None] >> torch.arange(9)) & 1)).float().reshape(1, 512, 1, 9).permute(0, 3, 1, 2)
    packed = onebit.pack(model, (9, 1, 512))
    got = ReferenceEngine(packed.graph).run(x.permute(0, 2, 3, 1).contiguous().numpy())
    assert [s["step"] for s in packed.graph.nodes[1].epilogue] == ["threshold"]
    assert np.array_equal(got, model(x).permute(0, 2, 3, 1).detach().numpy())


def test_a_slope_below_zero_is_not_folded_into_one_threshold():
    torch.manual_seed(0)
    norm = nn.BatchNorm2d(8)
    nn.init.constant_(norm.bias, -0.4)
    model = nn.Sequential(BinaryConv2d(8, 8, 1), nn.PReLU(8, init=-0.5), norm, BinaryConv2d(8, 4, 1))
    packed = agree(model, (8, 4, 4))
    assert [s["step"] for s in packed.graph.nodes[1].epilogue][-1] == "binarize"


def test_binary_linear_layers():
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 5, 3), nn.Flatten(), BinaryLinear(5 * 36, 33), nn.BatchNorm1d(33), BinaryLinear(33, 4, bias=True)
    )
    packed = agree(randomized(model), (1, 8, 8))
    assert [row.runs_as for row in packed.report.rows if row.weights] == ["float", "1-bit", "1-bit"]


def test_a_layer_alone_is_named_by_its_class():
    torch.manual_seed(0)
    for layer in (nn.Conv2d(3, 4, 3), BinaryConv2d(3, 4, 3, padding=1)):
        assert [node.name for node in agree(layer, (3, 8, 8)).graph.nodes][-1] == type(layer).__name__


def test_functional_style():
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = BinaryConv2d(3, 8, 3, padding=1), nn.Conv2d(3, 8, 1)
            self.fc = nn.Linear(8, 4)

        def forward(self, x):
            y = torch.relu(self.a(x) + self.b(x))
            return self.fc(y.mean((2, 3)).view(y.size(0), -1))

    agree(Net(), (3, 6, 6))


def test_two_readers_of_one_value_share_its_bits():
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem = nn.Conv2d(3, 8, 1)
            self.a, self.b = BinaryConv2d(8, 8, 3, padding=1), BinaryConv2d(8, 8, 1, input_binarizer="step")
            self.c = BinaryConv2d(8, 8, 1)

        def forward(self, x):
            x = self.stem(x)
            return self.a(x) + self.b(x) + self.c(x)

    packed = agree(Net(), (3, 6, 6))
    binarizes = [s for node in packed.graph.nodes for s in node.epilogue if s["step"] == "binarize"]
    assert sorted(s["rule"] for s in binarizes) == ["sign", "step"]


def test_packing_leaves_the_model_alone():
    model = MODELS["resnet20"](width=0.5)
    model.blocks[0].eval()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    onebit.pack(model, (3, 8, 8))
    assert model.training
    assert not model.blocks[0].training
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


def test_size_on_disk_is_the_size_in_the_summary(tmp_path):
    packed = onebit.pack(MODELS["resnet20"](), (3, 32, 32), classes=list("abcdefghij"))
    size = packed.save(tmp_path / "net.onebit")
    assert size == (tmp_path / "net.onebit").stat().st_size == packed.report.file_bytes
    assert sum(row.bytes for row in packed.report.rows) + packed.report.header_bytes == size
    assert load_graph(tmp_path / "net.onebit").classes == tuple("abcdefghij")


def test_strict_names_what_stays_float():
    model = MODELS["resnet20"](downsample="conv1x1")
    with pytest.raises(onebit.PackError, match=r"2 layer\(s\) would run in float: blocks.6.shortcut.1"):
        onebit.pack(model, (3, 16, 16), strict=True)
    onebit.pack(model, (3, 16, 16), strict=True, keep_real=["*.shortcut.*"])
    onebit.pack(MODELS["vgg-small"](width=0.25), (3, 32, 32), strict=True)


class Branching(nn.Module):
    def forward(self, x):
        return x if x.sum() > 0 else -x


@pytest.mark.parametrize(
    ("model", "shape", "message"),
    [
        (nn.Sequential(nn.Conv2d(3, 4, 1), nn.GELU()), (3, 4, 4), "1: GELU has no packed form; replace it by one of"),
        (Branching(), (3, 4, 4), "must not branch on tensor values"),
        (nn.Sequential(nn.Conv2d(3, 4, 1)), (1, 4, 4), r"cannot take images of shape \(1, 4, 4\)"),
        (nn.Sequential(nn.AdaptiveAvgPool2d(2)), (3, 4, 4), "an adaptive pool to 2 has no packed form"),
        (nn.Sequential(nn.MaxPool2d(2, ceil_mode=True)), (3, 5, 5), "ceil_mode or dilation"),
        (nn.Sequential(nn.Linear(4, 2)), (3, 4, 4), "flatten it to"),
        (nn.Sequential(nn.BatchNorm2d(3, track_running_stats=False)), (3, 4, 4), "no running statistics"),
        (nn.Identity(), (3, 4, 4), "computes nothing"),
    ],
)
def test_models_without_a_packed_form(model, shape, message):
    with pytest.raises(onebit.PackError, match=message):
        onebit.pack(model, shape)


def test_a_diverged_model_is_refused():
    model = nn.Sequential(nn.Conv2d(3, 4, 1))
    nn.init.constant_(model[0].weight, float("nan"))
    with pytest.raises(onebit.PackError, match="NaN or infinity"):
        onebit.pack(model, (3, 4, 4))


def test_one_number_stands_for_every_channel():
    model = nn.Sequential(nn.Conv2d(3, 4, 1))
    spec = onebit.pack(model, (3, 4, 4), mean=0.5, std=np.float32(0.25)).graph.input
    assert (spec.mean, spec.std) == ((0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
    spec = onebit.pack(model, torch.Size((3, 4, 4)), mean=torch.tensor([0.5, 0.25, 1.0]), std=[0.5]).graph.input
    assert (spec.mean, spec.std) == ((0.5, 0.25, 1.0), (0.5, 0.5, 0.5))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"mean": [123, 117, 104]},
            r"mean must be from 0 to 1, got \[123.0, 117.0, 104.0\]; pixels are from 0 to 1 here",
        ),
        ({"mean": -0.1}, "mean must be from 0 to 1"),
        ({"mean": float("nan")}, "mean must be from 0 to 1"),
        ({"std": (58.4, 57.1, 57.4)}, r"std must be from 1e-06 to 10, got \[58.4, 57.1, 57.4\]; .* divided by 255"),
        ({"std": 0}, "std must be from 1e-06 to 10"),
        ({"std": 1e-300}, "std must be from 1e-06 to 10"),
        ({"std": -1.0}, "std must be from 1e-06 to 10"),
        ({"mean": [0.5, 0.5]}, "mean must be a number, or one for each of the 3 channels"),
        ({"std": "0.5 0.5"}, "std must be a number, or one for each of the 3 channels, got '0.5 0.5'"),
        ({"color": "BGR"}, "color must be 'RGB' for 3 channels, 'L' for 1, or 'other', got 'BGR' for 3"),
        ({"color": "L"}, "color must be .* got 'L' for 3"),
        ({"calibration": [[1, 2]], "stem": "int8"}, r"calibration must be raw pixels, .* got int64 \[1, 2\]"),
    ],
)
def test_what_no_image_can_be_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        onebit.pack(nn.Sequential(nn.Conv2d(3, 4, 1)), (3, 4, 4), **options)


@pytest.mark.parametrize("shape", [(3, 4), (3, 4, 0), (3, 4, 4.0), "344", None, (3, "4", 4)])
def test_shapes_that_are_none(shape):
    with pytest.raises(ValueError, match=r"input_shape must be \(channels, height, width\), integers from 1"):
        onebit.pack(nn.Sequential(nn.Conv2d(3, 4, 1)), shape)


def test_inside_of_autocast_and_inference_mode():
    """The checks are made in the model's own precision, whatever the caller's."""
    torch.manual_seed(0)
    model = randomized(MODELS["resnet20"](width=0.5))
    want = onebit.pack(model, (3, 8, 8)).data
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert onebit.pack(model, (3, 8, 8)).data == want
    with torch.inference_mode():
        assert onebit.pack(model, (3, 8, 8)).data == want


class InPlace(nn.Module):
    """A shortcut that aliases a tensor which is changed in place behind it."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.stem, self.conv = nn.Conv2d(3, 8, 1), BinaryConv2d(8, 8, 3, padding=1)
        self.kind, self.relu, self.clamp = kind, nn.ReLU(inplace=True), nn.Hardtanh(inplace=True)

    def forward(self, x):
        x = self.stem(x)
        alias = x
        if self.kind == "relu":
            x = self.relu(x)
        elif self.kind == "hardtanh":
            x = self.clamp(x)
        elif self.kind == "relu_":
            x = x.relu_()
        else:
            x += self.conv(x)
        return self.conv(x) + alias


@pytest.mark.parametrize("kind", ["relu", "hardtanh", "relu_", "iadd"])
def test_an_alias_sees_what_was_done_in_place(kind):
    torch.manual_seed(0)
    agree(InPlace(kind), (3, 5, 5))


class ThroughAView(nn.Module):
    """Changes a map in place through a view, and goes on with the map."""

    def __init__(self, way: str) -> None:
        super().__init__()
        self.stem, self.way = nn.Conv2d(3, 8, 1), way

    def forward(self, x):
        x = self.stem(x)
        if self.way == "view":
            x.view(len(x), -1).relu_()
        elif self.way == "slice":
            x[:, 0] += 1
        elif self.way == "set":
            x[:, 0] = 0
        return torch.relu(x)


@pytest.mark.parametrize(
    ("way", "message"),
    [
        ("view", "relu takes a tensor that was changed in place through another one that shares its memory"),
        ("slice", "setitem takes a tensor that was changed in place through another one"),
        ("set", "an assignment to a part of a tensor has no packed form"),
    ],
)
def test_changes_through_shared_memory_are_refused(way, message):
    with pytest.raises(onebit.PackError, match=message):
        onebit.pack(ThroughAView(way), (3, 5, 5))


def test_functional_forms():
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = BinaryConv2d(3, 8, 3, padding=1), BinaryConv2d(8, 8, 3, weight_binarizer=None)

        def forward(self, x):
            x = F.leaky_relu(F.max_pool2d(self.a(x), 2), 0.2)
            x = F.hardtanh(F.avg_pool2d(self.b(self.b(x)), (2, 1), stride=1))
            return F.dropout(x, 0.5, training=self.training)

    torch.manual_seed(0)
    agree(Net(), (3, 14, 14))


class ShiftedSign(SignInput):
    def forward(self, x):
        return super().forward(x - 0.5)


class Doubled(BinaryConv2d):
    def forward(self, x):
        return 2 * super().forward(x)


class Drops(nn.Module):
    def forward(self, x):
        return F.dropout(x)


def hooked() -> nn.Module:
    layer = nn.Conv2d(3, 4, 1)
    layer.register_forward_hook(lambda module, arguments, output: output + 1)
    return nn.Sequential(layer)


class Stateful(nn.Module):
    """What a trace cannot see: the answer depends on how often it was called."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.calls = nn.Conv2d(3, 4, 1), 0

    def forward(self, x):
        self.calls += 1
        return self.conv(x) if self.calls < 2 else -self.conv(x)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (nn.Sequential(BinaryConv2d(3, 4, 1, input_binarizer=ShiftedSign())), "ShiftedSign overrides forward"),
        (nn.Sequential(Doubled(3, 4, 1)), "Doubled overrides forward"),
        (hooked(), "forward hooks"),
        (nn.Sequential(nn.Conv2d(3, 4, 1), Drops()), "drops in eval mode too"),
        (Stateful(), "would not compute what the model computes"),
    ],
)
def test_what_packing_cannot_see_is_refused(model, message):
    with pytest.raises(onebit.PackError, match=message):
        onebit.pack(model, (3, 4, 4))


def test_thresholds_are_exact_where_a_norm_puts_them_on_a_sum():
    """Norms whose zero lies exactly on a sum that occurs: only torch's own rounding decides."""
    rng = np.random.default_rng(0)
    wrong = 0
    for seed in range(20):
        torch.manual_seed(seed)
        conv = BinaryConv2d(64, 64, 3, padding=1, weight_binarizer="trained-scale", input_binarizer="sign")
        norm = nn.BatchNorm2d(64).eval()
        x = torch.randn(2, 64, 6, 6)
        with torch.no_grad():
            sums = conv(x)
            norm.running_mean.copy_(sums[0, :, 2, 3] + torch.from_numpy(rng.normal(size=64).astype(np.float32)))
            norm.running_var.uniform_(0.1, 5)
            norm.weight.normal_()
            norm.bias.copy_(
                -(sums[0, :, 2, 3] - norm.running_mean) * norm.weight / (norm.running_var + norm.eps).sqrt()
            )
            head = BinaryConv2d(64, 8, 1, weight_binarizer="sign", input_binarizer="sign")
            model = nn.Sequential(conv, norm, head).eval()
            want = model(x).permute(0, 2, 3, 1).numpy()
        packed = onebit.pack(model, (64, 6, 6))
        got = ReferenceEngine(packed.graph).run(x.permute(0, 2, 3, 1).contiguous().numpy())
        wrong += int((got != want).sum())
    assert wrong == 0


def test_a_diverged_latent_weight_is_refused():
    model = nn.Sequential(BinaryConv2d(3, 4, 1, weight_binarizer="sign"))
    nn.init.constant_(model[0].weight, float("nan"))
    with pytest.raises(onebit.PackError, match=r"0.weight holds NaN or infinity"):
        onebit.pack(model, (3, 4, 4))


def test_texts_for_lists():
    with pytest.raises(TypeError, match="classes must be a list"):
        onebit.pack(nn.Sequential(nn.Conv2d(3, 4, 1)), (3, 1, 1), classes="abcd")
    with pytest.raises(onebit.PackError, match="classes"):
        onebit.pack(nn.Sequential(nn.Conv2d(3, 4, 1)), (3, 1, 1), classes=["a"])
