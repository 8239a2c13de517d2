"""Rules every model of the zoo obeys, and what their options do."""

import pytest
import torch
from marks import slow_except
from torch import nn

from onebit.models import MODELS
from onebit.models.base import DuplicateChannels, PadChannels, copies_of, halving_pool, whole_numbers, zeros_around
from onebit.nn import SCHEMES, BinaryConv2d, BinaryLinear, parameter_roles
from onebit.nn.activations import ChannelShuffle
from onebit.nn.rpc import ReshapedPointwiseConv2d

SMALL = {"alexnet": 63}  # side of the smallest usual image, where it is not 32


def small(name: str, **options: object) -> tuple[nn.Module, int]:
    """The model at an eighth of its width for small images of one channel, and their side."""
    side = SMALL.get(name, 32)
    return MODELS[name](num_classes=7, in_channels=1, width=0.125, input_size=side, **options), side


def layers(model: nn.Module) -> list[nn.Module]:
    return [m for m in model.modules() if isinstance(m, nn.Conv2d | nn.Linear)]


@pytest.mark.parametrize("name", MODELS)
class TestEveryModel:
    @pytest.mark.parametrize(
        "scheme", slow_except(["its own", "float", "trained-binarization", "bireal"], "its own", "float")
    )
    def test_forward_and_backward(self, name, scheme):
        torch.manual_seed(0)
        model, side = small(name, **({} if scheme == "its own" else {"scheme": scheme}))
        out = model(torch.randn(2, 1, side, side))
        assert out.shape == (2, 7)
        out.square().sum().backward()
        assert all(p.grad is not None for p in model.parameters())
        assert set(parameter_roles(model)) == {n for n, _ in model.named_parameters()}

    def test_float_twin_has_the_same_weights(self, name):
        with torch.device("meta"):
            binary, real = MODELS[name](), MODELS[name](scheme="float")
        weights = [
            {n: m.weight.shape for n, m in model.named_modules() if m in layers(model)} for model in (binary, real)
        ]
        assert weights[0] == weights[1]
        assert not any(
            getattr(m, "weight_binarizer", None) or getattr(m, "input_binarizer", None) for m in layers(real)
        )

    def test_all_but_the_ends_is_binary(self, name):
        with torch.device("meta"):
            inner = layers(MODELS[name]())[1:-1]
        real = [m for m in inner if not isinstance(m, BinaryConv2d | BinaryLinear)]
        if name in ("ftbnn-18-baseline", "reactnet18"):  # those with real 1x1 shortcuts
            assert [m.kernel_size for m in real] == [(1, 1)] * 3
        else:
            assert real == []

    def test_mistakes(self, name):
        with pytest.raises(ValueError, match="width must be above 0"):
            MODELS[name](width=0)
        for size in ("num_classes", "in_channels"):
            with pytest.raises(ValueError, match=f"{size} must be an integer"):
                MODELS[name](**{size: 0})
        with pytest.raises(ValueError, match="input_size must be"):
            MODELS[name](input_size=0)
        with pytest.raises(ValueError, match="did you mean 'float'"):
            MODELS[name](scheme="flaot")


@pytest.mark.parametrize("name", [name for name in MODELS if name not in ("vgg-small", "alexnet")])
def test_bad_stages(name):
    for stages in ("32-x", (8, 9, 10), "16", 5):
        with pytest.raises(ValueError, match="stages must be") as error:
            MODELS[name](stages=stages)
        assert "positive multiples of 8" in str(error.value)


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("name", ["resnet20", "rb-net-20"])
def test_every_scheme(name, scheme):
    torch.manual_seed(0)
    model, side = small(name, scheme=scheme)
    model(torch.randn(2, 1, side, side)).square().sum().backward()
    assert all(p.grad is not None for p in model.parameters())


def test_vgg_small_is_the_papers():
    model = MODELS["vgg-small"]()
    convs = [m for m in model.modules() if isinstance(m, nn.Conv2d)]
    assert [m.out_channels for m in convs] == [128, 128, 256, 256, 512, 512]
    assert [isinstance(m, BinaryConv2d) for m in convs] == [False] + [True] * 5
    assert model.classifier.in_features == 8192


@pytest.mark.parametrize("size", [28, 30, 33, 64, 66])
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("resnet18", {"downsample": "pad"}),
        ("resnet18", {"downsample": "conv1x1", "stem": "light"}),
        ("resnet18", {"downsample": "binary1x1", "stem": "imagenet"}),
        ("reactnet-a", {}),
        ("rb-net-20", {"downsample": "conv3x3"}),
        ("rb-net-20", {"downsample": "pointwise"}),
        ("rb-net-20", {"downsample": "rpc", "shortcut": "duplicate"}),
        ("rb-net-18-rpc-stem", {}),
    ],
)
def test_maps_of_odd_sides(name, options, size):
    model = MODELS[name](width=0.125, input_size=size, **options)
    assert model(torch.randn(2, 3, size, size)).isfinite().all()


