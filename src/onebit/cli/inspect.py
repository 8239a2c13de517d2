"""``onebit inspect``: the contents of a packed file, layer by layer."""

from typing import TYPE_CHECKING, Any

from onebit.cli.base import add_packed_file, packed_file_of, verb_parser
from onebit.text import format_bytes, text_table

if TYPE_CHECKING:
    from jsonargparse import Namespace


def parse(argv: list[str]) -> "Namespace":
    """Read the command line."""
    from jsonargparse import Namespace

    parser = verb_parser(
        "inspect",
        "Print the contents of a packed network: per layer its shape, bits, bytes, MACs, BOPs and OPs, how it runs, "
        "and why a layer is not binary.",
        "onebit inspect net.onebit",
    )
    add_packed_file(parser)
    args = parser.parse_args(argv)
    assert isinstance(args, Namespace)
    args.file = packed_file_of(args)
    return args


def run(args: "Namespace") -> dict[str, Any]:
    """{file, input, activation_dtype, memory_bytes, classes, provenance, layers, total, table}."""
    from dataclasses import asdict
    from pathlib import Path

    from onebit.format.file import load_graph
    from onebit.format.graph import activation_dtype_of
    from onebit.format.memory import bytes_to_load
    from onebit.format.summary import summarize

    graph = load_graph(args.file)
    summary = summarize(graph, Path(args.file).stat().st_size)
    return {
        "file": args.file,
        "input": asdict(graph.input),
        "activation_dtype": activation_dtype_of(graph),
        "memory_bytes": bytes_to_load(graph),
        "classes": list(graph.classes) if graph.classes is not None else None,
        "provenance": dict(graph.provenance),
        **summary.as_dict(),
        "table": str(summary),
    }


def show(result: dict[str, Any]) -> None:
    """Print the table, after the facts about the whole file."""
    spec, classes = result["input"], result["classes"]
    size = f"{spec['height']}x{spec['width']}x{spec['channels']}"
    facts = [
        ("file", f"{result['file']}, {result['total']['file_bytes']} bytes"),
        ("input", f"{size} {spec['color']} {spec['type']}, mean {spec['mean']}, std {spec['std']}"),
        ("activations", result["activation_dtype"]),
        ("memory", f"up to {format_bytes(result['memory_bytes'])} in addition to the file, one thread, on any CPU"),
    ]
    if fit := spec["fit"]:
        kept = "" if fit["crop_pct"] == 1 else f" to {fit['crop_pct']:.4g} of each side"
        facts.insert(2, ("pictures", fit["resize"] + kept))
    if classes:
        facts.append(("classes", f"{len(classes)}: {', '.join(classes)}"))
    print(text_table([*facts, *result["provenance"].items()]))
    print(result["table"])
