"""Packing of layers whose bits have thresholds, whose channels move, and of convolutions in blocks."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import onebit
from onebit.format.graph import validate
from onebit.models import MODELS
from onebit.nn import (
    WEIGHT_BINARIZERS,
    BinaryConv2d,
    BinaryLinear,
    ChannelShuffle,
    FPReLU,
    ReshapedPointwiseConv2d,
    RPReLU,
    set_real_weights,
)
from onebit.nn.binarizers import BalancedSignInput, ShiftedSignInput
from onebit.runtime.reference import ReferenceEngine

LEARNED = ("shift", "theta", "b", "before", "after", "positive", "negative")


def randomized(model: nn.Module) -> nn.Module:
    """Norms, slopes, shifts and offsets far from their start; every tensor that is learned counts."""
    torch.manual_seed(0)
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.running_mean.normal_(0, 3)
            module.running_var.uniform_(0.5, 20)
            nn.init.normal_(module.weight)
            nn.init.normal_(module.bias)
    for name, parameter in model.named_parameters():
        if name.rpartition(".")[2] in LEARNED:
            nn.init.normal_(parameter)
        if name.endswith("input_binarizer.s"):
            nn.init.constant_(parameter, 0.7)
    return model.eval()


def run(packed: onebit.Packed, x: Tensor) -> np.ndarray:
    """The packed network's map on (B, C, H, W) floats, as (B, C, H, W)."""
    got = ReferenceEngine(packed.graph).run(x.permute(0, 2, 3, 1).contiguous().numpy())
    return got.transpose(0, 3, 1, 2)


def agree(model: nn.Module, shape: tuple[int, int, int]) -> onebit.Packed:
    """Pack, compare with torch on random images; returns the packed network."""
    packed = onebit.pack(randomized(model), shape)
    x = torch.randn(3, *shape)
    with torch.no_grad():
        want = model(x).numpy()
    np.testing.assert_allclose(run(packed, x).reshape(want.shape), want, rtol=0, atol=1e-5 * np.abs(want).max())
    return packed


def steps(packed: onebit.Packed, name: str) -> list[str]:
    """Names of the steps behind one layer."""
    return [s["step"] for s in next(n for n in packed.graph.nodes if n.name == name).epilogue]


def ops(packed: onebit.Packed) -> list[str]:
    return [node.op for node in packed.graph.nodes]


# ---------------------------------------------------------------------------------------------------------------
# Thresholds and offsets of inputs
# ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("inputs", ["shifted-sign", "balanced-sign"])
@pytest.mark.parametrize("pad_value", [-1.0, 0.0, 1.0])
@pytest.mark.parametrize("channels", [1, 33])
def test_thresholds_and_offsets_at_the_borders(inputs, pad_value, channels):
    first = BinaryConv2d(channels, 7, 3, 2, 2, bias=True, pad_value=pad_value, input_binarizer=inputs)
    second = BinaryConv2d(7, 9, (3, 1), padding=(1, 0), groups=1, pad_value=pad_value, input_binarizer=inputs)
    packed = agree(nn.Sequential(nn.Conv2d(2, channels, 1), first, nn.BatchNorm2d(7), second), (2, 7, 6))
    assert steps(packed, "1") == ["threshold"]


@pytest.mark.parametrize("rule", ["sign", "step"])
def test_ties_with_a_learned_threshold_are_decided_as_in_torch(rule):
    """x on the threshold, one float below, one above, and where x + shift would be rounded or denormal."""
    inputs = ShiftedSignInput() if rule == "sign" else ShiftedStep()
    conv = BinaryConv2d(6, 6, 1, groups=6, weight_binarizer="sign", input_binarizer=inputs)
    shift = torch.tensor([0.1, -0.3, 1e-38, 3e8, -0.0, 1e-42])
    with torch.no_grad():
        inputs.shift.copy_(shift)
        conv.weight.fill_(1.0)
    t = -shift.reshape(-1, 1)
    up, down = torch.full_like(t, float("inf")), torch.full_like(t, -float("inf"))
    x = torch.cat([t, torch.nextafter(t, up), torch.nextafter(t, down), t * (1 + 1e-6), 0 * t, 0 * t - 0.0, t + 1], 1)
    x = x.reshape(1, 6, 1, 7)
    model = nn.Sequential(conv).eval()
    packed = onebit.pack(model, (6, 1, 7))
    got = run(packed, x)
    assert np.array_equal(got, model(x).detach().numpy())
    assert (got[:, :, :, 0] == (1 if rule == "sign" else 0)).all()


