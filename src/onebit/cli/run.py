"""``onebit run``: classify images with a packed network."""

from typing import TYPE_CHECKING, Any

from onebit.cli.base import verb_parser

if TYPE_CHECKING:
    from jsonargparse import Namespace


def parse(argv: list[str]) -> "Namespace":
    """Read the command line."""
    from jsonargparse import Namespace

    parser = verb_parser(
        "run", "Classify images with a packed network.", "onebit run net.onebit cat.png dog.png --top 3"
    )
    parser.add_argument("file", type=str, help="packed network (.onebit)")
    parser.add_argument("images", type=str, nargs="+", help="image files, or .npy arrays of one image")
    parser.add_argument("--top", type=int, default=5, help="how many classes to print per image")
    parser.add_argument("--fit", action="store_true", help="scale and convert images of another size or color")
    parser.add_argument("--threads", type=int, default=1, help="worker threads")
    args = parser.parse_args(argv)
    assert isinstance(args, Namespace)
    for name in ("top", "threads"):
        if getattr(args, name) < 1:
            raise ValueError(f"--{name} must be at least 1, got {getattr(args, name)}")
    return args


def run(args: "Namespace") -> dict[str, Any]:
    """{file, images: [{image, classes: [{class, probability}]}]}, most probable first."""
    import numpy as np

    from onebit.cli.images import read_images
    from onebit.runtime.model import load

    model = load(args.file, threads=args.threads)
    probabilities = model(read_images(args.images, model.input, fit=args.fit))
    labels = model.classes or tuple(str(index) for index in range(probabilities.shape[1]))
    results = []
    for path, row in zip(args.images, probabilities, strict=True):
        best = np.argsort(-row, kind="stable")[: args.top]
        results.append(
            {"image": path, "classes": [{"class": labels[i], "probability": round(float(row[i]), 6)} for i in best]}
        )
    return {"file": args.file, "images": results}


def show(result: dict[str, Any]) -> None:
    """One line per image: path, then classes with their probabilities."""
    for entry in result["images"]:
        print(entry["image"] + "  " + "  ".join(f"{c['class']} {c['probability']:.1%}" for c in entry["classes"]))
