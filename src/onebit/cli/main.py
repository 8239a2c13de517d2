"""Entry point of the ``onebit`` command: dispatch to a verb, and turn every failure into one line and an exit code.

A verb is a module of this package with three functions:

    parse(argv) -> Namespace     its jsonargparse parser, from ``base.verb_parser``; a ValueError here is wrong usage
    run(args) -> dict            the work; returns plain values; ValueError, OSError, MemoryError here exit with 1
    show(result) -> None         prints the result on standard output

and a row in ``VERBS``.  If a result has ``errors``, they are printed after it and the code is 1.  Only the requested
verb is imported, so ``onebit run`` never imports torch.

Exit codes: 0 success, 1 an error that the user can fix, 2 wrong usage, 130 interrupted.  ``ONEBIT_DEBUG=1`` shows
tracebacks.  With ``--json``, standard output holds one JSON object and nothing else.
"""

import contextlib
import importlib
import io
import json
import math
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, NamedTuple

from onebit.cli.base import Failure, as_flags
from onebit.text import printable, text_table


class Verb(NamedTuple):
    """One row of the verb table."""

    summary: str  # what it does, one line
    extra: str  # the optional dependencies it needs: pip install "onebit[extra]"


VERBS: dict[str, Verb] = {
    "train": Verb("train a network from a named recipe, or resume a run", "train"),
    "study": Verb("train and compare the runs of one file", "train"),
    "eval": Verb("measure the accuracy of a trained run or a packed file", "train"),
    "report": Verb("write one HTML page about one or several runs", "train"),
    "pack": Verb("pack a trained run into one file", "train"),
    "card": Verb("pack a finished run with its model card, to be taken as zoo:NAME", "train"),
    "run": Verb("classify images with a packed network", "cli"),
    "bench": Verb("time a packed network against its float and int8 counterparts", "cli"),
    "inspect": Verb("print the contents of a packed network", "cli"),
    "verify": Verb("check that a packed network computes what was trained", "cli"),
    "doctor": Verb("report what this installation and this CPU support", "cli"),
    "zoo": Verb("list trained networks, models, recipes, data sets, methods and estimators", "cli"),
}


CLI_LIBRARIES = ("jsonargparse", "PIL")  # what onebit[cli] brings; onebit[train] brings these and all others


def usage() -> str:
    """The text of ``onebit --help``."""
    rows = text_table([(name, verb.summary) for name, verb in VERBS.items()], indent="  ")
    return (
        "usage: onebit VERB [arguments]\n\n"
        "Train, compress and run 1-bit convolutional networks.\n\n"
        f"verbs:\n{rows}\n\n"
        "onebit VERB --help shows details and an example; onebit --version prints the version.\n"
        "example: onebit train vgg-small-digits --out runs/digits"
    )


def complain(message: str) -> None:
    """One line for standard error; line breaks and control characters are escaped, since parts may come from a file."""
    print(f"onebit: error: {printable(' '.join(message.split()), limit=2000)}", file=sys.stderr)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line ``argv`` (by default that of the process) and return the exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # characters outside the encoding are printed as escapes
            stream.reconfigure(errors="backslashreplace")
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments:
        print(usage(), file=sys.stderr)
        return 2
    name, rest = arguments[0], arguments[1:]
    if name in ("-h", "--help"):
        print(usage())
        return 0
    if name == "--version":
        import onebit

        print(f"onebit {onebit.__version__}")
        return 0
    if name not in VERBS:
        near = get_close_matches(name, VERBS, n=1)
        complain(
            f"Unknown verb {name!r}; " + (f"did you mean {near[0]!r}?" if near else f"choose one of {list(VERBS)}")
        )
        return 2
    return _guarded(lambda: _run_verb(name, rest), name)


def _run_verb(name: str, argv: list[str]) -> int:
    module = importlib.import_module(f"onebit.cli.{name}")
    try:
        args = module.parse(argv)
    except SystemExit as stop:  # the parser has printed its message (--help)
        return stop.code if isinstance(stop.code, int) else 2
    except (ValueError, TypeError) as error:
        if debugging():
            raise
        complain(str(error))
        return 2
    result: dict[str, Any]
    if args.json:
        with contextlib.redirect_stdout(sys.stderr):  # only the JSON object may be written to standard output
            result = module.run(args)
        print(json.dumps(_plain(result), allow_nan=False))
    else:
        result = module.run(args)
        module.show(result)
    errors: Sequence[str] = result.get("errors", ())
    for message in errors:
        complain(message)
    return 1 if errors else 0


def _plain(value: Any) -> Any:
    """A result as plain JSON values: NumPy numbers become Python's, paths strings, NaN and infinity null."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    return _plain(value.tolist()) if hasattr(value, "tolist") else value


def _guarded(work: Callable[[], int], name: str) -> int:
    """Run ``work`` of the verb ``name``; a failure becomes one line and an exit code."""
    try:
        code = work()
        sys.stdout.flush()  # a closed pipe raises here rather than at exit
        return code
    except KeyboardInterrupt as stop:
        print(f"onebit: {printable(stop, limit=2000) or 'interrupted'}", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader, such as head, has closed the pipe: not a failure
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except ImportError as error:
        if debugging():
            raise
        complain(_missing(name, error))
    except MemoryError as error:
        if debugging():
            raise
        complain(
            f"not enough memory ({str(error) or 'the system gave no more'}); take fewer or smaller images at a time"
        )
    except OSError as error:
        if debugging():
            raise
        named = f": {str(error.filename)!r}" if error.filename else ""
        complain(f"{error.strerror}{named}" if error.strerror else str(error))
    except (Failure, ValueError) as error:
        if debugging():
            raise
        complain(as_flags(str(error), "max_memory"))
    except Exception as error:
        if debugging():
            raise
        complain(f"{type(error).__name__}: {error} (this is a bug; ONEBIT_DEBUG=1 shows where)")
    return 1


def _missing(verb: str, error: ImportError) -> str:
    """The message for a library, or a part of this one, that cannot be imported."""
    missing = (error.name or "").partition(".")[0]
    if not isinstance(error, ModuleNotFoundError) or missing in ("", "onebit"):
        return f"this installation is broken ({error}): install it again with pip install --force-reinstall onebit"
    extra = VERBS[verb].extra if missing in CLI_LIBRARIES else "train"
    return f"'onebit {verb}' needs {missing}, which is not installed: pip install \"onebit[{extra}]\""


def debugging() -> bool:
    """Whether the user asked for tracebacks."""
    return os.environ.get("ONEBIT_DEBUG", "") not in ("", "0")


if __name__ == "__main__":
    sys.exit(main())