class ShiftedStep(ShiftedSignInput):
    """{0, 1} with thresholds: x <= t is low."""

    low = 0.0
    rule = "step"


def test_step_inputs_with_thresholds():
    model = nn.Sequential(
        nn.Conv2d(3, 33, 1),
        BinaryConv2d(33, 16, 3, padding=1, input_binarizer=ShiftedStep()),
        nn.BatchNorm2d(16),
        BinaryConv2d(16, 5, 3, padding=1, pad_value=1.0, input_binarizer=ShiftedStep()),
    )
    assert steps(agree(model, (3, 6, 5)), "1") == ["threshold"]


@pytest.mark.parametrize("norm", [False, True])
def test_integer_thresholds_are_exact_with_learned_thresholds_on_sums(norm):
    """All sums of a 9-tap convolution against thresholds that lie exactly on values that occur."""
    torch.manual_seed(0)
    conv = BinaryConv2d(9, 32, 1, weight_binarizer="trained-scale", input_binarizer="sign")
    inputs = ShiftedSignInput()
    head = BinaryConv2d(32, 32, 1, groups=32, weight_binarizer="sign", input_binarizer=inputs)
    layers = [conv, RPReLU(32)]
    model = randomized(nn.Sequential(*layers, *([nn.BatchNorm2d(32)] if norm else []), head))
    codes = torch.arange(512)
    x = (1 - 2 * ((codes[:, None] >> torch.arange(9)) & 1)).float().reshape(1, 512, 1, 9).permute(0, 3, 1, 2)
    with torch.no_grad():
        model[1].negative.abs_()
        values = model[:-1](x)[0, :, :, 0]
        inputs.shift.copy_(-values[torch.arange(32), torch.arange(0, 512, 16)])
    packed = onebit.pack(model, (9, 1, 512))
    assert steps(packed, "0") == ["threshold"]
    x = x.permute(0, 1, 3, 2).contiguous()
    assert np.array_equal(run(packed, x), model(x).detach().numpy())


def test_max_pool_in_front_of_learned_thresholds():
    model = nn.Sequential(
        BinaryConv2d(3, 40, 3, padding=1),
        nn.MaxPool2d(2),
        nn.BatchNorm2d(40),
        BinaryConv2d(40, 5, 1, input_binarizer="shifted-sign"),
    )
    assert ops(agree(model, (3, 8, 8))) == ["elementwise", "binary_conv2d", "bit_max_pool2d", "binary_conv2d"]


