"""``onebit verify``: check a packed network against the reference and against the trained model."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from onebit.cli.base import Failure, add_max_memory, add_packed_file, max_memory_of, packed_file_of, verb_parser
from onebit.text import printable

if TYPE_CHECKING:
    from jsonargparse import Namespace


def parse(argv: list[str]) -> "Namespace":
    """Read the command line."""
    from jsonargparse import Namespace

    from onebit.cli.images import add_fit

    parser = verb_parser(
        "verify",
        "Check a packed network on images: every kernel that this CPU can run against the reference interpreter, "
        "node by node (bits exactly, floats to 1e-4), and, given the run it came from, the predictions of torch.",
        "onebit verify net.onebit --run runs/digits",
    )
    add_packed_file(parser)
    parser.add_argument(
        "images",
        type=str,
        nargs="*",
        help="pictures or folders of pictures; noise, or the run's test images, if none are given",
    )
    parser.add_argument("--run", type=str, default=None, help="folder of the run that the file was packed from")
    parser.add_argument("--data_dir", type=str, default=None, help="folder of the run's data set")
    parser.add_argument("--limit", type=int, default=None, help="check only so many images of the data set")
    parser.add_argument("--node_images", type=int, default=8, help="images for the slow check node by node")
    add_fit(parser)
    add_max_memory(parser)
    args = parser.parse_args(argv)
    assert isinstance(args, Namespace)
    args.file = packed_file_of(args)
    args.max_memory = max_memory_of(args)
    for name in ("limit", "node_images"):
        if getattr(args, name) is not None and getattr(args, name) < 1:
            raise ValueError(f"--{name} must be at least 1, got {getattr(args, name)}")
    return args


def run(args: "Namespace") -> dict[str, Any]:
    """{file, images, source, left_out, kernels: [...], torch: {...} or null, passed}; and errors where not passed."""
    import numpy as np

    from onebit.cli.images import fitting, list_images, read_image
    from onebit.format.file import load_graph
    from onebit.runtime.parity import check_kernels

    graph = load_graph(args.file)
    spec = graph.input
    trained, labels, source = None, None, "noise"
    left_out: Mapping[str, int] = {}
    if args.run:
        from onebit.train.deploy import refuse_other_run

        refuse_other_run(args.run, graph)
    if args.images:
        paths, left_out = list_images(args.images)
        batch = [read_image(path, fitting(spec, args.fit)) for path in paths]
        if len({image.dtype for image in batch}) > 1:
            raise Failure("the images mix raw pixels (uint8) and normalized floats; give one kind at a time")
        images, source = np.stack(batch), "given images"
    elif args.run:
        from onebit.train.deploy import images_of_run

        (images, labels), source = images_of_run(args.run, args.data_dir, args.limit), "test images"
    else:
        shape = (args.node_images, spec.height, spec.width, spec.channels)
        images = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    kernels = check_kernels(graph, images[: args.node_images], max_memory=args.max_memory)
    if args.run:
        from onebit.train.deploy import compare_with_torch

        trained = compare_with_torch(args.run, graph, images, labels)
    passed = all(row["passed"] for row in kernels) and (trained is None or trained["passed"])
    result = {"file": args.file, "images": len(images), "source": source, "left_out": dict(left_out)}
    result |= {"kernels": kernels, "torch": trained, "passed": passed}
    if not passed:
        result["errors"] = [f"{args.file}: parity does not hold; the lines above say where"]
    return result


def show(result: dict[str, Any]) -> None:
    """Print one line per instruction set and one for PyTorch, after the counts of skipped entries."""
    from onebit.runtime.images import tell_counts

    if result["left_out"]:
        print(f"left out: {tell_counts(result['left_out'])}")
    for row in result["kernels"]:
        bits = f"{row['bits']} bits, {row['flips']} differ"
        if row["flips"] or row["unexplained"]:
            bits += f", {row['unexplained']} of them not by rounding" + (
                row["where"] and f" (first at {printable(row['where'])})"
            )
        floats = f"floats differ by {row['float_error']:.1e} at most"
        if row["not_finite"]:
            floats += f", {row['not_finite']} numbers are NaN or infinite (first at {printable(row['where'])})"
        print(
            f"{row['isa']:<9} {row['images']} images ({result['source']}): {bits}; {floats}: "
            f"{'ok' if row['passed'] else 'FAILED'}"
        )
    if result["torch"]:
        _show_torch(result["torch"])


def _show_torch(row: dict[str, Any]) -> None:
    from onebit.tasks import TASKS

    task = TASKS[row["task"]]
    print(
        f"torch     {row['images']} images: {row['same']} of the same {task.answer}, {row['other']} of another "
        f"(allowed: {row['allowed']}), {_told(row)}: {'ok' if row['passed'] else 'FAILED'}"
    )
    if "float_stem_same" in row:
        print(
            f"          torch computed with the file's int8 stem; {row['float_stem_same']} are of the same "
            f"{task.answer} as with the float stem that was trained"
        )
    if "float16_same" in row:
        print(
            "          compared with float32 activations; with the file's float16 activations "
            f"{row['float16_same']} are of torch's {task.answer}"
        )
    if "scores" in row:
        metric = task.metric()
        told = {name: metric.text(scores[metric.name]) for name, scores in row["scores"].items()}
        trained = f" (with its float stem {told['float_stem']})" if "float_stem" in told else ""
        halves = f" (with its float16 activations {told['float16']})" if "float16" in told else ""
        print(f"{metric.name:<9} torch {told['torch']}{trained}, packed {told['packed']}{halves}")


def _told(row: dict[str, Any]) -> str:
    """The difference of the outputs, or how many are not finite."""
    if row["not_finite"]:
        return f"outputs of {row['not_finite']} images are NaN or infinite"
    return f"outputs differ by {row['output_error']:.1e}"
