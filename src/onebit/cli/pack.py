"""``onebit pack``: from a trained run to a packed file."""

from typing import TYPE_CHECKING, Any

from onebit.cli.base import Failure, verb_parser

if TYPE_CHECKING:
    from jsonargparse import Namespace


def parse(argv: list[str]) -> "Namespace":
    """Read the command line."""
    from jsonargparse import Namespace

    parser = verb_parser(
        "pack",
        "Pack a trained network into one file; print what became binary, what stayed real, and why.",
        "onebit pack runs/digits --out digits.onebit --strict",
    )
    parser.add_argument("run", type=str, help="folder of a finished run")
    parser.add_argument("--out", type=str, default=None, help="file to write; RUN/net.onebit if not given")
    parser.add_argument(
        "--strict",
        action="store_true",
        help="refuse a network in which another layer than first and last runs in float",
    )
    parser.add_argument(
        "--allow_real",
        type=str,
        nargs="+",
        default=[],
        help="names of layers, or patterns such as '*.shortcut.*', that --strict lets be real",
    )
    args = parser.parse_args(argv)
    assert isinstance(args, Namespace)
    return args


def run(args: "Namespace") -> dict[str, Any]:
    """{file, layers, total, table}."""
    from pathlib import Path

    from onebit.export import PackError
    from onebit.train.deploy import pack_trained

    run_folder = Path(args.run)
    if run_folder.suffix == ".onebit":
        raise Failure(f"{args.run} is packed already; 'onebit inspect {args.run}' tells what is in it")
    out = Path(args.out) if args.out else (run_folder if run_folder.is_dir() else run_folder.parent) / "net.onebit"
    if args.out and not out.parent.is_dir():
        raise FileNotFoundError(f"{out.parent}: no such folder; make it first or choose another --out")
    try:
        packed = pack_trained(args.run, strict=args.strict, allow_real=args.allow_real)
    except PackError as error:
        raise PackError(str(error).replace("allow_real", "--allow_real")) from None
    packed.save(out)
    return {"file": str(out), **packed.report.as_dict(), "table": str(packed.report)}


def show(result: dict[str, Any]) -> None:
    """The table, then the file."""
    print(result["table"])
    layers = [row for row in result["layers"] if row["weights"]]
    binary = [row for row in layers if row["bops"]]
    real = [f"{row['name']} ({row['note']})" for row in layers if not row["bops"]]
    print(f"{len(binary)} of {len(layers)} layers with weights run as bits; real: {', '.join(real) or 'none'}")
    print(f"wrote {result['file']}, {result['total']['file_bytes']} bytes")
