"""``onebit zoo``: what this installation can train and run, read from the registries."""

import importlib
from typing import TYPE_CHECKING, Any

from onebit.cli.base import verb_parser

if TYPE_CHECKING:
    from jsonargparse import Namespace

# Kind -> the module and attribute that hold its registry.
REGISTRIES = {
    "models": ("onebit.models", "MODELS"),
    "schemes": ("onebit.nn", "SCHEMES"),
    "recipes": ("onebit.recipes", "RECIPES"),
    "methods": ("onebit.methods", "METHODS"),
    "datasets": ("onebit.data", "DATASETS"),
    "estimators": ("onebit.binarize", "ESTIMATORS"),
}


def parse(argv: list[str]) -> "Namespace":
    """Read the command line."""
    from jsonargparse import Namespace

    parser = verb_parser("zoo", "List what can be named on the command line.", "onebit zoo recipes")
    parser.add_argument("kind", nargs="?", choices=list(REGISTRIES), help="list this kind only")
    args = parser.parse_args(argv)
    assert isinstance(args, Namespace)
    return args


def run(args: "Namespace") -> dict[str, Any]:
    """Every kind's names with the first line of their documentation: {kind: {name: line}}."""
    kinds = [args.kind] if args.kind else list(REGISTRIES)
    listing: dict[str, dict[str, str]] = {}
    for kind in kinds:
        module, attribute = REGISTRIES[kind]
        registry = getattr(importlib.import_module(module), attribute)
        listing[kind] = {name: first_line(registry[name]) for name in registry}
    return listing


def first_line(item: object) -> str:
    """What an object says of itself, or the first line of its docstring."""
    if hasattr(item, "describe"):
        return str(item.describe())
    text = (getattr(item, "__doc__", None) or "").strip()
    return text.splitlines()[0] if text else ""


def show(result: dict[str, Any]) -> None:
    """Print one block per kind."""
    for kind, names in result.items():
        print(f"{kind}:")
        width = max(map(len, names), default=0)
        for name, line in names.items():
            print(f"  {name:<{width}}  {line}".rstrip())
