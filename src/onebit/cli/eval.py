"""``onebit eval``: accuracy of a trained run, a checkpoint or a packed file on the test images of a data set."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from onebit.cli.base import Failure, share_cores, verb_parser
from onebit.text import text_table

if TYPE_CHECKING:
    from jsonargparse import Namespace

    from onebit.data import ImageData
    from onebit.format.graph import InputSpec

DESCRIPTION = """\
Measure the accuracy of a model on the test images of a data set.

MODEL is the folder of a run, one of its checkpoints, or a packed .onebit file.  A run knows its data set; a packed file
needs --dataset unless it was packed from a run."""


def parse(argv: list[str]) -> "Namespace":
    """Read the command line."""
    share_cores()
    from onebit.data import DATASETS

    parser = verb_parser("eval", DESCRIPTION, "onebit eval runs/vgg-small-digits --json")
    parser.add_argument("model", metavar="MODEL", type=Path, help="folder of a run, checkpoint, or .onebit file")
    parser.add_argument("--dataset", type=str | None, help="data set (default: the one it was trained on)")
    parser.add_argument("--data_dir", type=Path, help="folder of the data set (default: the environment's ONEBIT_DATA)")
    parser.add_argument("--batch_size", type=int, default=500, help="images at a time")
    args = parser.parse_args(argv)
    if args.dataset is not None:
        DATASETS.check(args.dataset)
    if args.batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {args.batch_size}")
    return args


def run(args: "Namespace") -> dict[str, Any]:
    """Measure; returns model, dataset, images, accuracy, and the accuracy of each class."""
    if not args.model.exists():
        raise Failure(f"there is no model {str(args.model)!r}")
    if args.model.suffix == ".onebit":
        return evaluate_packed(args)
    return evaluate_trained(args)


def evaluate_trained(args: "Namespace") -> dict[str, Any]:
    """Accuracy of a run or checkpoint."""
    from onebit.data import Normalize
    from onebit.train import evaluate, load_trained

    model, meta = load_trained(args.model)
    image = meta["input"]
    data = test_data(args, meta["provenance"].get("dataset"), image, meta["num_classes"])
    normalize = Normalize(image.mean, image.std)
    score = evaluate(model, normalize, data.test, meta["num_classes"], args.batch_size)
    return report(args, data, score.class_accuracy, score.images, score.accuracy, score.loss)


def evaluate_packed(args: "Namespace") -> dict[str, Any]:
    """Accuracy of a packed file, run by the native core."""
    import os

    import numpy as np
    import torch

    import onebit

    network = onebit.load(args.model, threads=os.cpu_count() or 1)
    spec = network.input
    if spec.height != spec.width:
        raise Failure(f"{str(args.model)!r} takes {spec.height}x{spec.width} images; data sets hold square ones")
    num_classes = len(network.classes) if network.classes else None
    data = test_data(args, network.graph.provenance.get("dataset"), spec, num_classes)
    right = np.zeros(len(data.classes), np.int64)
    counts = np.zeros(len(data.classes), np.int64)
    loss = 0.0
    for indices_B in torch.arange(len(data.test)).split(args.batch_size):
        images_BCHW, labels = data.test.batch(indices_B)
        logits_BK = network(np.ascontiguousarray(images_BCHW.permute(0, 2, 3, 1).numpy()))
        labels_B = labels.numpy()
        correct_B = logits_BK.argmax(1) == labels_B
        right += np.bincount(labels_B[correct_B], minlength=len(right))
        counts += np.bincount(labels_B, minlength=len(counts))
        loss += float(torch.nn.functional.cross_entropy(torch.from_numpy(logits_BK), labels, reduction="sum"))
    return report(
        args,
        data,
        [r / n if n else None for r, n in zip(right.tolist(), counts.tolist(), strict=True)],
        int(counts.sum()),
        float(right.sum() / counts.sum()),
        loss / int(counts.sum()),
    )


def report(
    args: "Namespace",
    data: "ImageData",
    class_accuracy: Sequence[float | None],
    images: int,
    accuracy: float,
    loss: float,
) -> dict[str, Any]:
    """The result of this verb."""
    return {
        "model": str(args.model),
        "dataset": data.name,
        "images": images,
        "accuracy": accuracy,
        "loss": loss,
        "class_accuracy": dict(zip(data.classes, class_accuracy, strict=True)),
    }


def test_data(args: "Namespace", trained_on: str | None, spec: "InputSpec", num_classes: int | None) -> "ImageData":
    """The data set to measure on, its images as the model takes them; Failure if the model does not fit it."""
    from onebit.data import DATASETS
    from onebit.runtime.images import CROP

    name = args.dataset or trained_on
    if name is None:
        raise Failure(f"{str(args.model)!r} does not say what it was trained on; name a data set with --dataset")
    data = DATASETS[name](args.data_dir, image_size=spec.height, fit=spec.fit or CROP)
    if (data.input.channels, len(data.classes)) != (spec.channels, num_classes or len(data.classes)):
        raise Failure(
            f"the model has {spec.channels} input channels and {num_classes} classes, "
            f"but data set {name!r} has {data.input.channels} and {len(data.classes)}"
        )
    return data


def show(result: dict[str, Any]) -> None:
    """Print the accuracy, and those of the classes if there are few."""
    print(f"{result['dataset']}: {result['accuracy']:.2%} of {result['images']} test images")
    classes = result["class_accuracy"]
    if len(classes) <= 20:
        rows = [(name, "no images" if share is None else f"{share:7.2%}") for name, share in classes.items()]
        print(text_table(rows, indent="  "))
