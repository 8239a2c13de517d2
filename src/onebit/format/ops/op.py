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
    """All there is to know about an op but its kernels; docs/format.md says it in words.

    Attributes:
        takes: type of the values that it takes; an op of "float32" takes "float16" as well.
        reference: what it computes, in NumPy: maps (N, H, W, C) by position, attributes and tensors by name. A map of
            bits, and a tensor of packed bits, comes as booleans, True for bit 1, and so leaves a result of bits.
        attrs, optional: attributes that must be there, and those that may be absent; with their checks.
        most_inputs: how many values it takes at most.
        gives: type of its result before the epilogue.
        roles: of its tensors, one set for each form that it has.
        tensors: what they must be; FormatError where one whose sides are free has none that can be.
        shape: of the result; FormatError where attributes, tensors and maps do not fit together.
        memory: what the core takes for a node of it, at most.
        products: multiply-accumulates of one image; binary ones (BOPs) where it runs as "1-bit", else real ones (MACs).
        runs_as: "1-bit", "int8", "float", or "moves data" where it only rearranges numbers.
        exact: its result is an integer, exactly; a `threshold` may follow.
        reads_halves: float16 is read as it is stored; other ops turn the whole map into float32 before they start.
        identity: its result is its input; it stands for the steps behind it.
        add_rank: an addition of two results goes into the epilogue of the node whose rank is higher.
        counterparts: the op that computes the same from values of another type, by that type.
        folds_as: attribute of other ops that does the same to their result.
        builders: method of the core's builder by the role of a tensor, where it is not called as the op.
        positions: entries that a table of the epilogue has per channel: pixels of the block that the op writes at once.
        spread: entries of tables by position (P, C), for every pixel of a result of so many rows and columns.
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
    positions: Callable[[Mapping[str, Any]], int] = _one_position
    spread: Callable[[NDArray[Any], tuple[int, int], Mapping[str, Any]], NDArray[Any]] = _everywhere


def round_up(count: int, unit: int) -> int:
    """The next multiple of ``unit``."""
    return -(-count // unit) * unit


def check_size(what: str, field: str, size: int, limit: int = MAX_TERMS) -> None:
    """FormatError where ``size`` of ``what`` pass the limit."""
    if size > limit:
        raise refusal(field, f"{size} {what}", f"{limit} at most")
