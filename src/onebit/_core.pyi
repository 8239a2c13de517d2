# Written by nanobind 3.1.0 from the compiled module: make stub
# ruff: noqa: C408
"""The C++ core of onebit."""

from typing import Annotated, overload

import numpy
from numpy.typing import NDArray

class Step:
    """One step of an epilogue; see docs/format.md."""

    @staticmethod
    def affine(
        scale: Annotated[NDArray[numpy.float32], dict(order="C", device="cpu", writable=False)],
        bias: Annotated[NDArray[numpy.float32], dict(order="C", device="cpu", writable=False)],
    ) -> Step: ...
    @staticmethod
    def slopes(
        positive: Annotated[NDArray[numpy.float32], dict(order="C", device="cpu", writable=False)],
        negative: Annotated[NDArray[numpy.float32], dict(order="C", device="cpu", writable=False)],
    ) -> Step: ...
    @staticmethod
    def clamp(low: float, high: float) -> Step: ...
    @staticmethod
    def add(input: str) -> Step: ...
    @staticmethod
    def levels(low: float, high: float, rule: str) -> Step: ...
    @staticmethod
    def binarize(
        output: str,
        rule: str,
        threshold: Annotated[NDArray[numpy.float32], dict(order="C", device="cpu", writable=False)] | None = None,
    ) -> Step: ...
    @staticmethod
    def threshold(
        output: str,
        below: Annotated[NDArray[numpy.int32], dict(order="C", device="cpu", writable=False)],
        flip: Annotated[NDArray[numpy.uint32], dict(order="C", device="cpu", writable=False)],
    ) -> Step: ...
    @staticmethod
    def store(output: str, type: str = "float32") -> Step: ...

class Builder:
    """
    Describes a network, one call per node in execution order; finish() returns the engine.
    """

    def __init__(
        self,
        input: str,
        shape: tuple[int, int, int],
        mean: Annotated[NDArray[numpy.float32], dict(order="C", device="cpu", writable=False)],
        std: Annotated[NDArray[numpy.float32], dict(order="C", device="cpu", writable=False)],
        threads: int = 1,
        isa: str = "",
        keep_values: bool = False,
        tune: bool = False,
        input_type: str = "float32",
        max_memory: int = 8589934592,
    ) -> None: ...
    def binary_conv2d(
        self,
        name: str,
        input: str,
        weight: Annotated[NDArray[numpy.uint32], dict(order="C", device="cpu", writable=False)],
        stride: tuple[int, int],
        padding: tuple[int, int],
        dilation: tuple[int, int],
        groups: int,
        pad_value: int,
        epilogue: list[Step],
        shuffle: int = 1,
    ) -> None: ...
    def binary_rpc2d(
        self,
        name: str,
        input: str,
        weight: Annotated[NDArray[numpy.uint32], dict(order="C", device="cpu", writable=False)],
        block: int,
        upscale: int,
        roll: int,
        pad_value: int,
        epilogue: list[Step],
    ) -> None: ...
    def rpc2d(
        self,
        name: str,
        input: str,
        weight: Annotated[NDArray[numpy.float32], dict(order="C", device="cpu", writable=False)],
        block: int,
        upscale: int,
        roll: int,
        epilogue: list[Step],
    ) -> None: ...
    def conv2d(
        self,
        name: str,
        input: str,
        weight: Annotated[NDArray[numpy.float32], dict(order="C", device="cpu", writable=False)],
        stride: tuple[int, int],
        padding: tuple[int, int],
        dilation: tuple[int, int],
        groups: int,
        epilogue: list[Step],
    ) -> None: ...
    def int8_conv2d(
        self,
        name: str,
        input: str,
        weight: Annotated[NDArray[numpy.int8], dict(order="C", device="cpu", writable=False)],
        zero: Annotated[NDArray[numpy.int32], dict(order="C", device="cpu", writable=False)],
        scale: Annotated[NDArray[numpy.float32], dict(order="C", device="cpu", writable=False)],
        stride: tuple[int, int],
        padding: tuple[int, int],
        dilation: tuple[int, int],
        groups: int,
        epilogue: list[Step],
    ) -> None: ...
    def conv2d_bits(
        self,
        name: str,
        input: str,
        weight_bits: Annotated[NDArray[numpy.uint32], dict(order="C", device="cpu", writable=False)],
        stride: tuple[int, int],
        padding: tuple[int, int],
        dilation: tuple[int, int],
        groups: int,
        epilogue: list[Step],
    ) -> None: ...
    def max_pool2d(
        self,
        name: str,
        input: str,
        kernel: tuple[int, int],
        stride: tuple[int, int],
        padding: tuple[int, int],
        epilogue: list[Step],
    ) -> None: ...
    def avg_pool2d(
        self,
        name: str,
        input: str,
        kernel: tuple[int, int],
        stride: tuple[int, int],
        padding: tuple[int, int],
        count_include_pad: bool,
        epilogue: list[Step],
    ) -> None: ...
    def bit_max_pool2d(
        self,
        name: str,
        input: str,
        flip: Annotated[NDArray[numpy.uint32], dict(order="C", device="cpu", writable=False)],
        kernel: tuple[int, int],
        stride: tuple[int, int],
        padding: tuple[int, int],
        epilogue: list[Step],
    ) -> None: ...
    def elementwise(self, name: str, input: str, epilogue: list[Step]) -> None: ...
    def flatten(self, name: str, input: str, epilogue: list[Step]) -> None: ...
    def pad_channels(self, name: str, input: str, before: int, after: int, epilogue: list[Step]) -> None: ...
    def shuffle_channels(self, name: str, input: str, groups: int, epilogue: list[Step]) -> None: ...
    def concat(self, name: str, inputs: list[str], epilogue: list[Step]) -> None: ...
    def gather2d(
        self,
        name: str,
        input: str,
        rows: Annotated[NDArray[numpy.int32], dict(order="C", device="cpu", writable=False)],
        columns: Annotated[NDArray[numpy.int32], dict(order="C", device="cpu", writable=False)],
        channels: Annotated[NDArray[numpy.int32], dict(order="C", device="cpu", writable=False)],
        fill: float,
        epilogue: list[Step],
    ) -> None: ...
    def depth_to_space(self, name: str, input: str, block: int, epilogue: list[Step]) -> None: ...
    def space_to_depth(self, name: str, input: str, block: int, epilogue: list[Step]) -> None: ...
    def finish(self, output: str) -> Engine:
        """
        Plans the memory of values, prepares the weights, and returns the engine.
        """

