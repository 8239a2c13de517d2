"""The reshaped point-wise convolution of RB-Net: a 1x1 convolution between space-to-depth and depth-to-space."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from onebit.nn.binarizers import InputBinarizer, WeightBinarizer
from onebit.nn.layers import BinaryConv2d, as_input_binarizer, operands

# Shape letters: B batch, C in-channels, O out-channels, H W image, R block side, U upscale.


class ReshapedPointwiseConv2d(BinaryConv2d):
    """``pixel_shuffle(conv1x1(pixel_unshuffle(x, r)), u)`` with binary weights and inputs.

    With ``restore``, r = 2 stride and u = 2: at stride 1 each 2x2 tile of the input becomes a 2x2 tile of the output,
    with 4 C O products per pixel instead of the 9 C O of a 3x3 convolution (2.25 times fewer), and with 16 C O weights
    (1.78 times more). Without it, r = stride and u = 1: a down-sampling that keeps the factor of 2.25.  The operator is
    from the authors' earlier public code and very likely RB-Net's (IEEE TCSVT 2022); the form without ``restore`` is
    our assumption.  It equals an r x r convolution with stride r whose outputs form u x u tiles, and is packed as such.

    Tiles do not overlap.  ``roll=1`` shifts the map by one pixel, cyclically, before the operator and back after it:
    the tiles of such a layer overlap those of the others, at no cost (our addition).

    Maps whose height or width is not a multiple of r are padded at the bottom and right, with the level that the
    binarizer maps 0 to, and the output is cropped to ``ceil(H u / r) x ceil(W u / r)``.

    Args:
        in_channels, out_channels: channels of the maps.
        stride: H / H' of the maps.
        restore: whether the output is rearranged back into space.
        roll: 0 or 1; 1 only at stride 1.
        norm: whether to apply a BatchNorm2d to the u u O channels before they are rearranged; otherwise one may follow
            the layer.
        weight_binarizer, input_binarizer: as in :class:`BinaryConv2d`.

    Shape: (B, C, H, W) -> (B, O, H', W').  ``weight`` is (u u O, C r r, 1, 1).

    Raises:
        ValueError: stride below 1, stride 1 without restore (that is a 1x1 convolution), roll with another stride; a
            map with another number of channels.
    """

    block: int
    upscale: int
    roll: int
    map_channels: tuple[int, int]
    norm: nn.BatchNorm2d | None

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        stride: int = 1,
        *,
        restore: bool = True,
        roll: int = 0,
        norm: bool = False,
        weight_binarizer: str | WeightBinarizer | None = "mean-scale",
        input_binarizer: str | InputBinarizer | None = "sign",
    ) -> None:
        if not isinstance(stride, int) or stride < 1:
            raise ValueError(f"stride must be an integer of at least 1, got {stride!r}")
        if not restore and stride == 1:
            raise ValueError("restore=False at stride 1 is a plain 1x1 convolution; use BinaryConv2d")
        if roll not in (0, 1) or (roll and stride != 1):
            raise ValueError(f"roll must be 0, or 1 at stride 1, got {roll} at stride {stride}")
        block, upscale = (2 * stride, 2) if restore else (stride, 1)
        super().__init__(
            in_channels * block**2,
            out_channels * upscale**2,
            1,
            weight_binarizer=weight_binarizer,
            input_binarizer=None,
        )
        self.input_binarizer: InputBinarizer | None = as_input_binarizer(input_binarizer)
        if self.input_binarizer is not None:
            self.input_binarizer.attach(in_channels, spatial=2)
        self.block, self.upscale, self.roll = block, upscale, int(roll)
        self.map_channels = (in_channels, out_channels)
        self.norm = nn.BatchNorm2d(self.out_channels) if norm else None

    def forward(self, x_BCHW: Tensor) -> Tensor:
        channels, height, width = x_BCHW.shape[-3:]
        if channels != self.map_channels[0]:
            raise ValueError(f"the map must have {self.map_channels[0]} channels, got {channels}")
        x_BCHW, weight_OC11, scale, bias_O = operands(self, x_BCHW)
        if self.roll:
            x_BCHW = torch.roll(x_BCHW, (-1, -1), (-2, -1))
        below, right = -height % self.block, -width % self.block
        if below or right:
            fill = 0.0 if self.input_binarizer is None else self.input_binarizer.zero_level
            x_BCHW = F.pad(x_BCHW, (0, right, 0, below), value=fill)
        out_BOHW = F.conv2d(F.pixel_unshuffle(x_BCHW, self.block), weight_OC11)
        if scale is not None:
            out_BOHW = out_BOHW * scale.reshape(-1, 1, 1)
        if bias_O is not None:
            out_BOHW = out_BOHW + bias_O.reshape(-1, 1, 1)
        if self.norm is not None:
            out_BOHW = self.norm(out_BOHW)
        out_BOHW = F.pixel_shuffle(out_BOHW, self.upscale)
        if below or right:
            rows, columns = (-(-side * self.upscale // self.block) for side in (height, width))
            out_BOHW = out_BOHW[..., :rows, :columns]
        return torch.roll(out_BOHW, (1, 1), (-2, -1)) if self.roll else out_BOHW

    def extra_repr(self) -> str:
        cin, cout = self.map_channels
        return f"{cin}, {cout}, block={self.block}, upscale={self.upscale}, roll={self.roll}"
