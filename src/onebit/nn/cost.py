"""Costs of a model before packing: weights, and full-precision and binary multiply-accumulates, per layer.

``OPs = FLOPs + BOPs/64``, as in the literature (e.g. arXiv:1808.00278): FLOPs are multiply-accumulates with at least
one full-precision operand, BOPs those with two binary operands.  Norms, activations, additions and pools are not
counted.
"""

from __future__ import annotations

import copy
import math
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from onebit.format.summary import short
from onebit.nn.layers import BinaryConv2d, BinaryLinear
from onebit.nn.modes import unwrapped
from onebit.nn.rpc import ReshapedPointwiseConv2d
from onebit.text import text_table


@dataclass(frozen=True)
class CostRow:
    """One convolution or linear layer; products are per image."""

    name: str
    layer: str  # name of the class
    shape: tuple[int, ...]  # of the result without the batch: (C, H, W) or (F,)
    weights: int
    weight_bits: int  # per weight: 1 for a binarized one, else 32
    flops: int  # multiply-accumulates with a real side
    bops: int  # multiply-accumulates of bits

    @property
    def ops(self) -> float:
        """``FLOPs + BOPs/64``."""
        return self.flops + self.bops / 64


@dataclass(frozen=True)
class Cost:
    """All rows, and the total number of parameters (including norms and activations); ``str()`` returns a table."""

    rows: tuple[CostRow, ...]
    parameters: int

    @property
    def flops(self) -> int:
        """Multiply-accumulates with a full-precision operand."""
        return sum(row.flops for row in self.rows)

    @property
    def bops(self) -> int:
        """Multiply-accumulates of bits."""
        return sum(row.bops for row in self.rows)

    @property
    def ops(self) -> float:
        """``FLOPs + BOPs/64``."""
        return self.flops + self.bops / 64

    def as_dict(self) -> dict[str, Any]:
        """Rows and totals as a dictionary of plain values."""
        totals = {name: getattr(self, name) for name in ("parameters", "flops", "bops", "ops")}
        return {"layers": [{**asdict(row), "ops": row.ops} for row in self.rows], "total": totals}

    def __str__(self) -> str:
        header = ("layer", "type", "shape", "weights", "bits", "FLOPs", "BOPs", "OPs")
        body = [
            (
                row.name,
                row.layer,
                "x".join(map(str, row.shape)),
                row.weights,
                row.weight_bits,
                short(row.flops),
                short(row.bops),
                short(row.ops),
            )
            for row in self.rows
        ]
        weights = sum(row.weights for row in self.rows)
        total = ("total", "", "", weights, "", short(self.flops), short(self.bops), short(self.ops))
        end = f"{self.parameters} parameters, those of norms and activations included"
        return f"{text_table(body, header=header, sums=[total])}\n{end}"


def count_cost(model: nn.Module, *input_shapes: tuple[int, int, int]) -> Cost:
    """Count the costs of ``model`` for one image of shape (C, H, W), or one image of each shape, without computing
    anything.

    A copy of the model runs on the meta device, so a model built under ``torch.device("meta")`` takes no memory.  The
    given model does not change.  The weights of a layer that runs several times are counted once, its products every
    time.

    Raises:
        ValueError: a shape that is not a triple of positive integers, or that the model cannot take.
    """
    for shape in input_shapes:
        if len(shape) != 3 or any(not isinstance(side, int) or side < 1 for side in shape):
            raise ValueError(f"input_shape must be (channels, height, width), integers from 1, got {shape}")
    ghost = copy.deepcopy(unwrapped(model)).to("meta").eval()
    rows: list[CostRow] = []
    seen: set[nn.Module] = set()

    def watch(name: str, layer: nn.Module) -> None:
        def count(layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Tensor) -> None:
            rows.append(_row(name, layer, [*args, *kwargs.values()][0], output, first=layer not in seen))
            seen.add(layer)

        layer.register_forward_hook(count, with_kwargs=True)

    for name, layer in ghost.named_modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            watch(name, layer)
    with torch.no_grad(), torch.device("meta"):  # where the model itself makes tensors as well
        try:
            ghost(*(torch.empty(1, *shape) for shape in input_shapes))
        except Exception as error:
            shapes = " and ".join(map(str, input_shapes))
            raise ValueError(f"the model cannot take an image of shape {shapes} (C, H, W): {error}") from error
    return Cost(tuple(rows), sum(p.numel() for p in model.parameters()))


def _row(name: str, layer: nn.Module, x: Tensor, out: Tensor, *, first: bool) -> CostRow:
    weight = layer.weight
    assert isinstance(weight, Tensor)
    products = _positions(layer, x, out) * weight.numel()
    binary_weights = binary_inputs = False
    if isinstance(layer, BinaryConv2d | BinaryLinear):
        binary_weights, binary_inputs = layer.weight_binarizer is not None, layer.input_binarizer is not None
    flops, bops = (0, products) if binary_weights and binary_inputs else (products, 0)
    weights, bits = weight.numel() if first else 0, 1 if binary_weights else 32
    return CostRow(name, type(layer).__name__, tuple(out.shape[1:]), weights, bits, flops, bops)


def _positions(layer: nn.Module, x: Tensor, out: Tensor) -> int:
    """How often the whole weight is applied per image."""
    if isinstance(layer, nn.Linear):
        return out[0].numel() // out.shape[-1]
    if isinstance(layer, ReshapedPointwiseConv2d):  # at every block of the padded map, before the restore
        return math.prod(-(-side // layer.block) for side in x.shape[2:])
    return out.shape[2] * out.shape[3]
