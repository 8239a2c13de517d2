"""The compiled core at its edges: memory, interruption, forks, names."""

import ast
import inspect
import multiprocessing
import os
import re
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest

import onebit
import onebit._core as _core
from onebit.format.graph import Graph, InputSpec, Node
from onebit.runtime.engine import Engine
from onebit.runtime.selftest import small_network

SPEC = InputSpec(8, 8, 64, (0.5,) * 64, (0.25,) * 64, "other")


def convolution(name: str, weight: str = "w", **attrs: object) -> Node:
    attrs = {"stride": (1, 1), "padding": (0, 0), "dilation": (1, 1), "groups": 1, **attrs}
    return Node(name, "conv2d", ("image",), attrs, {"weight": weight}, ({"step": "store", "output": f"{name}.y"},))


def run_alone(code: str, seconds: int = 60) -> str:
    """What ``code`` prints in a process of its own, which must end well within ``seconds``."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=seconds, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def test_nodes_share_the_weights_that_they_name():
    """400 nodes with one tensor take the memory of one."""
    tensors = {"w": np.ones((64, 1, 1, 64), np.float32)}
    one = Engine(Graph(SPEC, (convolution("a"),), "a.y", tensors))._core.memory["weights"]
    nodes = tuple(convolution(f"n{i}") for i in range(400))
    assert Engine(Graph(SPEC, nodes, "n0.y", tensors))._core.memory["weights"] == one
    assert one >= tensors["w"].nbytes


def test_steps_share_their_tables():
    """A thousand steps with the same two tables take the memory of one."""
    tensors = {"scale": np.ones(64, np.float32), "bias": np.ones(64, np.float32)}

    def weights(steps: int) -> int:
        step = {"step": "affine", "scale": "scale", "bias": "bias"}
        node = Node("n", "elementwise", ("image",), epilogue=(*[step] * steps, {"step": "store", "output": "y"}))
        return Engine(Graph(SPEC, (node,), "y", tensors))._core.memory["weights"]

    assert weights(1000) == weights(1)


def test_memory_says_what_is_taken():
    memory = Engine(small_network(), threads=2)._core.memory
    assert set(memory) == {"values", "scratch", "weights"}
    assert all(size > 0 for size in memory.values())


def test_a_network_over_the_limit_is_refused_by_name():
    image, weight = np.full(64, 0.5, np.float32), np.ones((64, 3, 3, 64), np.float32)
    builder = _core.Builder("x", (8, 8, 64), image, image, max_memory=100_000)
    geometry = {"stride": (1, 1), "padding": (0, 0), "dilation": (1, 1), "groups": 1}
    with pytest.raises(ValueError, match="big: up to here weights and tables take more than max_memory = 100000 bytes"):
        builder.conv2d("big", "x", weight, epilogue=[_core.Step.store("y")], **geometry)


@pytest.mark.skipif(sys.platform != "linux", reason="limits the address space")
def test_out_of_memory_is_an_error_wherever_it_strikes():
    """Loading and running with little memory, with a little more, and so on until it works."""
    printed = run_alone(
        """
        import resource
        import numpy as np
        from onebit.format.graph import Graph, InputSpec, Node
        from onebit.runtime.engine import Engine

        spec = InputSpec(16, 16, 64, (0.5,) * 64, (0.25,) * 64, "other")
        attrs = {"stride": (1, 1), "padding": (1, 1), "dilation": (1, 1), "groups": 1}
        tensors, nodes = {}, []
        for i in range(20):
            tensors[f"w{i}"] = np.ones((512, 3, 3, 64), np.float32)
            steps = ({"step": "store", "output": f"y{i}"},)
            nodes.append(Node(f"n{i}" * 300, "conv2d", ("image",), attrs, {"weight": f"w{i}"}, steps))
        graph = Graph(spec, tuple(nodes), "y0", tensors)
        images = np.zeros((8, 16, 16, 64), np.float32)
        refused = 0
        with open("/proc/self/statm") as file:
            taken = int(file.read().split()[0]) * resource.getpagesize()
        for headroom in range(0, 1 << 28, 1 << 21):
            resource.setrlimit(resource.RLIMIT_AS, (taken + headroom, resource.RLIM_INFINITY))
            try:
                Engine(graph).run(images)
                break
            except MemoryError:
                refused += 1
            finally:
                resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY,) * 2)
        print(refused, headroom >> 20)
        """
    )
    refused, megabytes = map(int, printed.split())
    assert refused >= 5
    assert 20 < megabytes < 100  # 23 MiB of weights: prepared once, with nothing copied beside them


class Stop(Exception):
    pass


def test_a_signal_ends_a_long_run_and_the_engine_still_works():
    engine = Engine(Graph(SPEC, (convolution("n"),), "n.y", {"w": np.ones((64, 1, 1, 64), np.float32)}), isa="portable")
    images = np.zeros((1, 8, 8, 64), np.float32)
    want = engine.run(images)

    def stop(*_: object) -> None:
        raise Stop

    def run(batch: np.ndarray) -> None:
        for _ in range(1000):
            engine.run(batch)

    before = signal.signal(signal.SIGALRM, stop)
    try:
        many = np.zeros((20_000, 8, 8, 64), np.float32)
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        started = time.perf_counter()
        with pytest.raises(Stop):
            run(many)
        assert time.perf_counter() - started < 30
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert np.array_equal(engine.run(images), want)


FORKS = """
    import os, sys, threading
    import numpy as np
    from onebit.runtime.engine import Engine
    from onebit.runtime.selftest import small_network

    engine = Engine(small_network(), threads=2)
    images = np.zeros((4, 9, 9, 3), np.float32)
    want = engine.run(images)

    def in_child(work):
        child = os.fork()
        if child == 0:
            os._exit(0 if work() else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
def test_a_child_drops_runs_and_loads_engines():
    run_alone(
        FORKS
        + """
    def drop():
        global engine
        del engine
        return np.array_equal(Engine(small_network(), threads=2).run(images), want)

    in_child(lambda: np.array_equal(engine.run(images), want))
    in_child(drop)
    in_child(lambda: (in_child(lambda: np.array_equal(engine.run(images), want)), True)[1])
    assert np.array_equal(engine.run(images), want)
"""
    )


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
def test_a_fork_while_another_thread_runs():
    run_alone(
        FORKS
        + """
    stop = False
    def go():
        while not stop:
            engine.run(images)
    other = threading.Thread(target=go)
    other.start()
    for _ in range(20):
        in_child(lambda: np.array_equal(engine.run(images), want))
    stop = True
    other.join()
"""
    )


def _run_inherited(images: np.ndarray) -> np.ndarray:
    return _INHERITED[0].run(images)


_INHERITED: list[Engine] = []


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
def test_workers_of_multiprocessing_run_an_inherited_engine():
    engine = Engine(small_network(), threads=2)
    images = np.zeros((4, 9, 9, 3), np.float32)
    _INHERITED[:] = [engine]
    try:
        with multiprocessing.get_context("fork").Pool(2) as pool:
            results = pool.map_async(_run_inherited, [images] * 4).get(timeout=60)
    finally:
        _INHERITED.clear()
    assert all(np.array_equal(got, engine.run(images)) for got in results)


@pytest.mark.parametrize("name", ["\ud800", "a\udfff"])
def test_a_name_with_half_a_surrogate_pair_is_refused(name):
    one = np.ones(1, np.float32)
    with pytest.raises(ValueError, match="half of a surrogate pair"):
        _core.Builder(name, (1, 1, 1), one, one)
    builder = _core.Builder("x", (1, 1, 1), one, one)
    with pytest.raises(ValueError, match="half of a surrogate pair"):
        builder.elementwise(name, "x", [_core.Step.store("y")])
    with pytest.raises(ValueError, match="half of a surrogate pair"):
        builder.concat("n", ["x", name], [_core.Step.store("y")])


def test_names_of_any_other_kind_come_back_as_they_were():
    one = np.ones(1, np.float32)
    builder = _core.Builder("x", (1, 1, 1), one, one, keep_values=True)
    for name in ("a\0b", "é", "\U0001f600", "a\nb"):
        builder.elementwise(name, "x", [_core.Step.store(name + "y")])
    engine = builder.finish("éy")
    engine.run(np.ones((1, 1, 1, 1), np.float32))
    assert [row[0] for row in engine.nodes()] == ["a\0b", "é", "\U0001f600", "a\nb"]
    assert list(engine.values()) == ["a\0by", "éy", "\U0001f600y", "a\nby"]


def test_wrong_arguments_are_refused_in_words():
    one = np.ones(1, np.float32)
    with pytest.raises(ValueError, match=re.escape("shape must be (height, width, channels), integers >= 0")):
        _core.Builder("x", (1, -1, 1), one, one)
    builder = _core.Builder("x", (1, 1, 1), one, one)
    with pytest.raises(ValueError, match=re.escape("a pair must be (vertical, horizontal), integers >= 0")):
        builder.max_pool2d("p", "x", (1, 1), (1, 1, 1), (0, 0), [_core.Step.store("y")])
    with pytest.raises(TypeError, match="epilogue must be a list of Step"):
        builder.elementwise("n", "x", ["store"])  # type: ignore[list-item]
    with pytest.raises(TypeError, match="inputs must be a list of str"):
        builder.concat("n", [1], [_core.Step.store("y")])  # type: ignore[list-item]
    with pytest.raises(TypeError, match="kernels must be a dict of str to str"):
        _core.set_tuned_kernels({"layer": 1})  # type: ignore[dict-item]


def test_the_stub_holds_the_types_of_the_compiled_module():
    """What ``make stub`` wrote, by the same version of nanobind, which decides how types are spelled."""
    nanobind, stubgen = pytest.importorskip("nanobind"), pytest.importorskip("nanobind.stubgen")
    found = (Path(onebit.__file__).parent / "_core.pyi").read_text()
    if nanobind.__version__ not in found.splitlines()[0]:
        pytest.skip("written by another version of nanobind")
    generator = stubgen.StubGen(_core, quiet=True)
    generator.put(_core)

    def plain(text: str) -> str:
        tree = ast.parse(text)
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                node.value = inspect.cleandoc(node.value)
        return ast.dump(tree)

    assert plain(generator.get()) == plain(found), "run make stub"
