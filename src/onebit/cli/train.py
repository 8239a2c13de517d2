"""``onebit train``: every field of a recipe is a flag; the rest is where to read and where to write."""

from argparse import SUPPRESS
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from onebit.cli.base import share_cores, verb_parser

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser, Namespace

    from onebit.train import TrainSettings

DESCRIPTION = """\
Train a network and leave model, record, curve and checkpoints in the folder --out.

RECIPE is a name from 'onebit zoo recipes'; the flags change single settings of it.  --print_config prints the
settings as YAML, which --config reads back.  Interrupted or killed runs go on with --resume and end with the same
weights as a run that was left alone."""


def build_parser(base: "TrainSettings | None") -> "ArgumentParser":
    """The parser; ``base`` gives the settings their defaults, without it those without one are required."""
    from onebit.train import TrainSettings

    parser = verb_parser(
        "train", DESCRIPTION, "onebit train vgg-small-digits --epochs 3 --model_options.width 0.5 --out runs/digits"
    )
    # Left out, it must not override the name that a file of settings gives: hence no default.
    parser.add_argument("recipe", nargs="?", metavar="RECIPE", default=SUPPRESS, help="named settings to start from")
    parser.add_argument("--out", type=Path, help="folder of the run (default: runs/RECIPE)")
    parser.add_argument("--data_dir", type=Path, help="folder of the data set (default: the environment's ONEBIT_DATA)")
    parser.add_argument("--resume", action="store_true", help="go on with the run in --out, with the settings it had")
    parser.add_argument("--config", action="config", help="YAML file of settings, as --print_config prints them")
    parser.add_class_arguments(TrainSettings, nested_key=None, as_group=False)
    if base is not None:
        parser.set_defaults(asdict(base))
    return parser


def parse(argv: list[str]) -> "Namespace":
    """Read the command line twice: first for the name of the recipe, then with that recipe's settings as defaults."""
    share_cores()
    from onebit.recipes import RECIPES
    from onebit.train import stored_settings

    any_recipe = RECIPES[next(iter(RECIPES))]()
    early_exits = ("-h", "--help", "--print_config")
    first_argv = [word for word in argv if word.partition("=")[0] not in early_exits]
    first = build_parser(any_recipe).parse_args(first_argv)
    base: TrainSettings | None = None
    recipe: str | None = None
    named = first.get("recipe")
    if first.resume and first.out is not None and named is None:
        base, recipe = stored_settings(first.out)
    elif named is not None:
        base, recipe = RECIPES[named](), named
    elif first_argv == argv and first.config is None:
        raise ValueError("name a recipe ('onebit zoo recipes' lists them) or give --config; see 'onebit train --help'")
    args = build_parser(base).parse_args(argv)
    args.recipe = recipe
    settings_of(args)  # its checks belong to the command line
    return args


def settings_of(args: "Namespace") -> "TrainSettings":
    """The settings among the arguments; ValueError if one is out of range."""
    from onebit.train import TrainSettings

    return TrainSettings(**{field.name: args[field.name] for field in fields(TrainSettings)})


def run(args: "Namespace") -> dict[str, Any]:
    """Train; returns the result's fields."""
    from onebit.train import train

    out = args.out or Path("runs") / (args.recipe or "unnamed")
    result = train(settings_of(args), out, data_dir=args.data_dir, recipe=args.recipe, resume=args.resume)
    return asdict(result)


def show(result: dict[str, Any]) -> None:
    """Print what came out and where it lies."""
    print(
        f"test accuracy {result['accuracy']:.2%} after {result['epochs']} epochs in {result['seconds']:.0f} s "
        f"(best {result['best_accuracy']:.2%} in epoch {result['best_epoch']})"
    )
    print(f"model, record and curve: {result['out']}")
