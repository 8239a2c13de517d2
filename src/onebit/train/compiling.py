"""Whether torch.compile is worth its minute of compiling for a run."""

import os
import shutil

from torch import Tensor, nn

from onebit.nn import count_cost

# Compiling pays when the eager run would take longer than compiling and the compiled run together.  Measured with
# ResNet-20: 10 to 60 s to compile; then a step is 1.2 times faster on one machine, 4 times on another.  Eagerly a core
# does 3e10 to 6e10 operations a second.
WORTHWHILE_CPU = 2e13
WORTHWHILE_GPU = 2e15


def operations_per_example(network: nn.Module, example: tuple[Tensor, ...]) -> int:
    """Floating-point operations (a multiply-add is 2) of one forward pass for ``example``, a batch of one."""
    cost = count_cost(network, *((each.shape[1], each.shape[2], each.shape[3]) for each in example))
    return 2 * (cost.flops + cost.bops)


def compile_pays(network: nn.Module, example: tuple[Tensor, ...], examples: int) -> bool:
    """Whether training on ``examples`` examples in all is enough work; always the same answer for the same run."""
    device = next(network.parameters()).device
    work = 3 * operations_per_example(network, example) * examples  # backward costs two forwards
    if device.type == "cpu":
        return work > WORTHWHILE_CPU and has_compiler()
    return work > WORTHWHILE_GPU


def has_compiler() -> bool:
    """Whether there is a C++ compiler, which torch.compile needs on a CPU."""
    return any(shutil.which(name) for name in (os.environ.get("CXX") or "g++", "clang++"))