def test_halving_an_odd_map_averages_what_is_there():
    x = torch.arange(9.0).reshape(1, 1, 3, 3)
    assert halving_pool(3)(x).flatten().tolist() == [0, 1.5, 4.5, 6]
    assert halving_pool(4)(torch.arange(4.0).reshape(1, 1, 2, 2)).item() == 1.5


def test_stages_and_blocks():
    model = MODELS["resnet18"](stages="32-32-64-128", blocks=[1, 2, 1, 1])
    widths = [m.out_channels for m in layers(model)[1:-1]]
    assert widths == [32] * 2 + [32] * 4 + [64] * 2 + [128] * 2
    model = MODELS["wrn22"](stages=(16, 32, 32, 64))
    assert [m.out_channels for m in layers(model)[:-1]] == [16] + [32] * 12 + [64] * 6
    with pytest.raises(ValueError, match="blocks must be 4 integers from 1"):
        MODELS["resnet18"](blocks="2-2-2-0")
    with pytest.raises(ValueError, match="cannot lose channels, from 64 to 32"):
        MODELS["resnet20"](stages="64-32-64")
    assert whole_numbers("n", "1-2", 2) == (1, 2)


def test_activation_before_or_after_the_addition():
    torch.manual_seed(0)
    before = MODELS["resnet20"](activation="relu", activation_place="before").eval()
    after = MODELS["resnet20"](activation="relu").eval()
    after.load_state_dict(before.state_dict())
    x = torch.randn(2, 16, 8, 8)
    block = before.blocks[0]
    assert torch.equal(block(x), block.body(x).relu() + x)
    block = after.blocks[0]
    assert torch.equal(block(x), (block.body(x) + x).relu())


def test_free_shortcuts():
    x = torch.randn(1, 4, 2, 2)
    assert torch.equal(nn.Sequential(*copies_of(4, 12))(x), torch.cat([x, x, x], 1))
    assert torch.equal(nn.Sequential(*copies_of(4, 6))(x)[:, :4], x)
    assert not nn.Sequential(*copies_of(4, 10))(x)[:, 8:].any()
    assert torch.equal(nn.Sequential(*zeros_around(4, 10))(x)[:, 3:7], x)
    kinds = {name: MODELS["resnet20"](downsample=name) for name in ("pad", "duplicate")}
    assert sum(isinstance(m, PadChannels) for m in kinds["pad"].modules()) == 2
    assert sum(isinstance(m, DuplicateChannels) for m in kinds["duplicate"].modules()) == 2


def test_groups_are_shuffled():
    model = MODELS["ftbnn-18-k2-g4"](input_size=32)
    binary = [m for m in model.modules() if isinstance(m, BinaryConv2d)]
    assert [m.groups for m in binary] == [4] * 16
    assert sum(isinstance(m, ChannelShuffle) for m in model.modules()) == 16
    with pytest.raises(ValueError, match=r"groups must divide the channels of every stage, \[16, 32, 64\] .* got 3"):
        MODELS["resnet20"](groups=3)
    with pytest.raises(ValueError, match="groups must be 1 here"):
        MODELS["rb-net-20"](groups=2)


def test_options_of_rb_net():
    def rpcs(**options):
        model = MODELS["rb-net-20"](**options)
        return [m for m in model.modules() if isinstance(m, ReshapedPointwiseConv2d)]

    assert [m.roll for m in rpcs()] == [0] * 16
    assert [m.roll for m in rpcs(roll="alternate")] == [0, 1] * 8
    assert [(m.block, m.upscale) for m in rpcs(downsample="pointwise")].count((2, 1)) == 2
    assert [(m.block, m.upscale) for m in rpcs(downsample="rpc")].count((4, 2)) == 2
    assert all(m.norm is not None for m in rpcs(norm="before"))
    for name in ("roll", "norm", "downsample"):
        with pytest.raises(ValueError, match=f"{name} must be one of"):
            MODELS["rb-net-20"](**{name: "x"})


@pytest.mark.parametrize(
    ("name", "value"), [("stem", "x"), ("downsample", "x"), ("activation_place", "x"), ("convs_per_shortcut", 3)]
)
def test_unknown_words(name, value):
    with pytest.raises(ValueError, match=f"{name} must be one of .*, got {value!r}"):
        MODELS["resnet20"](**{name: value})
    with pytest.raises(ValueError, match="did you mean 'prelu'"):
        MODELS["resnet20"](activation="prellu")
    with pytest.raises(ValueError, match="convs_per_shortcut must be an integer, got 'x'"):
        MODELS["resnet20"](convs_per_shortcut="x")


def test_reactnet_blocks_stay_or_double():
    with pytest.raises(ValueError, match="stages must stay or double from one to the next, got 32 and then 24"):
        MODELS["reactnet-a"](stages=(32, 24, *[24] * 12))


def test_rb_net_names_its_own_option():
    with pytest.raises(ValueError, match="shortcut must be one of"):
        MODELS["rb-net-20"](num_classes=10, in_channels=3, shortcut="foo")