class Engine:
    """A network, ready to run."""

    @overload
    def run(
        self,
        images: Annotated[
            NDArray[numpy.float32], dict(shape=(None, None, None, None), order="C", device="cpu", writable=False)
        ],
    ) -> tuple[NDArray[numpy.float32], NDArray[numpy.int64]]:
        """(results, time of each node in ns) for normalized float32 NHWC images."""

    @overload
    def run(
        self,
        images: Annotated[
            NDArray[numpy.uint8], dict(shape=(None, None, None, None), order="C", device="cpu", writable=False)
        ],
    ) -> tuple[NDArray[numpy.float32], NDArray[numpy.int64]]:
        """(results, time of each node in ns) for uint8 NHWC pixels."""

    def nodes(self) -> list[tuple[str, str, tuple[int, int, int], str, int]]:
        """(name, op, output shape, kernel, multiply-accumulates) of every node."""

    def values(self) -> dict[str, NDArray]:
        """
        Values of the last image by name; float16 as uint16. Requires keep_values.
        """

    @property
    def isa(self) -> str: ...
    @property
    def threads(self) -> int: ...
    @property
    def memory(self) -> dict[str, int]:
        """Bytes of 'values', of 'scratch', and of prepared 'weights' and tables."""

def isas() -> list[tuple[str, bool, bool, bool]]:
    """
    (name, built, supported by this CPU, chosen) of every instruction set, worst first.
    """

def kernels() -> list[tuple[str, str, str]]:
    """
    (family, name, instruction set) of every kernel of this build, best first.
    """

def limits(isa: str, threads: int = 1) -> dict[str, float]:
    """
    Peak multiply-accumulates per second of so many threads together, by type; 0 if not known.
    """

def time_binary_kernel(isa: str, shape: tuple[int, int, int], out_channels: int, side: int, repeats: int) -> float:
    """Least time, in seconds, of the kernel of a binary convolution alone."""

def tuned_kernels() -> dict[str, str]:
    """The results of tuning in this process: layer -> kernel."""

def set_tuned_kernels(kernels: dict[str, str]) -> None:
    """Adds results of tuning; these layers are not timed again."""

def cpu_name() -> str:
    """The CPU's own description of itself."""
