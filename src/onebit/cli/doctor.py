"""``onebit doctor``: check this installation and what this CPU supports."""

from typing import TYPE_CHECKING, Any

from onebit.cli.base import verb_parser
from onebit.text import text_table

if TYPE_CHECKING:
    from jsonargparse import Namespace

_OPTIONAL = ("torch", "lightning", "kornia", "sklearn", "matplotlib", "PIL")


def parse(argv: list[str]) -> "Namespace":
    """Read the command line."""
    from jsonargparse import Namespace

    parser = verb_parser(
        "doctor",
        "Report what this installation and this CPU support, and check the results of the core.",
        "onebit doctor",
    )
    args = parser.parse_args(argv)
    assert isinstance(args, Namespace)
    return args


def run(args: "Namespace") -> dict[str, Any]:
    """{version, python, machine, isas, chosen, forced, libraries, self_test}; and errors if the core computes wrong
    results.
    """
    import os
    import platform
    from importlib.util import find_spec

    import onebit
    from onebit.runtime.cpu import describe
    from onebit.runtime.engine import isa_table

    table = isa_table()
    result: dict[str, Any] = {
        "version": onebit.__version__,
        "python": platform.python_version(),
        "machine": describe(),
        "isas": table,
        "forced": os.environ.get("ONEBIT_ISA"),
        "libraries": {name: _version(name) if find_spec(name) else None for name in _OPTIONAL},
        "self_test": _self_test(),
    }
    if not all(row["passed"] for row in result["self_test"]):
        result["errors"] = ["the core computes wrong results here; please report this with the lines above"]
    return result


def _version(name: str) -> str:
    from importlib.metadata import PackageNotFoundError, packages_distributions, version

    try:
        return version(packages_distributions().get(name, [name])[0])
    except PackageNotFoundError:
        return "installed"


def _self_test() -> list[dict[str, Any]]:
    """Check every op, in four small networks on noise, with every usable instruction set against the reference."""
    import numpy as np

    from onebit.runtime.parity import check_kernels
    from onebit.runtime.selftest import block_network, moving_network, pixel_network, small_network

    rows = []
    networks = {"plain": small_network, "blocks": block_network, "int8": pixel_network, "moves": moving_network}
    for name, graph in ((name, network()) for name, network in networks.items()):
        spec = graph.input
        shape = (2, spec.height, spec.width, spec.channels)
        images = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
        rows += [{"network": name, **row} for row in check_kernels(graph, images)]
    return rows


def show(result: dict[str, Any]) -> None:
    """Print the report."""
    print(f"onebit {result['version']}, Python {result['python']}, {result['machine']}")
    print(text_table([(row["isa"], _state(row)) for row in result["isas"]], indent="  "))
    if result["forced"]:
        print(f"  forced by ONEBIT_ISA={result['forced']}")
    libraries = [(name, version or "not installed") for name, version in result["libraries"].items()]
    print(text_table(libraries, indent="  "))
    tests = [
        ("self-test", row["network"], row["isa"], "ok" if row["passed"] else f"FAILED at {row['where']}")
        for row in result["self_test"]
    ]
    print(text_table(tests, indent="  "))


def _state(row: dict[str, Any]) -> str:
    if row["chosen"]:
        return "in use"
    if row["usable"]:
        return "can run"
    return "not on this CPU" if row["built"] else "not in this build"
