"""The cold start: what it measures, and that nothing heavy creeps into it."""

import subprocess
import sys

import pytest

from onebit.format.file import save_graph
from onebit.runtime.cold import Steps, cold_start
from onebit.runtime.selftest import small_network

# None of these is needed to run a packed file, and each takes longer to import than the file to load.
HEAVY = ("torch", "lightning", "matplotlib", "rich", "jsonargparse", "PIL", "scipy", "jinja2", "kornia", "sklearn",
         "importlib.metadata", "email", "tempfile", "pathlib", "asyncio", "unittest", "multiprocessing")  # fmt: skip


@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    path = tmp_path_factory.mktemp("cold") / "small.onebit"
    save_graph(small_network(), path)
    return str(path)


def test_nothing_heavy_is_imported(packed):
    """Whatever NumPy itself imports does not count."""
    code = (
        "import sys, numpy, numpy.typing\nbefore = set(sys.modules)\nimport onebit\n"
        f"onebit.load({packed!r})(numpy.zeros((9, 9, 3), numpy.uint8))\n"
        f"print(*[name for name in {HEAVY} if name in sys.modules and name not in before])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_parts_of_a_cold_start(packed):
    found = cold_start(packed, count=3)
    assert found.cpu_seconds > 0
    assert found.count == 3
    steps = found.import_seconds, found.load_seconds, found.answer_seconds
    assert all(0 < step < found.seconds for step in steps)
    if sys.platform == "linux":
        assert found.peak_bytes is not None
        assert 1e7 < found.peak_bytes < 1e8  # not that of this process, whose torch alone is more


def test_other_steps_are_timed_one_by_one():
    steps = Steps(
        "import time\nprint('hello')", "time.sleep(0.03 * threads)", "assert path == 'a file'; time.sleep(0.02)"
    )
    found = cold_start("a file", threads=2, count=1, steps=steps)
    assert found.load_seconds > 0.06
    assert found.answer_seconds > 0.02
    with pytest.raises(RuntimeError, match="the fresh process failed: AssertionError"):
        cold_start("another", count=1, steps=steps)


def test_mistakes(tmp_path):
    with pytest.raises(ValueError, match="count must be at least 1, got 0"):
        cold_start("net.onebit", count=0)
    with pytest.raises(RuntimeError, match=r"the fresh process failed: FileNotFoundError: .*missing.onebit"):
        cold_start(str(tmp_path / "missing.onebit"), count=1)


def test_version_is_still_there():
    import onebit

    assert onebit.__version__.split(".")[0].isdigit()
    with pytest.raises(AttributeError, match="no attribute '__vresion__'"):
        onebit.__vresion__  # noqa: B018