class Shared(nn.Module):
    """Three layers on one map, two of which have the same thresholds."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 1)
        self.a, self.b, self.c = (BinaryConv2d(8, 8, 3, padding=1, input_binarizer="shifted-sign") for _ in range(3))
        self.d = BinaryConv2d(8, 8, 1)

    def forward(self, x):
        x = self.stem(x)
        return self.a(x) + self.b(x) + self.c(x) + self.d(x)


def test_bits_are_shared_where_the_thresholds_are_equal():
    model = randomized(Shared())
    model.b.input_binarizer.shift.data.copy_(model.a.input_binarizer.shift.data)
    packed = onebit.pack(model, (3, 6, 6))
    binarizes = [s for node in packed.graph.nodes for s in node.epilogue if s["step"] == "binarize"]
    assert len(binarizes) == 3
    assert sum("threshold" in s for s in binarizes) == 2
    untrained = Shared()
    packed = onebit.pack(untrained, (3, 6, 6))
    binarizes = [s for node in packed.graph.nodes for s in node.epilogue if s["step"] == "binarize"]
    assert [s for s in binarizes if "threshold" in s] == []
    assert len(binarizes) == 1


@pytest.mark.parametrize("inputs", ["shifted-sign", "balanced-sign"])
def test_linear_layers_and_real_weights_with_thresholds(inputs):
    model = nn.Sequential(
        nn.Conv2d(1, 5, 3),
        BinaryConv2d(5, 6, 3, padding=1, weight_binarizer=None, input_binarizer=inputs),
        nn.Flatten(),
        BinaryLinear(6 * 9, 33, bias=True, input_binarizer=inputs),
        nn.BatchNorm1d(33),
        BinaryLinear(33, 4, input_binarizer=inputs),
    )
    packed = agree(model, (1, 5, 5))
    assert [row.runs_as for row in packed.report.rows if row.weights] == ["float"] * 2 + ["1-bit"] * 2


@pytest.mark.parametrize(
    ("weights", "options"),
    [
        ("rectified", {}),
        ("standardized", {}),
        ("recu", {}),
        *((name, {"standardized": True}) for name in ("sign", "mean-scale", "trained-scale")),
    ],
)
def test_weight_binarizers(weights, options):
    first = BinaryConv2d(3, 12, 3, padding=1, weight_binarizer=WEIGHT_BINARIZERS[weights](**options))
    with torch.no_grad():
        first.weight.add_(0.1)  # what is standardized has other signs
    agree(nn.Sequential(first, nn.BatchNorm2d(12), BinaryConv2d(12, 4, 1)), (3, 6, 5))


def test_layers_in_a_phase_of_real_weights_are_reported():
    model = nn.Sequential(nn.Conv2d(3, 8, 1), BinaryConv2d(8, 8, 3), nn.Conv2d(8, 2, 1))
    set_real_weights(model, True)
    packed = agree(model, (3, 6, 5))
    assert [(row.note, row.runs_as) for row in packed.report.rows if row.name == "1"] == [
        ("its weights are real", "float")
    ]


# ---------------------------------------------------------------------------------------------------------------
# Activations, shuffles, concatenations
# ---------------------------------------------------------------------------------------------------------------


class Block(nn.Module):
    """Grouped convolution, shuffle, residual, slopes, shortcut by doubled channels."""

    def __init__(self, activation: nn.Module, norm_first: bool) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 18, 1)
        self.conv = BinaryConv2d(18, 36, 3, 2, 1, groups=3, input_binarizer="shifted-sign")
        self.norm, self.shuffle, self.activation = nn.BatchNorm2d(36), ChannelShuffle(3), activation
        self.norm_first = norm_first
        self.pool, self.head = nn.AvgPool2d(2), BinaryConv2d(36, 5, 1)

    def forward(self, x):
        x = self.stem(x)
        short = self.pool(x)
        y = self.conv(x)
        y = self.shuffle(self.norm(y)) if self.norm_first else self.norm(self.shuffle(y))
        return self.head(self.activation(y + torch.cat((short, short), dim=1)))


@pytest.mark.parametrize("activation", [FPReLU, RPReLU, nn.PReLU])
@pytest.mark.parametrize("norm_first", [False, True])
def test_a_block_of_a_grouped_residual_network(activation, norm_first):
    packed = agree(Block(activation(36), norm_first), (3, 8, 6))
    assert ops(packed) == ["conv2d", "avg_pool2d", "concat", "binary_conv2d", "binary_conv2d"]
    conv = packed.graph.nodes[3]
    assert conv.attrs["shuffle"] == 3
    assert steps(packed, "conv")[:2] == ["affine", "add"]


def test_a_shuffle_in_front_of_bits_leaves_integer_thresholds():
    model = nn.Sequential(
        BinaryConv2d(6, 70, 3, groups=2, weight_binarizer="sign"),
        nn.BatchNorm2d(70),
        nn.ChannelShuffle(2),
        BinaryConv2d(70, 4, 1, weight_binarizer="sign", input_binarizer="shifted-sign"),
    )
    packed = agree(model, (6, 5, 5))
    assert ops(packed) == ["elementwise", "binary_conv2d", "binary_conv2d"]
    assert steps(packed, "0") == ["threshold"]
    x = torch.randn(4, 6, 5, 5)
    assert np.array_equal(run(packed, x), model(x).detach().numpy())


class TwoReaders(nn.Module):
    """What a shuffle takes is read elsewhere too: it stays an op of its own."""

    def __init__(self, activate: bool) -> None:
        super().__init__()
        self.conv, self.norm, self.activate = BinaryConv2d(3, 12, 1), nn.BatchNorm2d(12), activate

    def forward(self, x):
        y = self.norm(self.conv(x))
        z = F.channel_shuffle(y, 4)
        return torch.cat([F.relu6(z) if self.activate else z, y], 1)


@pytest.mark.parametrize("activate", [False, True])
def test_a_shuffle_that_is_not_alone(activate):
    packed = agree(TwoReaders(activate), (3, 5, 4))
    assert ops(packed) == ["elementwise", "binary_conv2d", "shuffle_channels", "concat"]
    assert steps(packed, "channel_shuffle") == (["clamp", "store"] if activate else ["store"])


def test_two_shuffles_in_a_row():
    model = nn.Sequential(BinaryConv2d(3, 12, 1), ChannelShuffle(3), ChannelShuffle(2), BinaryConv2d(12, 4, 1))
    packed = agree(model, (3, 4, 4))
    assert ops(packed) == ["elementwise", "binary_conv2d", "binary_conv2d"]
    assert packed.graph.nodes[1].attrs["shuffle"] == 6  # one shuffle has the effect of both


class Concat(nn.Module):
    """Feature maps one behind the other, then norm, activation and bits in the concatenation's own pass."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 5, 1), BinaryConv2d(3, 31, 1)
        self.norm, self.act = nn.BatchNorm2d(42), FPReLU(42)
        self.head, self.fc = BinaryConv2d(42, 6, 1), nn.Linear(12, 3)

    def forward(self, x):
        y = self.act(self.norm(torch.cat([self.a(x), x, self.b(x), x], dim=-3)))
        z = self.head(y).mean((2, 3))
        return self.fc(torch.concat((z, z), -1))


