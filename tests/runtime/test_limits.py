"""Limits of the CPU, measured on the spot, and the speed inside the binary kernel."""

import pytest

from onebit.runtime.engine import usable_isas
from onebit.runtime.limits import Limits, kernel_rate, measure_limits

VECTORS = [isa for isa in usable_isas() if isa != "portable"]


@pytest.mark.parametrize("isa", VECTORS)
def test_limits_are_measured_once(isa):
    for threads in (1, 2):
        limits = measure_limits(isa, threads)
        assert limits is measure_limits(isa, threads)
        assert all(0 < rate < float("inf") for rate in (limits.binary, limits.int8, limits.float32))


@pytest.mark.parametrize("isa", VECTORS)
def test_rate_of_the_kernel(isa):
    assert 0 < kernel_rate(isa, (14, 14, 256), 256, repeats=3) < float("inf")


def test_portable_has_no_limit():
    assert measure_limits("portable") == Limits(0, 0, 0)


def test_mistakes():
    with pytest.raises(ValueError, match="isa=sse9 cannot run here"):
        measure_limits("sse9")
    with pytest.raises(ValueError, match="threads must be from 1 to 1024, got 0"):
        measure_limits("portable", 0)
    with pytest.raises(ValueError, match="isa=sse9 cannot run here"):
        kernel_rate("sse9", (7, 7, 64), 64)
    with pytest.raises(ValueError, match="from 1 to 8192, got 0"):
        kernel_rate("portable", (7, 7, 0), 64)
    with pytest.raises(ValueError, match="larger than the map"):
        kernel_rate("portable", (3, 3, 64), 64, side=5)
