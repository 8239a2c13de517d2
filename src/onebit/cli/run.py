"""``onebit run``: classify images with a packed network."""

from typing import TYPE_CHECKING, Any

from onebit.cli.base import Failure, add_max_memory, add_packed_file, max_memory_of, packed_file_of, verb_parser
from onebit.text import printable

if TYPE_CHECKING:
    from jsonargparse import Namespace
    from numpy.typing import NDArray

    from onebit.runtime.model import Model


def parse(argv: list[str]) -> "Namespace":
    """Read the command line."""
    from jsonargparse import Namespace

    from onebit.cli.images import add_fit

    parser = verb_parser(
        "run", "Classify images with a packed network.", "onebit run net.onebit cat.png dog.png --top 3"
    )
    add_packed_file(parser)
    parser.add_argument(
        "images", type=str, nargs="+", help="pictures, folders of pictures, or .npy arrays of one image"
    )
    parser.add_argument("--top", type=int, default=5, help="how many classes to print per image")
    add_fit(parser)
    parser.add_argument("--threads", type=int, default=1, help="worker threads")
    add_max_memory(parser)
    args = parser.parse_args(argv)
    assert isinstance(args, Namespace)
    args.file = packed_file_of(args)
    args.max_memory = max_memory_of(args)
    for name in ("top", "threads"):
        if getattr(args, name) < 1:
            raise ValueError(f"--{name} must be at least 1, got {getattr(args, name)}")
    return args


def run(args: "Namespace") -> dict[str, Any]:
    """{file, images: [{image, classes: [{class, probability}]}], left_out: {kind: count}, errors}, most probable first.

    For files without labels: {image, outputs: [{index, value}]}, largest first, or for a map {image, map: {shape, min,
    mean, max}}.  An image that cannot be read or run adds a line to errors and does not stop the others.
    """
    from onebit.cli.images import fitting, list_images, read_image
    from onebit.runtime.model import load

    paths, left_out = list_images(args.images)
    model = load(args.file, threads=args.threads, max_memory=args.max_memory)
    spec = fitting(model.input, args.fit)
    entries, errors = [], []
    for path in paths:
        try:
            image = read_image(path, spec)
            entries.append({"image": path, **_answer(model, image, args.top)})
        except Failure as error:
            errors.append(str(error))
        except ValueError as error:
            errors.append(f"{path}: {error}")
    return {"file": args.file, "images": entries, "left_out": dict(left_out), "errors": errors}


def _answer(model: "Model", image: "NDArray[Any]", top: int) -> dict[str, Any]:
    """The result for one image; ValueError if the outputs are not finite."""
    import numpy as np

    if model.classes is not None and model.engine.output_shape[:2] == (1, 1):
        best = model.classify(image)[:top]
        return {"classes": [{"class": p.label, "probability": round(p.probability, 6)} for p in best]}
    output = model(image)
    if not np.isfinite(output).all():
        raise ValueError("the network's outputs are NaN or infinite")
    if output.ndim == 1:
        largest = np.argsort(-output, kind="stable")[:top]
        return {"outputs": [{"index": int(i), "value": float(output[i])} for i in largest]}
    facts = {"min": float(output.min()), "mean": float(output.mean()), "max": float(output.max())}
    return {"map": {"shape": list(output.shape), **facts}}


def show(result: dict[str, Any]) -> None:
    """Print one line per image with its classes and probabilities, and the counts of skipped entries."""
    from onebit.runtime.images import tell_counts

    for entry in result["images"]:
        if "classes" in entry:
            told = [f"{printable(c['class'])} {c['probability']:.1%}" for c in entry["classes"]]
        elif "outputs" in entry:
            told = [f"[{o['index']}] {o['value']:.4g}" for o in entry["outputs"]]
        else:
            facts = entry["map"]
            told = [f"map of {'x'.join(map(str, facts['shape']))} (C, H, W)"]
            told += [f"{name} {facts[name]:.4g}" for name in ("min", "mean", "max")]
        print("  ".join([printable(entry["image"]), *told]))
    if result["left_out"]:
        print(f"left out: {tell_counts(result['left_out'])}")
