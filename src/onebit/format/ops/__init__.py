"""The table of ops: one row each, in the module of its family."""

from onebit.format.ops import convolution, movement, pool, rearrange, reshaped
from onebit.format.ops.op import WEIGHT_ROLES, Op, Use

OPS: dict[str, Op] = {**convolution.OPS, **reshaped.OPS, **pool.OPS, **rearrange.OPS, **movement.OPS}

__all__ = ["OPS", "WEIGHT_ROLES", "Op", "Use"]