def test_concatenation():
    packed = agree(Concat(), (3, 5, 4))
    assert [s for s in ops(packed) if s == "elementwise"] == ["elementwise"]  # the bits of the image
    assert steps(packed, "cat") == ["affine", "slopes", "binarize"]
    assert ops(packed).count("concat") == 2


# ---------------------------------------------------------------------------------------------------------------
# Reshaped point-wise convolutions
# ---------------------------------------------------------------------------------------------------------------

FORMS = [
    {},
    {"norm": True},
    {"roll": 1},
    {"roll": 1, "norm": True},
    {"stride": 2},
    {"stride": 2, "norm": True},
    {"stride": 2, "restore": False},
    {"stride": 3, "restore": False, "norm": True},
]


@pytest.mark.parametrize("form", FORMS, ids=str)
@pytest.mark.parametrize(
    ("size", "inputs"),
    [((5, 7), "sign"), ((5, 7), "step"), ((5, 7), "balanced-sign"), ((8, 12), "sign"), ((1, 1), "step")],
)
def test_reshaped_pointwise_convolutions(form, size, inputs):
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem = nn.Conv2d(2, 33, 1)
            self.rpc = ReshapedPointwiseConv2d(33, 35, input_binarizer=inputs, **form)
            self.norm, self.act = nn.BatchNorm2d(35), RPReLU(35)
            self.rest = ReshapedPointwiseConv2d(35, 35, input_binarizer=inputs)

        def forward(self, x):
            y = self.act(self.norm(self.rpc(self.stem(x))))
            return self.rest(y) + y

    packed = agree(Net(), (2, *size))
    assert ops(packed) == ["conv2d", "binary_rpc2d", "binary_rpc2d"]


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_sums_of_reshaped_convolutions_are_exact(form):
    """Signs without a scale: integers through two layers, by integer thresholds in between."""
    form = {**form, "norm": False}
    model = nn.Sequential(
        ReshapedPointwiseConv2d(5, 33, weight_binarizer="sign", input_binarizer="shifted-sign", **form),
        nn.BatchNorm2d(33),
        ReshapedPointwiseConv2d(33, 6, weight_binarizer="sign", input_binarizer="shifted-sign", **form),
    )
    packed = onebit.pack(randomized(model), (5, 9, 7))
    assert steps(packed, "0") == ["threshold"]
    x = torch.randn(3, 5, 9, 7)
    assert np.array_equal(run(packed, x), model(x).detach().numpy())


def test_a_norm_inside_takes_part_in_integer_thresholds():
    model = nn.Sequential(
        ReshapedPointwiseConv2d(5, 33, norm=True), FPReLU(33), ReshapedPointwiseConv2d(33, 4, weight_binarizer="sign")
    )
    randomized(model)
    with torch.no_grad():
        model[1].positive.abs_()
        model[1].negative.abs_()
    packed = onebit.pack(model, (5, 9, 7))
    assert steps(packed, "0") == ["threshold"]
    x = torch.randn(3, 5, 9, 7)
    np.testing.assert_allclose(run(packed, x), model(x).detach().numpy(), rtol=1e-6)


