"""The row of an op, and the use of an op by a node."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray

from onebit.format.checks import Check
from onebit.format.errors import refusal
from onebit.format.tensors import TensorSpec
from onebit.format.values import FLOAT, Shape

MAX_TERMS = 1 << 30  # products of one sum; elements of a padded map, its channels in whole words
BLOCK = 64  # output channels that kernels compute together
TILE = 24  # pixels that they compute together, at most
STRIPE = 8  # rows that a thread computes before they are used
WEIGHT_ROLES = ("weight", "weight_bits")  # of tensors whose entries count as the network's weights

# Shape letters: N images, H W map, C channels, O out channels, K L kernel rows and columns, P positions.


@dataclass(frozen=True)
class Use:
    """The use of an op by one node: its attributes, its tensors by role, the shapes of its input maps."""

    attrs: Mapping[str, Any]
    tensors: Mapping[str, NDArray[Any]]
    shapes: tuple[Shape, ...]

    @property
    def shape(self) -> Shape:
        """The shape of the first input map; most ops have only one."""
        return self.shapes[0]


@dataclass(frozen=True)
class Memory:
    """Upper bounds of the bytes that the C++ core allocates for a node in addition to its values, on any CPU.

    Attributes:
        weights: the node's tensors in the layout of the kernels, and tables computed from them.
        scratch: shared by all threads while the node runs.
        worker_scratch: per thread while the node runs.
    """

    weights: int = 0
    scratch: int = 0
    worker_scratch: int = 0


def _first_shape(use: Use) -> Shape:
    return use.shape


def _no_tensors(use: Use) -> Mapping[str, TensorSpec]:
    return {}


def _no_products(use: Use) -> int:
    return 0


def _no_memory(use: Use) -> Memory:
    return Memory()


def _one_position(attrs: Mapping[str, Any]) -> int:
    return 1


def _everywhere(table_PC: NDArray[Any], sides: tuple[int, int], attrs: Mapping[str, Any]) -> NDArray[Any]:
    return table_PC[0]


@dataclass(frozen=True)
class Op:
    """The complete definition of an op except its kernels; docs/format.md describes it in words.

    Attributes:
        takes: type of the input values; an op of "float32" also takes "float16".
        reference: the NumPy definition; takes maps (N, H, W, C) by position, attributes and tensors by name.  Maps of
            bits and tensors of packed bits are passed as booleans, True for bit 1, and so is a result of bits.
        attrs, optional: required and optional attributes, with their checks.
        most_inputs: maximum number of input values.
        gives: type of the result before the epilogue.
        roles: roles of its tensors, one set per form of the op.
        tensors: what the tensors must be; FormatError if a tensor with free dimensions has an invalid shape.
        shape: shape of the result; FormatError if attributes, tensors and maps do not fit together.
        memory: upper bound of what the core allocates for a node.
        products: multiply-accumulates per image; BOPs if it runs as "1-bit", else MACs.
        runs_as: "1-bit", "int8", "float", or "moves data" if it only rearranges values.
        exact: whether its result is an exact integer; a `threshold` may follow.
        reads_halves: whether float16 is read in place; other ops convert the whole map to float32 first.
        identity: whether its result is its input, as a carrier of steps.
        add_rank: an addition of two results is fused into the epilogue of the node with the higher rank.
        counterparts: ops that compute the same from values of another type, by that type.
        folds_as: attribute of other ops that has the same effect on their result.
        builders: method of the core's builder by the role of a tensor, if it is not named like the op.
        since: the version of the format that added it.
        core: that method and its arguments, if they are not the attributes and tensors of the node.
        positions: entries per channel of an epilogue table: pixels of the block that the op writes at once.
        spread: maps entries of tables by position, (P, C), to every pixel of a result with this number of rows and
            columns.
    """

    takes: str
    reference: Callable[..., NDArray[Any]]
    attrs: Mapping[str, Check] = field(default_factory=dict)
    optional: Mapping[str, Check] = field(default_factory=dict)
    most_inputs: int = 1
    gives: str = FLOAT
    roles: tuple[frozenset[str], ...] = (frozenset(),)
    tensors: Callable[[Use], Mapping[str, TensorSpec]] = _no_tensors
    shape: Callable[[Use], Shape] = _first_shape
    products: Callable[[Use], int] = _no_products
    memory: Callable[[Use], Memory] = _no_memory
    runs_as: str = "float"
    exact: bool = False
    reads_halves: bool = False
    identity: bool = False
    add_rank: int = 0
    counterparts: Mapping[str, str] = field(default_factory=dict)
    folds_as: str | None = None
    builders: Mapping[str, str] = field(default_factory=dict)
    since: int = 1
    core: Callable[[Use], tuple[str, Mapping[str, Any]]] | None = None
    positions: Callable[[Mapping[str, Any]], int] = _one_position
    spread: Callable[[NDArray[Any], tuple[int, int], Mapping[str, Any]], NDArray[Any]] = _everywhere


def round_up(count: int, unit: int) -> int:
    """``count`` rounded up to a multiple of ``unit``."""
    return -(-count // unit) * unit


def check_size(what: str, field: str, size: int, limit: int = MAX_TERMS) -> None:
    """FormatError if ``size`` of ``what`` exceeds the limit."""
    if size > limit:
        raise refusal(field, f"{size} {what}", f"{limit} at most")
