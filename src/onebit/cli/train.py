"""``onebit train``: every field of a recipe is a flag; the rest is where to read and where to write."""

import re
import shlex
from argparse import SUPPRESS
from dataclasses import MISSING, asdict, field, fields, make_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from onebit.cli.base import Failure, add_zoo_folder, as_flags, share_cores, verb_parser

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser, Namespace

    from onebit.train import TrainSettings

USAGE = "onebit train RECIPE [--out FOLDER] [--SETTING VALUE ...]\n       onebit train --out FOLDER --resume"
DESCRIPTION = """\
Train a network and leave model, record, curve and checkpoints in the folder --out.

RECIPE is a name from 'onebit zoo recipes'; the flags change single settings of it.  --print_config prints the
settings as YAML, which --config reads back in the place of a recipe.  A run that was interrupted or killed goes on with
--resume, on the same data, and ends with the same weights as a run that was left alone."""


def build_parser(base: "TrainSettings | None") -> "ArgumentParser":
    """The parser; ``base`` gives the settings their defaults, without it those that have none are null."""
    from onebit.train import TrainSettings

    example = "onebit train vgg-small-digits --epochs 3 --model_options.width 0.5 --out runs/digits"
    parser = verb_parser("train", DESCRIPTION, example, usage=USAGE)
    # Left out, it must not override the name that a file of settings gives: hence no default.
    parser.add_argument("recipe", nargs="?", metavar="RECIPE", default=SUPPRESS, help="named settings to start from")
    parser.add_argument("--out", type=Path, help="folder of the run (default: runs/RECIPE)")
    parser.add_argument("--data_dir", type=Path, help="folder of the data set (default: the environment's ONEBIT_DATA)")
    add_zoo_folder(parser)
    parser.add_argument("--resume", action="store_true", help="go on with the run in --out, with the settings it had")
    parser.add_argument("--config", action="config", help="YAML file of settings, as --print_config prints them")
    # A recipe or a file gives the settings without a default; the parser must not ask for them.
    given = [(name, kind, field(default=None, kw_only=True)) for name, kind in required_settings().items()]
    flags = make_dataclass("Flags", given, bases=(TrainSettings,), frozen=True, kw_only=True)
    flags.__doc__ = TrainSettings.__doc__
    parser.add_class_arguments(flags, nested_key=None, as_group=False)
    if base is not None:
        parser.set_defaults(asdict(base))
    return parser


def required_settings() -> dict[str, Any]:
    """Name and type of each setting without a default."""
    from onebit.train import TrainSettings

    return {f.name: f.type for f in fields(TrainSettings) if f.default is MISSING and f.default_factory is MISSING}


def parse(argv: list[str]) -> "Namespace":
    """Read the command line twice: first for the name of the recipe, then with that recipe's settings as defaults."""
    share_cores()
    try:
        return _parse(argv)
    except ValueError as error:
        raise ValueError(_in_flags(error)) from error


def _parse(argv: list[str]) -> "Namespace":
    from onebit.recipes import RECIPES
    from onebit.train import stored_settings

    early_exits = ("-h", "--help", "--print_config")
    first_argv = [word for word in argv if word.partition("=")[0] not in early_exits]
    first = build_parser(None).parse_args(first_argv)
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
    if missing := [name for name in required_settings() if args[name] is None]:
        raise ValueError(f"the settings leave out {', '.join(missing)}; add them, or name a recipe to start from")
    settings_of(args)  # its checks belong to the command line
    return args


def settings_of(args: "Namespace") -> "TrainSettings":
    """The settings among the arguments; ValueError if one is out of range."""
    from onebit.train import TrainSettings

    return TrainSettings(**{each.name: args[each.name] for each in fields(TrainSettings)})


def run(args: "Namespace") -> dict[str, Any]:
    """Train; {task, out, score, the scores of the model that was kept, best_... and last_..., epochs, ...}."""
    from onebit.train import Interrupted, train

    out = args.out or Path("runs") / (args.recipe or "unnamed")
    settings = settings_of(args)
    try:
        result = train(settings, out, data_dir=args.data_dir, recipe=args.recipe, resume=args.resume, zoo=args["from"])
    except Interrupted as stop:
        data = f" --data_dir {shlex.quote(str(args.data_dir))}" if args.data_dir else ""
        raise KeyboardInterrupt(
            f"interrupted after step {stop.step} of {stop.steps}; "
            f"go on with: onebit train --out {shlex.quote(str(out))}{data} --resume"
        ) from stop
    except ValueError as error:
        raise Failure(_in_flags(error)) from error
    except FileNotFoundError as error:
        if error.strerror:  # of the system
            raise
        raise Failure(str(error).replace("folder=", "--from")) from error
    return {"task": settings.task, "out": result.out, **result.as_json()}


def _in_flags(error: ValueError) -> str:
    """A message of the library for the command line; names that are ordinary words stay as they are."""
    from onebit.train import TrainSettings

    text = as_flags(str(error), *(each.name for each in fields(TrainSettings) if "_" in each.name))
    for deed, flag in (("resume it", "--resume"), ("in another folder", "--out"), ("another folder", "--out")):
        text = text.replace(deed, f"{deed} ({flag})", 1) if flag not in text else text
    return re.sub(r"\bthe setting (?=\w)", "--", text)


def show(result: dict[str, Any]) -> None:
    """Print what came out and where it lies."""
    from onebit.report.health import Finding, in_words
    from onebit.tasks import TASKS

    metric = TASKS[result["task"]].metric(result["score"])
    print(
        f"test {metric.name} {metric.text(result[metric.name])} after {result['epochs']} epochs in "
        f"{result['seconds']:.0f} s (best {metric.text(result[f'best_{metric.name}'])} in epoch {result['best_epoch']})"
    )
    words = in_words([Finding(**finding) for finding in result["health"]])
    print(*(f"training health: {line}" for line in words or ["no findings"]), sep="\n")
    print(f"model, record and curve: {result['out']}")
