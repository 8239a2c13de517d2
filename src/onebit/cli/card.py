"""``onebit card``: from a finished run to a packed file with its model card, for ``zoo:NAME``."""

from typing import TYPE_CHECKING, Any

from onebit.cli.base import Failure, as_flags, share_cores, verb_parser
from onebit.text import text_table
from onebit.zoo.card import PACKED, START, SUFFIX

if TYPE_CHECKING:
    from jsonargparse import Namespace


def parse(argv: list[str]) -> "Namespace":
    """Read the command line."""
    from jsonargparse import Namespace

    share_cores()
    parser = verb_parser(
        "card",
        "Pack a finished run strictly, compare the packed network with PyTorch on all test images, time it, and write "
        "it with its model card into a folder; 'onebit run zoo:NAME --from FOLDER' takes it from there. With --start, "
        "'onebit train --start_from zoo:NAME --from FOLDER' goes on from its weights.",
        "onebit card runs/digits my-digits --to networks",
    )
    parser.add_argument("run", type=str, help="folder of a finished run")
    parser.add_argument("name", type=str, help="name of the network: lower-case letters, digits, dots and hyphens")
    parser.add_argument("--to", type=str, required=True, metavar="FOLDER", help="folder for NAME.onebit and its card")
    parser.add_argument("--origin", type=str | None, help="who made the data; for data sets that onebit does not know")
    parser.add_argument("--license", type=str | None, help="license of the data; likewise")
    parser.add_argument("--data_dir", type=str | None, help="folder of the run's data set")
    parser.add_argument(
        "--keep_real",
        type=str,
        nargs="+",
        default=[],
        help="names of layers, or patterns such as '*.shortcut.*', that may stay in full precision",
    )
    parser.add_argument("--start", action="store_true", help="also write NAME.start.safetensors, to train on from")
    parser.add_argument(
        "--seconds",
        type=float,
        default=2.0,
        help="duration of the timing; 0 keeps the latency of the card in FOLDER, if it is of the same packed file",
    )
    args = parser.parse_args(argv)
    assert isinstance(args, Namespace)
    if (args.origin is None) != (args.license is None):
        raise ValueError("--origin and --license belong together: give both, or neither for a data set that is known")
    if not 0 <= args.seconds < float("inf"):
        raise ValueError(f"--seconds must be a finite number from 0, got {args.seconds}")
    return args


def run(args: "Namespace") -> dict[str, Any]:
    """Write file and card; {folder, text, and the card}."""

    from onebit.data import Origin
    from onebit.train.card import add_to_zoo

    try:
        card = add_to_zoo(
            args.run,
            args.name,
            args.to,
            keep_real=args.keep_real,
            origin=None if args.origin is None else Origin(args.origin, args.license),
            data_dir=args.data_dir,
            start=args.start,
            seconds=args.seconds,
        )
    except ValueError as error:
        message = as_flags(str(error), "keep_real", "seconds")
        raise Failure(message.replace("give origin and license", "give --origin and --license")) from None
    return {"folder": args.to, "text": str(card), **card.as_json()}


def show(result: dict[str, Any]) -> None:
    """Print the card in short, and where it lies."""
    scores, speed = result["scores"], result["speed"]
    rows = [
        ("network", result["text"]),
        ("torch", f"{scores['same']} of {scores['images']} images have the same answer"),
        ("file", f"{result['file']['bytes']} bytes, SHA-256 {result['file']['sha256']}"),
        ("latency", f"{speed['median_ms']:.4g} ms on one thread, {speed['isa']}, {speed['machine']}"),
        ("data", f"{result['data']['origin']}; license: {result['data']['license']}"),
    ]
    if start := result["start"]:
        score = scores["score"]
        value = f"{score} {start['scores'][score]:.4f} when read back ({scores['torch'][score]:.4f} before)"
        rows.append(("start", f"{start['bytes']} bytes, latent weights in {start['dtype']}; {value}"))
    print(text_table(rows))
    names = [f"{result['name']}{suffix}" for suffix in (PACKED, *([START] if start else []), SUFFIX)]
    print(f"wrote {', '.join(names[:-1])} and {names[-1]} into {result['folder']}")
