"""``onebit pack``: from a trained run to a packed file."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from onebit.cli.base import Failure, as_flags, verb_parser
from onebit.text import printable

if TYPE_CHECKING:
    from jsonargparse import Namespace


def parse(argv: list[str]) -> "Namespace":
    """Read the command line."""
    from jsonargparse import Namespace

    parser = verb_parser(
        "pack",
        "Pack a trained network into one file; report what became binary, what stayed in full precision, and why.",
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
        "--keep_real",
        type=str,
        nargs="+",
        default=[],
        help="names of layers, or patterns such as '*.shortcut.*', that --strict accepts in float",
    )
    parser.add_argument(
        "--stem",
        choices=("float", "int8"),
        default="float",
        help="how the first convolution runs: on floats, or on raw pixels with int8 weights, with the loss printed",
    )
    parser.add_argument(
        "--activation_dtype",
        choices=("float32", "float16"),
        default="float32",
        help="dtype of activations between layers: float16 takes half the memory; the loss is printed",
    )
    parser.add_argument(
        "--data_dir",
        type=str,
        default=None,
        help="folder of the run's data set, for --stem int8 and --activation_dtype float16",
    )
    parser.add_argument("--limit", type=int, default=None, help="measure their loss on so many test images only")
    args = parser.parse_args(argv)
    assert isinstance(args, Namespace)
    if args.limit is not None and args.limit < 1:
        raise ValueError(f"--limit must be at least 1, got {args.limit}")
    for name in ("data_dir", "limit"):
        if getattr(args, name) is not None and args.stem != "int8" and args.activation_dtype != "float16":
            raise ValueError(f"--{name} is for --stem int8 and --activation_dtype float16")
    if args.keep_real and not args.strict:
        raise ValueError("--keep_real is for --strict")
    return args


def run(args: "Namespace") -> dict[str, Any]:
    """{file, layers, total, table, stem, activations}; the last two are the costs of an int8 stem and of float16
    activations, or null.
    """
    from pathlib import Path

    from onebit.train.deploy import pack_trained

    run_folder = Path(args.run)
    if run_folder.suffix == ".onebit":
        raise Failure(f"{args.run} is packed already; 'onebit inspect {args.run}' tells what is in it")
    out = Path(args.out) if args.out else (run_folder if run_folder.is_dir() else run_folder.parent) / "net.onebit"
    if args.out and not out.parent.is_dir():
        raise FileNotFoundError(f"{out.parent}: no such folder; make it first or choose another --out")
    data = _Data(args) if args.stem == "int8" or args.activation_dtype == "float16" else None
    try:
        packed = pack_trained(
            args.run,
            strict=args.strict,
            keep_real=args.keep_real,
            stem=args.stem,
            activation_dtype=args.activation_dtype,
            calibration=None if data is None else data.calibration,
        )
    except ValueError as error:
        raise Failure(as_flags(str(error), "keep_real", "stem", "activation_dtype")) from None
    stem = data.compare_stems(packed) if data and args.stem == "int8" else None
    activations = data.compare_activations(packed) if data and args.activation_dtype == "float16" else None
    if activations and activations["refused"]:
        why = f"on {activations['source']} {activations['refused']}"
        raise Failure(f"--activation_dtype float16: {why}; use --activation_dtype float32")
    packed.save(out)
    costs = {"stem": stem, "activations": activations}
    return {"file": str(out), **packed.report.as_dict(), "table": str(packed.report), **costs}


class _Data:
    """The images of the run's data set if available; a folder given by the user must contain it."""

    def __init__(self, args: "Namespace") -> None:
        from onebit.data import DataError
        from onebit.export.int8 import CALIBRATION_IMAGES
        from onebit.train.deploy import images_of_run

        self.run = args.run
        self.why_none = ""
        self.test: tuple[Any, Any] = (None, None)
        self.calibration = None
        try:
            self.calibration, _ = images_of_run(args.run, args.data_dir, CALIBRATION_IMAGES, split="train")
            self.test = images_of_run(args.run, args.data_dir, args.limit)
        except DataError as error:
            if args.data_dir is not None:
                raise
            self.why_none = str(error)

    def compare_stems(self, packed: Any) -> dict[str, Any]:
        """Cost of the int8 stem on the test images, or on noise if there are none."""
        from onebit.train.deploy import compare_stems

        return self._compare(compare_stems, packed)

    def compare_activations(self, packed: Any) -> dict[str, Any]:
        """Cost of float16 activations on the test images, or on noise if there are none."""
        from onebit.train.deploy import compare_activations

        return self._compare(compare_activations, packed)

    def _compare(self, compare: Callable[..., dict[str, Any]], packed: Any) -> dict[str, Any]:
        import numpy as np

        images, labels = self.test
        spec = packed.graph.input
        if images is None:
            shape = (16, spec.height, spec.width, spec.channels)
            images = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
        row = compare(self.run, packed, images, labels)
        return {"source": "noise" if labels is None else "test images", **row, "why_no_images": self.why_none}


def show(result: dict[str, Any]) -> None:
    """The table, then the file."""
    print(result["table"])
    layers = [row for row in result["layers"] if row["weights"]]
    binary = [row for row in layers if row["bops"]]
    real = [printable(f"{row['name']} ({row['note']})") for row in layers if not row["bops"]]
    print(f"{len(binary)} of {len(layers)} layers with weights run as bits; real: {', '.join(real) or 'none'}")
    if result["stem"]:
        _show_stem(result["stem"])
    if result["activations"]:
        _show_activations(result["activations"])
    print(f"wrote {result['file']}, {result['total']['file_bytes']} bytes")


def _show_stem(row: dict[str, Any]) -> None:
    print(
        f"int8 stem: its results differ from the float stem's by {row['rms']:.2%} of their size (root mean square), "
        f"{row['largest']:.1%} at most, on {row['source']}"
    )
    _show_scores(row, "stem", "float", "int8")


def _show_activations(row: dict[str, Any]) -> None:
    from onebit.tasks import TASKS

    images = {"noise": "images of noise"}.get(row["source"], row["source"])
    print(
        f"float16 activations: {row['same']} of {row['images']} {images} keep their {TASKS[row['task']].answer}, "
        f"outputs differ by {row['output_error']:.1e} of the largest (median); the largest number in a map is "
        f"{row['largest']:.4g} (of 65504)"
    )
    _show_scores(row, "activations", "float32", "float16")


def _show_scores(row: dict[str, Any], what: str, before: str, after: str) -> None:
    """The main score with both variants, the loss, and how many answers are equal."""
    from onebit.tasks import TASKS

    task = TASKS[row["task"]]
    metric = task.metric()
    if "scores" not in row:
        print(f"{metric.name:<9}  not measured: {row['why_no_images']}")
        return
    a, b = (row["scores"][name][metric.name] for name in (before, after))
    print(
        f"{metric.name:<9}  {before} {what} {metric.text(a)}, {after} {what} {metric.text(b)} "
        f"({row.get('change') or metric.change(a, b)}); "
        f"{row['same']} of {row['images']} images keep their {task.answer}"
    )
