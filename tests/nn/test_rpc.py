"""The reshaped point-wise convolution equals an r x r convolution of stride r laid out in tiles; odd sides, rolls."""

import pytest
import torch
import torch.nn.functional as F

from onebit.binarize import sign, step
from onebit.nn import ReshapedPointwiseConv2d

CASES = [
    {},
    {"roll": 1},
    {"norm": True},
    {"stride": 2},
    {"stride": 2, "restore": False},
    {"stride": 4, "weight_binarizer": None, "input_binarizer": None},
    {"input_binarizer": "step", "weight_binarizer": "trained-scale"},
    {"input_binarizer": "balanced-sign"},
]


def naive(layer, x):
    """Output pixel by output pixel, from the definition."""
    block, upscale = layer.block, layer.upscale
    cin, cout = layer.map_channels
    inputs = layer.input_binarizer
    scale, offset = torch.ones(()), torch.zeros(())
    if inputs is not None:
        threshold = inputs.threshold()
        x = x if threshold is None else x - threshold[:, None, None]
        x = sign(x) if inputs.rule == "sign" else step(x)
        scale = inputs.scale() if inputs.scale() is not None else scale
        offset = inputs.offset() if inputs.offset() is not None else offset
    weight = layer.weight
    weight_scale = torch.ones(len(weight))
    if layer.weight_binarizer is not None:
        weight, weight_scale = layer.weight_binarizer(weight)
        weight_scale = weight_scale.expand(len(weight))
    # torch's order: input channel c r r + i r + j, output channel c u u + py u + px
    kernel = weight.reshape(cout, upscale, upscale, cin, block, block)
    height, width = x.shape[2:]
    if layer.roll:
        x = torch.roll(x, (-1, -1), (2, 3))
    fill = 0.0 if inputs is None else inputs.zero_level
    x = F.pad(x, (0, -width % block, 0, -height % block), value=fill)
    rows, columns = -(-height * upscale // block), -(-width * upscale // block)
    out = torch.zeros(len(x), cout, rows, columns)
    for row in range(rows):
        for column in range(columns):
            tile = x[:, :, row // upscale * block :, column // upscale * block :][:, :, :block, :block]
            taps = kernel[:, row % upscale, column % upscale]
            channels = torch.arange(cout) * upscale**2 + row % upscale * upscale + column % upscale
            sums = torch.einsum("bcij,ocij->bo", tile, taps)
            values = weight_scale[channels] * (scale * sums + offset * taps.sum((1, 2, 3)))
            if layer.norm is not None:
                norm = layer.norm
                gain = norm.weight[channels] / (norm.running_var[channels] + norm.eps).sqrt()
                values = (values - norm.running_mean[channels]) * gain + norm.bias[channels]
            out[:, :, row, column] = values
    return torch.roll(out, (1, 1), (2, 3)) if layer.roll else out


@pytest.mark.parametrize("size", [(8, 8), (7, 5), (9, 6)])
@pytest.mark.parametrize("options", CASES, ids=str)
def test_it_is_the_definition(options, size):
    torch.manual_seed(0)
    layer = ReshapedPointwiseConv2d(3, 5, **options).eval()
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.add_(0.1 * torch.rand_like(parameter))
        if layer.norm is not None:
            layer.norm.running_mean.normal_()
            layer.norm.running_var.uniform_(0.5, 2)
        x = torch.randn(2, 3, *size)
        torch.testing.assert_close(layer(x), naive(layer, x), rtol=1e-4, atol=1e-5)


def test_tiles_mix_only_where_a_layer_is_rolled():
    torch.manual_seed(0)
    x = torch.randn(1, 4, 8, 8)
    changed = x.clone()
    changed[:, :, 2:4, 2:4] *= -1  # one tile

    def reach(roll):
        layer = ReshapedPointwiseConv2d(4, 4, roll=roll)
        return (layer(x) != layer(changed)).any(dim=1)[0].nonzero()

    plain, rolled = reach(0), reach(1)
    assert plain.min() == 2
    assert plain.max() == 3
    assert rolled.min() == 1
    assert rolled.max() == 4


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"stride": 0}, "stride must be an integer"),
        ({"restore": False}, "plain 1x1 convolution"),
        ({"stride": 2, "roll": 1}, "roll must be 0, or 1 at stride 1"),
        ({"roll": 2}, "roll must be 0"),
    ],
)
def test_errors(options, message):
    with pytest.raises(ValueError, match=message):
        ReshapedPointwiseConv2d(4, 4, **options)


def test_one_image_without_a_batch_and_wrong_channels():
    layer = ReshapedPointwiseConv2d(3, 4, roll=True)
    assert layer.roll == 1
    assert layer.roll is not True
    x = torch.randn(3, 7, 6)
    torch.testing.assert_close(layer(x), layer(x[None])[0])
    with pytest.raises(ValueError, match="the map must have 3 channels, got 5"):
        layer(torch.randn(1, 5, 6, 6))
