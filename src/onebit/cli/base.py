"""What every verb shares: its parser and the exception for failures that the user can mend."""

import os
import re
from typing import TYPE_CHECKING, Any

from onebit.text import parse_bytes

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser, Namespace


def share_cores() -> None:
    """Let waiting threads sleep instead of spin; call it before torch is imported, a value that the user set stays.

    On two cores with other work on them, spinning made training 10 times slower (OpenMP's OMP_WAIT_POLICY).
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")


class Failure(Exception):
    """Something the user can mend; the message is the one line that is shown."""


def as_flags(text: str, *settings: str) -> str:
    """A message of the library with flags in place of ``settings``: "stem='int8'" -> "--stem 'int8'"."""
    names = "|".join(map(re.escape, settings))
    return re.sub(rf"(?<![\w.'/-])({names})\b(=?)", lambda found: f"--{found[1]}{' ' if found[2] else ''}", text)


def add_max_memory(parser: "ArgumentParser") -> None:
    """The flag ``--max_memory`` of the verbs that load packed files; :func:`max_memory_of` reads it."""
    parser.add_argument(
        "--max_memory",
        type=str | None,
        default=None,
        metavar="SIZE",
        help="how much memory the network may take beside the content of its file, such as 2GiB (default: in "
        "proportion to the file and its images, at most 2 GiB and twice the file)",
    )


def max_memory_of(args: "Namespace") -> int | None:
    """Bytes that the user allows, if any; ValueError for a text that is no size."""
    if args.max_memory is None:
        return None
    try:
        count = parse_bytes(args.max_memory)
    except ValueError as error:
        raise ValueError(f"--max_memory: {error}") from None
    if count < 1:
        raise ValueError(f"--max_memory must be at least 1 byte, got {args.max_memory!r}")
    return count


def verb_parser(verb: str, description: str, example: str, **options: Any) -> "ArgumentParser":
    """The parser of one verb: its help ends with an example, and ``--json`` is understood.

    Wrong usage prints one line and exits with code 2.
    """
    from argparse import RawDescriptionHelpFormatter

    from jsonargparse import ArgumentParser, DefaultHelpFormatter

    class Formatter(DefaultHelpFormatter, RawDescriptionHelpFormatter):
        """Keeps the line breaks of the description and the example."""

    class Parser(ArgumentParser):
        def error(self, message: str, ex: Exception | None = None) -> None:  # type: ignore[override]
            raise ValueError(f"{message.rstrip('.')}; see '{self.prog} --help'") from ex

    parser = Parser(
        prog=f"onebit {verb}",
        description=description,
        epilog=f"example:\n  {example}",
        formatter_class=Formatter,
        **options,
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object on standard output and nothing else")
    return parser
