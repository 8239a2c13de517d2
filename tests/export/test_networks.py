"""Networks as users bring them: each packs, and then computes what torch computes, or is refused by the name of the
layer with what to do; no other error leaves ``pack``.
"""

import math
from collections import OrderedDict
from collections.abc import Callable
from contextlib import nullcontext

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations
from torch.optim.swa_utils import AveragedModel

import onebit
from onebit.nn import BinaryConv2d, BinaryLinear
from onebit.runtime.reference import ReferenceEngine

SHAPE = (3, 8, 8)


class Net(nn.Module):
    """A convolution "stem" to 8 channels, then whatever a function of the module and its map does; "conv" is a binary
    convolution, "fc" a linear layer of 8 features, "norm" a batch norm.
    """

    def __init__(self, rest: Callable[["Net", Tensor], object], **layers: nn.Module) -> None:
        super().__init__()
        self.stem, self.conv, self.fc = nn.Conv2d(3, 8, 3, padding=1), BinaryConv2d(8, 8, 3, padding=1), nn.Linear(8, 4)
        self.norm = nn.BatchNorm2d(8)
        self.register_buffer("scale", torch.rand(1, 8, 1, 1) + 0.5)
        self.rest = rest
        for name, layer in layers.items():
            self.add_module(name, layer)

    def forward(self, x):
        return self.rest(self, self.stem(x))


def head(net: Net, x: Tensor) -> Tensor:
    """Global average pool and linear layer."""
    return net.fc(x.mean((2, 3)))


def body(*layers: nn.Module) -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), *layers)


class SameName(nn.Conv2d):
    """A convolution that pads itself, as in ports from TensorFlow."""

    def forward(self, x):
        return F.conv2d(F.relu(x), self.weight, self.bias, self.stride, (1, 1))


class Asserting(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = body(BinaryConv2d(8, 8, 3, padding=1))

    def forward(self, x, mask=None, *, flag: bool = False, **others):
        assert isinstance(x, torch.Tensor)
        assert x.dim() == 4, f"a batch of images, got {x.shape}"
        batch, _, height, width = x.shape
        if height != width or mask is not None or flag:
            raise ValueError("square images without a mask")
        x = self.body(x)
        return x.reshape(batch, 8 * height * width) if len(x) == batch else x


class BasicBlock(nn.Module):
    """The block of IR-Net's ResNet-20 with its shortcut of option A, and of many public CIFAR ResNets."""

    def __init__(self, cin: int, cout: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(cin, cout, 3, stride, 1, bias=False), nn.BatchNorm2d(cout)
        self.conv2, self.bn2 = nn.Conv2d(cout, cout, 3, 1, 1, bias=False), nn.BatchNorm2d(cout)
        self.shortcut = nn.Sequential()
        self.pad = cout // 4 if stride != 1 or cin != cout else 0

    def forward(self, x):
        out = self.bn1(self.conv1(x))
        out += F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.pad, self.pad), "constant", 0) if self.pad else x
        x1 = out = F.hardtanh(out)
        out = self.bn2(self.conv2(out))
        out += x1
        return F.hardtanh(out)


class ResNet20(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16)
        sizes = [(16, 16, 1), (16, 32, 2), (32, 64, 2)]
        self.layers = nn.Sequential(
            *(nn.Sequential(BasicBlock(*size), *(BasicBlock(size[1], size[1], 1) for _ in range(2))) for size in sizes)
        )
        self.bn2, self.linear = nn.BatchNorm1d(64), nn.Linear(64, 10)

    def forward(self, x):
        out = F.hardtanh(self.bn1(self.conv1(x)))
        out = self.layers(out)
        out = F.avg_pool2d(out, out.size()[3])
        out = out.view(out.size(0), -1)
        return self.linear(self.bn2(out))


def ir_net() -> nn.Module:
    model = ResNet20()
    report = onebit.binarize_(model, "ir-net")
    assert len(report.binary) == 18
    return model


