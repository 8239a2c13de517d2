"""``onebit zoo``: the trained networks and the contents of the registries of this installation."""

import importlib
from typing import TYPE_CHECKING, Any

from onebit.cli.base import Failure, add_zoo_folder, verb_parser
from onebit.text import text_table

if TYPE_CHECKING:
    from jsonargparse import Namespace

    from onebit.zoo import Card

TRAINED = "trained"
# Kind -> the module and attribute that hold its registry.
REGISTRIES = {
    "models": ("onebit.models", "MODELS"),
    "schemes": ("onebit.nn", "SCHEMES"),
    "recipes": ("onebit.recipes", "RECIPES"),
    "tasks": ("onebit.tasks", "TASKS"),
    "methods": ("onebit.methods", "METHODS"),
    "datasets": ("onebit.data", "DATASETS"),
    "estimators": ("onebit.binarize", "ESTIMATORS"),
}
TRAINED_HEADER = ("name", "data set", "score", "file", "start", "OPs", "ms", "measured on", "license of the data")
HEADER = ("network", "input", "parameters", "file", "FLOPs", "BOPs", "OPs", "published", "trained by", "source")


def parse(argv: list[str]) -> "Namespace":
    """Read the command line."""
    from jsonargparse import Namespace

    parser = verb_parser(
        "zoo",
        "List what can be named on the command line. 'onebit zoo trained' lists trained networks, taken as zoo:NAME, "
        "with the numbers of their model cards. 'onebit zoo models' adds what each network costs at its standard "
        "sizes, and what the literature reports for it; nothing of that was measured here but the size of the file.",
        "onebit zoo trained",
    )
    parser.add_argument("kind", nargs="?", choices=[TRAINED, *REGISTRIES], help="list this kind only")
    parser.add_argument("--bench", action="store_true", help="of trained networks: time them here (a second each)")
    add_zoo_folder(parser)
    args = parser.parse_args(argv)
    assert isinstance(args, Namespace)
    if args.bench and args.kind != TRAINED:
        raise ValueError("--bench times trained networks: onebit zoo trained --bench")
    return args


def run(args: "Namespace") -> dict[str, Any]:
    """The names of every kind with the first line of their documentation: {kind: {name: line}}.

    For the kind "models" alone, "networks" is added: one row per network and standard size.  For the kind "trained"
    alone, "cards" is added: the model cards, their speed measured here if that was asked for.
    """
    wanted = [args.kind] if args.kind else [TRAINED, *REGISTRIES]
    listing: dict[str, Any] = {}
    if TRAINED in wanted:
        cards = trained_networks(args)
        listing[TRAINED] = {name: str(card) for name, card in cards.items()}
        if args.kind:
            listing["cards"] = [card.as_json() for card in cards.values()]
    for kind in (kind for kind in wanted if kind in REGISTRIES):
        module, attribute = REGISTRIES[kind]
        registry = getattr(importlib.import_module(module), attribute)
        listing[kind] = {name: first_line(registry[name]) for name in registry}
    if args.kind == "models":
        listing["networks"] = networks()
    return listing


def trained_networks(args: "Namespace") -> "dict[str, Card]":
    """The cards by name; with ``--bench`` their speed is that of now and here, where the packed file is at hand."""
    from dataclasses import replace

    from onebit.zoo import load, measure_speed, trained

    folder = args["from"]
    try:
        cards = trained(folder)
        for name in cards if args.bench else ():
            try:
                speed = measure_speed(load(name, folder=folder).graph)
            except FileNotFoundError:  # a large network of which the card alone ships
                continue
            cards[name] = replace(cards[name], speed=speed)
    except (OSError, ValueError) as error:
        raise Failure(str(error)) from None
    return cards


def networks() -> list[dict[str, Any]]:
    """Costs and published results of the networks at their standard sizes."""
    from dataclasses import asdict

    from onebit.models import build
    from onebit.nn.cost import count_cost
    from onebit.zoo.networks import NETWORKS, file_sizes

    sizes = file_sizes()
    rows = []
    for network in NETWORKS:
        cost = count_cost(build(network, device="meta"), network.input_shape)
        rows.append(
            {
                "name": network.name,
                "model": network.model,
                "options": network.options,
                "input": list(network.input_shape),
                "num_classes": network.num_classes,
                "file_bytes": sizes[network.name],
                **cost.as_dict()["total"],
                "results": [asdict(result) for result in network.results],
            }
        )
    return rows


def first_line(item: object) -> str:
    """The description of an object, or the first line of its docstring."""
    if not isinstance(item, type) and hasattr(item, "describe"):
        return str(item.describe())
    text = (getattr(item, "__doc__", None) or "").strip()
    return text.splitlines()[0] if text else ""


def show(result: dict[str, Any]) -> None:
    """Print one block per kind; for trained networks and for models alone, their table."""
    if "cards" in result:
        _show_cards(result["cards"])
        return
    for kind, names in result.items():
        if kind == "networks":
            _show_networks(names)
            continue
        print(f"{kind}:")
        print(text_table(list(names.items()), indent="  "))


def _show_cards(cards: list[dict[str, Any]]) -> None:
    """A line per trained network."""
    from onebit.format.summary import short
    from onebit.zoo.card import Measured

    table = [
        (
            card["name"],
            card["data"]["name"],
            f"{card['scores']['score']} {Measured(**card['scores']).text}",
            f"{card['file']['bytes'] / 1e3:,.0f} kB",
            f"{card['start']['bytes'] / 1e3:,.0f} kB" if card["start"] else "",
            short(card["cost"]["ops"]),
            f"{card['speed']['median_ms']:.3g}",
            f"{card['speed']['machine']} ({card['speed']['isa']})",
            card["data"]["license"],
        )
        for card in cards
    ]
    print(text_table(table, header=TRAINED_HEADER))
    print("score: of the packed file on all n test images; ms: one image on one thread, median")
    print("start: size of the weights that 'onebit train --start_from zoo:NAME' goes on from")


def _show_networks(rows: list[dict[str, Any]]) -> None:
    """A line per network, and one more for each further result."""
    from onebit.format.summary import short

    table: list[tuple[str, ...]] = []
    for row in rows:
        options = ",".join(f"{name}={value}" for name, value in row["options"].items())
        side = "x".join(map(str, row["input"][1:]))
        costs = tuple(short(row[name]) for name in ("parameters", "file_bytes", "flops", "bops", "ops"))
        first: tuple[str, ...] = (f"{row['model']} {options}".rstrip(), side, *costs)
        for result in row["results"] or [None]:
            table.append((*first, *_told(result)))
            first = ("",) * len(first)
    print("\nnetworks, with results of the literature (none measured here):")
    print(text_table(table, header=HEADER, indent="  "))


def _told(result: dict[str, Any] | None) -> tuple[str, str, str]:
    """Accuracy, training and source of one published result."""
    if result is None:
        return ("", "", "")
    accuracy = f"{result['dataset']} {result['top1']:.1f}" + (f"/{result['top5']:.1f}" if result["top5"] else "")
    note = f" ({result['note']})" if result["note"] else ""
    return (accuracy, result["training"], result["source"] + note)