@pytest.mark.parametrize("stride", [2, 4])
@pytest.mark.parametrize("norm", [False, True])
def test_a_real_stem(stride, norm):
    stem = ReshapedPointwiseConv2d(3, 8, stride, norm=norm, weight_binarizer=None, input_binarizer=None)
    model = nn.Sequential(stem, nn.BatchNorm2d(8), BinaryConv2d(8, 6, 3, padding=1), nn.Conv2d(6, 2, 1))
    packed = agree(model, (3, 18, 13))
    onebit.pack(model, (3, 18, 13), strict=True)
    assert ops(packed)[0] == "rpc2d"
    assert packed.report.rows[0].note == "first layer"


@pytest.mark.parametrize(("weights", "inputs"), [("mean-scale", None), (None, "step"), (None, "sign")])
def test_reshaped_convolutions_that_are_binary_on_one_side(weights, inputs):
    rpc = ReshapedPointwiseConv2d(4, 6, roll=1, weight_binarizer=weights, input_binarizer=inputs)
    model = nn.Sequential(nn.Conv2d(3, 4, 1), rpc)
    assert ops(agree(model, (3, 6, 4)))[-1] == "rpc2d"
    if inputs == "sign":
        with pytest.raises(
            onebit.PackError, match=r"1: a map of \(5, 4\) is padded to multiples of 2 with the level 1"
        ):
            onebit.pack(model, (3, 5, 4))
    else:
        agree(model, (3, 5, 3))


def test_a_pool_behind_positions_keeps_its_floats():
    """A window of the pool holds pixels of all positions, whose norms differ."""
    model = nn.Sequential(ReshapedPointwiseConv2d(3, 33, norm=True), nn.MaxPool2d(3, 2), BinaryConv2d(33, 4, 1))
    assert ops(agree(model, (3, 8, 8))) == ["elementwise", "binary_rpc2d", "max_pool2d", "binary_conv2d"]


# ---------------------------------------------------------------------------------------------------------------
# Pools, refusals
# ---------------------------------------------------------------------------------------------------------------


def test_ceil_mode_where_it_changes_nothing():
    model = nn.Sequential(nn.AvgPool2d(2, ceil_mode=True), nn.MaxPool2d(3, 1, 1, ceil_mode=True))
    agree(model, (3, 6, 4))
    with pytest.raises(onebit.PackError, match="0: a pool with ceil_mode"):
        onebit.pack(model, (3, 5, 4))


class Own(BalancedSignInput):
    def forward(self, x):
        return x, None


class Stack(nn.Module):
    def __init__(self, *arguments: object) -> None:
        super().__init__()
        self.conv, self.arguments = nn.Conv2d(3, 4, 1), arguments

    def forward(self, x):
        x = self.conv(x)
        return torch.cat([x, x], *self.arguments)


class Doubled(ReshapedPointwiseConv2d):
    def forward(self, x):
        return 2 * super().forward(x)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (nn.Sequential(BinaryConv2d(3, 4, 1, input_binarizer=Own())), "Own overrides forward"),
        (nn.Sequential(Doubled(3, 4)), "Doubled overrides forward.*ReshapedPointwiseConv2d"),
        (Stack(2), "cat: a concatenation along dim=2 has no packed form; only along the channels, dim=1"),
        (Stack(), "cat: a concatenation along dim=0"),
        (
            nn.Sequential(ReshapedPointwiseConv2d(3, 4, 9), nn.Identity()),
            r"no packed form: .*attrs.block: found 18; allowed: an integer from 1 to 16",
        ),
    ],
)
def test_refusals(model, message):
    with pytest.raises(onebit.PackError, match=message):
        onebit.pack(model, (3, 4, 4))


def test_the_report_counts_reshaped_convolutions_by_block():
    packed = onebit.pack(nn.Sequential(nn.Conv2d(3, 8, 1), ReshapedPointwiseConv2d(8, 16, 2)), (3, 9, 8))
    row = packed.report.rows[1]
    assert row.weights == 4 * 16 * 8 * 16
    assert row.bops == 3 * 2 * row.weights
    assert validate(packed.graph)[packed.graph.output].shape == row.shape == (5, 4, 16)


@pytest.mark.parametrize("name", MODELS)
def test_every_family_packs_without_passes_of_its_own_for_steps_or_shuffles(name):
    side = 63 if name == "alexnet" else 32
    model = MODELS[name](width=0.125, input_size=side, num_classes=10)
    assert not {"elementwise", "shuffle_channels"} & set(ops(agree(model, (3, side, side))))


class Keywords(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, x):
        return self.conv(input=x)


def test_calls_by_keyword_alone():
    agree(Keywords(), (3, 8, 8))