class Recompute(nn.Module):
    """Blocks in a list, a residual sum in place, checkpointing."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(BinaryConv2d(3, 3, 3, padding=1) for _ in range(3))

    def forward(self, x):
        outs = [x]
        for block in self.blocks:
            outs.append(torch.utils.checkpoint.checkpoint(block, outs[-1], use_reentrant=False) + outs[-1])
        return torch.cat(outs, dim=-3)


class Branches(nn.Module):
    def forward(self, x):
        return x if x.sum() > 0 else -x


class DataDependent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = Branches()

    def forward(self, x):
        return self.inner(x)


def compiled() -> nn.Module:
    return torch.compile(body(nn.BatchNorm2d(8), nn.ReLU(), BinaryConv2d(8, 4, 1)))


def with_compiled_part() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 8, 1), torch.compile(nn.Sequential(nn.ReLU(), BinaryConv2d(8, 4, 1))))


def weight_normed() -> nn.Module:
    return body(parametrizations.weight_norm(nn.Conv2d(8, 4, 3)))


def half() -> nn.Module:
    return body(nn.ReLU(), nn.Conv2d(8, 4, 1)).to(torch.bfloat16)


def partly_initialized() -> nn.Module:
    model = nn.Sequential(nn.LazyConv2d(8, 3), nn.ReLU())
    model(torch.zeros(1, *SHAPE))
    return model


def frozen_norm(net: Net, x: Tensor) -> Tensor:
    """torchvision's FrozenBatchNorm2d."""
    scale = net.norm.weight.reshape(1, -1, 1, 1) * (net.norm.running_var.reshape(1, -1, 1, 1) + 1e-5).rsqrt()
    return net.conv(
        x * scale + (net.norm.bias.reshape(1, -1, 1, 1) - net.norm.running_mean.reshape(1, -1, 1, 1) * scale)
    )


