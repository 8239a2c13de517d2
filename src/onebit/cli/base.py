"""Common parts of all verbs: the parser, shared flags, and the exception for user errors."""

import os
import re
from typing import TYPE_CHECKING, Any

from onebit.registry import type_in_words
from onebit.text import parse_bytes

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser, Namespace


def share_cores() -> None:
    """Let idle threads sleep instead of spin; call it before importing torch.  A value set by the user has priority.

    On two busy cores, spinning made training 10 times slower (OMP_WAIT_POLICY of OpenMP).
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")


class Failure(Exception):
    """An error that the user can fix; the message is printed on one line."""


def as_flags(text: str, *settings: str) -> str:
    """A library message with flags instead of ``settings``: "stem='int8'" -> "--stem 'int8'"."""
    names = "|".join(map(re.escape, settings))
    return re.sub(rf"(?<![\w.'/-])({names})\b(=?)", lambda found: f"--{found[1]}{' ' if found[2] else ''}", text)


def add_zoo_folder(parser: "ArgumentParser") -> None:
    """Add the flag ``--from`` of the verbs that take ``zoo:NAME``."""
    parser.add_argument(
        "--from",
        type=str | None,
        default=None,
        metavar="FOLDER",
        help="folder with further networks for zoo:NAME (default: the environment's ONEBIT_ZOO)",
    )


def add_packed_file(parser: "ArgumentParser") -> None:
    """Add the argument ``file`` and the flag ``--from``; :func:`packed_file_of` reads both."""
    parser.add_argument(
        "file", type=str, help="packed network (.onebit), or zoo:NAME for one that 'onebit zoo trained' lists"
    )
    add_zoo_folder(parser)


def packed_file_of(args: "Namespace", argument: str = "file") -> str:
    """The path that an argument names; for ``zoo:NAME`` that of a trained network's packed file.

    Raises Failure for an unknown name, and for a file that is missing or not the one of its model card.
    """
    from onebit.zoo.by_name import name_of, packed_file

    given = str(args[argument])
    name = name_of(given)
    if name is None:
        return given
    try:
        return str(packed_file(name, folder=args["from"]))
    except (OSError, ValueError) as error:
        raise Failure(str(error).replace("folder=", "--from")) from None


def add_max_memory(parser: "ArgumentParser") -> None:
    """Add the flag ``--max_memory`` of the verbs that load packed files; :func:`max_memory_of` reads it."""
    parser.add_argument(
        "--max_memory",
        type=str | None,
        default=None,
        metavar="SIZE",
        help="memory limit of the network in addition to the content of its file, such as 2GiB (default: in "
        "proportion to the file and its images, at most 2 GiB plus twice the file)",
    )


def max_memory_of(args: "Namespace") -> int | None:
    """The limit in bytes, or None; ValueError if it is not a size."""
    if args.max_memory is None:
        return None
    try:
        count = parse_bytes(args.max_memory)
    except ValueError as error:
        raise ValueError(f"--max_memory: {error}") from None
    if count < 1:
        raise ValueError(f"--max_memory must be at least 1 byte, got {args.max_memory!r}")
    return count


def _in_words(parser: "ArgumentParser", message: str) -> str:
    """A message of the parser, whose words for a value of the wrong type are Python's."""
    found = re.match(r'Parser key "(?:--)?([\w.]+)":\s*(.*)', message, re.DOTALL)
    if found is None:
        return message
    name, reason = found.groups()
    value = re.search(r"(?:Got|Given) value: (.*)", reason, re.DOTALL)
    # An option with a dot is one entry of an object; the parser names the object alone.
    hint = next(
        (action._typehint for action in parser._actions if action.dest == name and hasattr(action, "_typehint")), None
    )
    if value is None or hint is None:
        return f"--{name}: {reason}"
    return f"--{name} must be {type_in_words(hint)}, got {value[1].strip()!r}"


def verb_parser(verb: str, description: str, example: str, **options: Any) -> "ArgumentParser":
    """The parser of one verb, with an example at the end of its help, and the flag ``--json``.

    Wrong usage prints one line and exits with code 2.
    """
    from argparse import RawDescriptionHelpFormatter

    from jsonargparse import ArgumentParser, DefaultHelpFormatter

    class Formatter(DefaultHelpFormatter, RawDescriptionHelpFormatter):
        """Keeps the line breaks of the description and the example."""

    class Parser(ArgumentParser):
        def error(self, message: str, ex: Exception | None = None) -> None:  # type: ignore[override]
            raise ValueError(f"{_in_words(self, message).rstrip('.')}; see '{self.prog} --help'") from ex

    parser = Parser(
        prog=f"onebit {verb}",
        description=description,
        epilog=f"example:\n  {example}",
        formatter_class=Formatter,
        **options,
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object on standard output and nothing else")
    return parser