PACK: dict[str, Callable[[], nn.Module]] = {
    "IR-Net's ResNet-20": ir_net,
    "asserts and branches on shapes, optional arguments": Asserting,
    "a pool of the map's side": lambda: Net(lambda net, x: net.fc(F.avg_pool2d(x, x.size(3)).view(x.size(0), -1))),
    "a pool of the map's shape": lambda: Net(
        lambda net, x: net.fc(F.avg_pool2d(x, kernel_size=x.shape[2:]).flatten(1))
    ),
    "arithmetic on sizes": lambda: Net(lambda net, x: F.max_pool2d(x, math.ceil(x.shape[-1] / 4), x.size(2) // 4)),
    "a size by len": lambda: Net(lambda net, x: x.reshape(len(x), -1)),
    "a view by numel": lambda: Net(lambda net, x: x.view(-1, x.numel() // x.shape[0])),
    "squeeze": lambda: Net(lambda net, x: net.fc(F.adaptive_avg_pool2d(x, 1).squeeze())),
    "squeeze twice": lambda: Net(lambda net, x: net.fc(F.adaptive_avg_pool2d(x, (1, 1)).squeeze(-1).squeeze(-1))),
    "unsqueezed features": lambda: Net(lambda net, x: net.conv(x.mean((2, 3))[:, :, None, None])),
    "mean twice": lambda: Net(lambda net, x: net.fc(x.mean(dim=[-1, -2], keepdim=True).flatten(start_dim=1))),
    "add other=": lambda: Net(lambda net, x: torch.add(net.conv(x), other=x)),
    "add input=": lambda: Net(lambda net, x: torch.add(input=net.conv(x), other=x)),
    "relu input=": lambda: Net(lambda net, x: F.relu(input=net.conv(x))),
    "layer input=": lambda: Net(lambda net, x: net.norm(input=net.conv(x_BCHW=x))),
    "cat tensors=": lambda: Net(lambda net, x: torch.cat(tensors=(x, net.conv(x)), dim=1)),
    "max_pool2d with all its arguments": lambda: Net(lambda net, x: F.max_pool2d(x, 3, 2, 1, 1, False, False)),
    "torch.max_pool2d": lambda: Net(lambda net, x: torch.max_pool2d(x, [2, 2], stride=[2, 2])),
    "avg_pool2d with ceil_mode that changes nothing": lambda: Net(lambda net, x: F.avg_pool2d(x, 2, 2, 0, True)),
    "clamp": lambda: Net(lambda net, x: net.conv(torch.clamp(x, -1, 1)) + x.clamp(min=0) + x.clip(max=0.5)),
    "clamp_": lambda: Net(lambda net, x: net.conv(x.clamp_(-1, 1))),
    "prelu": lambda: Net(lambda net, x: F.prelu(x, net.scale.flatten())),
    "constants": lambda: Net(lambda net, x: 0.5 - (2 * x + 1) / 4 - net.scale * x + net.scale),
    "minus": lambda: Net(lambda net, x: -net.conv(x) - x),
    "minus in place": lambda: Net(lambda net, x: net.conv(x).sub_(x).mul_(0.5)),
    "a frozen norm": lambda: Net(frozen_norm),
    "zero channels by torch.zeros": lambda: Net(
        lambda net, x: torch.cat([x, torch.zeros(x.size(0), 4, *x.shape[2:])], dim=1)
    ),
    "zero channels by new_zeros": lambda: Net(lambda net, x: torch.cat([x.new_zeros(len(x), 2, 8, 8), x], 1)),
    "zero channels by mul(0)": lambda: Net(lambda net, x: torch.cat((x, torch.mul(x, 0)), 1)),
    "every second pixel": lambda: Net(lambda net, x: net.conv(x[..., ::2, 1 - 1 :: 2])),
    "clone, detach, contiguous, to": lambda: Net(
        lambda net, x: x.clone().detach().contiguous().to(torch.float32).float()
    ),
    "functional convolution": lambda: Net(
        lambda net, x: F.conv2d(x, net.stem.weight[:, :1].repeat(1, 8, 1, 1), padding="same", bias=net.stem.bias)
    ),
    "functional linear layer": lambda: Net(lambda net, x: F.linear(input=x.mean((2, 3)), weight=net.fc.weight * 2)),
    "forward called directly": lambda: Net(lambda net, x: net.fc.forward(net.conv(x).mean((2, 3)))),
    "a convolution that pads itself": lambda: body(SameName(8, 8, 3)),
    "dropout in eval": lambda: Net(
        lambda net, x: F.dropout(F.dropout2d(x, 0.5, net.training), p=0.3, training=net.training)
    ),
    "unused branch": lambda: Net(lambda net, x: (torch.fft.fft(x), head(net, x))[1]),
    "shapes printed": lambda: Net(lambda net, x: (f"{x.shape} {x.dtype}", head(net, x))[1]),
    "DataParallel": lambda: nn.DataParallel(Net(head)),
    "AveragedModel": lambda: AveragedModel(Net(head)),
    "compiled": compiled,
    "a compiled part": with_compiled_part,
    "SyncBatchNorm": lambda: nn.SyncBatchNorm.convert_sync_batchnorm(body(nn.BatchNorm2d(8), BinaryConv2d(8, 4, 1))),
    "padding same": lambda: body(nn.Conv2d(8, 4, 5, padding="same", dilation=2), BinaryConv2d(4, 6, 3, padding="same")),
    "padding valid": lambda: body(
        nn.Conv2d(8, 4, 3, padding="valid"), BinaryConv2d(4, 6, 3, padding="valid", pad_value=1)
    ),
    "same padding of even kernels and dilation 2": lambda: body(nn.Conv2d(8, 4, 2, padding="same", dilation=2)),
    "reflected padding of nothing": lambda: body(nn.Conv2d(8, 4, 1, padding_mode="reflect")),
    "view with trained-binarization": lambda: Net(
        lambda net, x: net.head(net.conv3(x).view(x.size(0), -1)),
        conv3=BinaryConv2d(8, 4, 3, input_binarizer="trained-step", weight_binarizer="trained-scale"),
        head=BinaryLinear(4 * 36, 3, input_binarizer="trained-step", weight_binarizer="trained-scale"),
    ),
    "one logit": lambda: Net(lambda net, x: net.one(x.mean((2, 3))), one=nn.Linear(8, 1)),
    "one logit, squeezed": lambda: Net(lambda net, x: net.one(x.mean((2, 3))).squeeze(1), one=nn.Linear(8, 1)),
    "weight norm": weight_normed,
    "bfloat16": half,
    "a lazy layer that has run": partly_initialized,
    "checkpoints": Recompute,
    "a map as output": lambda: body(nn.ReLU6(), BinaryConv2d(8, 4, 3)),
    "dropouts": lambda: body(nn.Dropout(), nn.Dropout2d(), nn.AlphaDropout(), nn.FeatureAlphaDropout()),
    "a shared layer": lambda: Net(lambda net, x: net.conv(net.conv(x))),
    "an aliased sum in place": lambda: Net(lambda net, x: [x.add_(net.conv(x)), net.conv(x) + x][1]),
    "chunk": lambda: Net(lambda net, x: net.conv(torch.cat(x.chunk(2, 1)[::-1], 1))),
    "split by sizes": lambda: Net(lambda net, x: torch.cat([part.relu() for part in x.split([1, 4, 3], 1)], 1)),
    "unbind and stack": lambda: Net(lambda net, x: torch.cat([c.unsqueeze(1) for c in x.unbind(1)[::-1]], 1)),
    "narrow": lambda: Net(lambda net, x: net.conv(x.narrow(2, 1, 5))),
    "a crop": lambda: Net(lambda net, x: net.conv(x[:, :, 1:-1, 2:7])),
    "a crop of channels and pixels": lambda: Net(lambda net, x: x[:, 1:7:2, ::3, -4:]),
    "channels by index": lambda: Net(lambda net, x: x[:, [3, 1, 1, 7]]),
    "one channel": lambda: Net(lambda net, x: net.conv(x[:, 2:3].repeat(1, 8, 1, 1))),
    "the first pixel": lambda: Net(lambda net, x: net.fc(x[:, :, 0, 0])),
    "flips": lambda: Net(lambda net, x: net.conv(x.flip(1, 3))),
    "roll of channels and rows": lambda: Net(lambda net, x: net.conv(x.roll(3, 1))),
    "channel shuffle by view and permute": lambda: Net(
        lambda net, x: net.conv(x.view(len(x), 2, 4, 8, 8).permute(0, 2, 1, 3, 4).reshape(len(x), 8, 8, 8))
    ),
    "channel shuffle by transpose": lambda: Net(
        lambda net, x: net.conv(x.unflatten(1, (4, 2)).transpose(1, 2).contiguous().flatten(1, 2))
    ),
    "pixel shuffle": lambda: Net(lambda net, x: F.pixel_shuffle(net.conv(x), 2)),
    "pixel shuffle by view and permute": lambda: Net(
        lambda net, x: x.view(len(x), 2, 2, 2, 8, 8).permute(0, 1, 4, 2, 5, 3).reshape(len(x), 2, 16, 16)
    ),
    "PixelUnshuffle": lambda: body(nn.PixelUnshuffle(2), BinaryConv2d(32, 4, 1)),
    "patches by view and permute": lambda: Net(
        lambda net, x: x.view(len(x), 8, 4, 2, 4, 2).permute(0, 1, 3, 5, 2, 4).reshape(len(x), 32, 4, 4)
    ),
    "flatten in another order": lambda: Net(lambda net, x: x.permute(0, 2, 3, 1).flatten(1)),
    "nearest up-sampling": lambda: Net(lambda net, x: net.conv(F.interpolate(x, scale_factor=2))),
    "up-sampling to a shape": lambda: Net(
        lambda net, x: net.conv(F.interpolate(F.max_pool2d(x, 2), size=x.shape[2:], mode="nearest")) + x
    ),
    "Upsample of unequal sides": lambda: body(nn.Upsample(scale_factor=(2, 3), mode="nearest-exact"), nn.ReLU()),
    "repeated pixels": lambda: Net(lambda net, x: x.repeat_interleave(2, 2).repeat_interleave(3, 3)),
    "repeated channels": lambda: Net(lambda net, x: x.repeat(1, 3, 1, 1)),
    "a vector expanded to a map": lambda: Net(
        lambda net, x: x + net.conv(x.mean((2, 3), keepdim=True)).expand(-1, -1, 8, 8)
    ),
    "padding of borders": lambda: Net(lambda net, x: net.conv(F.pad(x, (1, 2, 0, 3)))),
    "padding with a value": lambda: Net(lambda net, x: net.conv(F.pad(x, (1, 0, 0, 0), value=0.5))),
    "padding of rows, columns and channels": lambda: Net(lambda net, x: F.pad(x, (1, 2, 3, 4, 5, 6))),
    "negative padding": lambda: Net(lambda net, x: net.conv(F.pad(x, (-1, -2, 0, 0)))),
    "ZeroPad2d": lambda: body(nn.ZeroPad2d((1, 0, 2, 1)), nn.Conv2d(8, 4, 3), BinaryConv2d(4, 4, 3)),
    "ConstantPad2d": lambda: body(nn.ConstantPad2d(1, -2.0), nn.ReLU()),
    "ReflectionPad2d": lambda: body(nn.ReflectionPad2d((3, 1, 2, 0)), nn.MaxPool2d(2)),
    "ReplicationPad2d": lambda: body(nn.ReplicationPad2d(2), BinaryConv2d(8, 4, 3)),
    "CircularPad2d": lambda: body(nn.CircularPad2d((1, 2, 3, 4)), nn.ReLU()),
    "a shifted map": lambda: Net(lambda net, x: net.conv(F.pad(x, (1, 0, 0, 0))[:, :, :, :-1])),
    "same padding of an even kernel": lambda: body(nn.Conv2d(8, 4, 4, padding="same"), BinaryConv2d(4, 4, 3)),
    "reflected padding": lambda: body(nn.Conv2d(8, 4, 3, padding=1, padding_mode="reflect"), nn.ReLU()),
    "subclass without a forward": lambda: body(type("MyConv", (nn.Conv2d,), {})(8, 4, 1)),
}


REFUSED: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "a branch on values": (
        DataDependent,
        r"inner: forward looks at values that depend on the image \(bool\); it must not",
    ),
    "item": (
        lambda: Net(lambda net, x: x * x.max().item()),
        r"forward looks at values .* \(item\); it must not branch",
    ),
    "numpy": (lambda: Net(lambda net, x: torch.from_numpy(x.numpy())), r"forward looks at values .* \(numpy\)"),
    "two inputs": (
        lambda: TwoInputs(),
        "missing 1 required positional argument: 'y'; a packed network takes one image",
    ),
    "a tuple": (
        lambda: Net(lambda net, x: (x, x)),
        "must return one tensor .* a tuple of 2; pack a module whose forward",
    ),
    "a dictionary": (lambda: Net(lambda net, x: {"out": x}), "it returns a dict of 1; pack a module whose forward"),
    "None": (lambda: Net(lambda net, x: None), "it returns a NoneType"),
    "a constant": (lambda: Net(lambda net, x: net.scale), "it returns a Tensor that does not depend on it"),
    "another number of channels": (
        lambda: Net(lambda net, x: net.conv(torch.cat([x, x], 1))),
        "conv: the model cannot take images of shape",
    ),
    "GELU": (lambda: body(nn.GELU()), "1: GELU has no packed form; replace it by one of"),
    "softmax": (
        lambda: Net(lambda net, x: head(net, x).softmax(1)),
        "softmax: softmax has no packed form; leave it out",
    ),
    "Sigmoid": (
        lambda: nn.Sequential(OrderedDict(a=nn.Conv2d(3, 4, 1), act=nn.Sigmoid())),
        "act: Sigmoid has no packed",
    ),
    "torch.max": (lambda: Net(lambda net, x: torch.max(x, 1)[0]), "max: max has no packed form"),
    "indices of a pool": (
        lambda: Net(lambda net, x: F.max_pool2d(x, 2, return_indices=True)[0]),
        "max_pool2d_with_indices has no packed form",
    ),
    "MaxPool2d with indices": (
        lambda: Net(lambda net, x: net.p(x)[0], p=nn.MaxPool2d(2, return_indices=True)),
        "p: MaxPool2d",
    ),
    "assignment": (lambda: Net(lambda net, x: (x.__setitem__((slice(None), 0), 1), x)[1]), "an assignment to a part"),
    "same padding of an even binary kernel": (
        lambda: body(BinaryConv2d(8, 4, 4, padding="same")),
        "1: padding 'same' of a kernel of",
    ),
    "mixed images": (lambda: Net(lambda net, x: x.flip(0)), "flip: flip mixes the images of a batch"),
    "an index of the image": (lambda: Net(lambda net, x: x[:, x[0, :, 0, 0].argmax()]), "argmax|getitem"),
    "permute": (
        lambda: Net(lambda net, x: x.permute(0, 2, 3, 1)),
        r"permute: a tensor of shape .* brought into the shape and order of \(2, 8, 8, 8\)",
    ),
    "unflatten": (
        lambda: Net(lambda net, x: x.view(len(x), 2, 4, 8, 8)),
        "view: a tensor of 5 dimensions has no packed form where a layer takes it",
    ),
    "a product of maps": (lambda: Net(lambda net, x: x * net.conv(x)), "a product of two maps has no packed form"),
    "squeeze and excite": (lambda: Net(lambda net, x: x * x.mean((2, 3), keepdim=True)), "mul: a product of two maps"),
    "a broadcast sum": (lambda: Net(lambda net, x: x + x.mean((2, 3), keepdim=True)), r"shapes must be equal"),
    "a constant map": (lambda: Net(lambda net, x: x + torch.ones(8, 8, 8)), r"a constant of shape \(8, 8, 8\)"),
    "alpha": (lambda: Net(lambda net, x: torch.add(x, x, alpha=2)), "an addition with alpha=2"),
    "adaptive pool": (lambda: body(nn.AdaptiveAvgPool2d(2)), "1: an adaptive pool to 2 has no packed form"),
    "LSTM": (lambda: Net(lambda net, x: net.l(x.mean((2, 3)))[0], l=nn.LSTM(8, 4)), "l: LSTM"),
    "ConvTranspose2d": (lambda: body(nn.ConvTranspose2d(8, 4, 2)), "1: ConvTranspose2d has no packed form"),
    "GroupNorm": (lambda: body(nn.GroupNorm(2, 8)), "1: GroupNorm has no packed form"),
    "a linear layer on a map": (lambda: body(nn.Linear(8, 4)), "1: a linear layer on a tensor of shape"),
    "dynamic weights": (
        lambda: Net(lambda net, x: F.linear(x.flatten(1), x.flatten(1))),
        "linear: linear with weights that depend on the image",
    ),
    "an unknown keyword": (lambda: Net(lambda net, x: x.mean((2, 3), dtype=torch.float64)), "mean"),
    "argmax": (lambda: Net(lambda net, x: head(net, x).argmax(1)), "argmax has no packed form"),
    "integers": (lambda: Net(lambda net, x: x.to(torch.int32)), "to converts floats to integers"),
    "a scripted model": (lambda: torch.jit.script(body(nn.ReLU())), "is compiled by torch.jit; pack the module"),
    "a lazy layer": (
        lambda: nn.Sequential(nn.LazyConv2d(8, 3)),
        "0.weight has no shape yet; run the model on one image",
    ),
    "meta": (lambda: body(nn.ReLU()).to("meta"), "0.weight is on the meta device"),
    "chance": (lambda: Net(lambda net, x: x + torch.rand(1)), "would not compute what the model computes"),
    "noise": (lambda: Net(lambda net, x: x + torch.randn_like(x)), "randn_like has no packed form"),
    "custom function": (
        lambda: Net(lambda net, x: net.conv(Sign.apply(x))),
        "sign: sign has no packed form; it has three values; onebit.BinaryConv2d",
    ),
}


class TwoInputs(nn.Module):
    def forward(self, x, y):
        return x + y


class Sign(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return torch.sign(x)

    @staticmethod
    def backward(ctx, grad):
        return grad


def randomized(model: nn.Module) -> nn.Module:
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.running_mean.normal_(0, 0.5)
            module.running_var.uniform_(0.5, 2)
            nn.init.uniform_(module.weight, -1, 1)
            nn.init.normal_(module.bias)
    return model


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
@pytest.mark.parametrize("name", PACK)
def test_networks_that_pack(name):
    torch.manual_seed(0)
    model = randomized(PACK[name]())
    first = next(model.parameters())
    before = {key: value.clone() for key, value in model.state_dict().items()}
    packed = onebit.pack(model, SHAPE)
    assert model.training
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    images = torch.randn(3, *SHAPE)
    eager = torch.compiler.set_stance("force_eager") if "compiled" in name else nullcontext()
    with torch.no_grad(), eager:
        want = model.eval()(images.to(first.dtype)).float().numpy()
    got = ReferenceEngine(packed.graph).run(images.permute(0, 2, 3, 1).contiguous().numpy()).transpose(0, 3, 1, 2)
    tolerance = 1e-5 if first.dtype == torch.float32 else 2e-2
    np.testing.assert_allclose(got.reshape(want.shape), want, rtol=0, atol=tolerance * np.abs(want).max())


@pytest.mark.filterwarnings("ignore:.*torch.jit.script.* is deprecated", "ignore:Using padding='same' with even kernel")
@pytest.mark.parametrize("name", REFUSED)
def test_networks_that_are_refused(name):
    torch.manual_seed(0)
    make, message = REFUSED[name]
    model = make()
    with pytest.raises(onebit.PackError, match=message):
        onebit.pack(model, SHAPE)
    assert model.training
    assert not any(module._forward_hooks for module in model.modules())
