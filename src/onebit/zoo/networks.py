"""The networks of the zoo at their standard sizes, and published results.

Accuracies are those of the cited source with the stated training; none was measured here.  A result whose paper does
not specify the architecture is listed with the closest of ours, and its note says so.
"""

import json
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any


@dataclass(frozen=True)
class Result:
    """A published accuracy.

    Args:
        dataset: "ImageNet" or "CIFAR-10".
        top1, top5: percent; None if not available.
        training: training method.
        source: where the number was published.
        note: what is known or unknown about the network's architecture.
    """

    dataset: str
    top1: float
    training: str
    source: str
    top5: float | None = None
    note: str = ""


@dataclass(frozen=True)
class Network:
    """A model of the zoo with its options and image size.

    Args:
        model: name in ``MODELS``.
        size: side of the images; 224 implies 1000 classes, other sizes 10.
        options: options of the model.
        results: published results.
    """

    model: str
    size: int
    options: dict[str, Any] = field(default_factory=dict)
    results: tuple[Result, ...] = ()

    @property
    def name(self) -> str:
        """Model and size, "resnet18-224"."""
        return f"{self.model}-{self.size}"

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """(C, H, W) of one image."""
        return (3, self.size, self.size)

    @property
    def num_classes(self) -> int:
        """Size of the output."""
        return 1000 if self.size == 224 else 10


REACTNET = "arXiv:2003.03488, authors' README"
XNOR = Result("ImageNet", 51.2, "XNOR-Net", REACTNET, top5=73.2)
BIREAL = Result("ImageNet", 56.4, "Bi-Real Net", REACTNET, top5=79.5)
IRNET, RBNN, RECU = (f"arXiv:{number}, authors' README" for number in ("1909.10788", "2009.13055", "2103.12369"))
TRAINED = "arXiv:1909.11366, abstract"
RBCN = "arXiv:1908.07748"
RBNET_NOTE = "at 52M OPs; the paper's own layout is not known, this one is ours"

NETWORKS = (
    Network("vgg-small", 32, {}, (
        Result("CIFAR-10", 92.3, "Trained Binarization", TRAINED),
        Result("CIFAR-10", 90.4, "IR-Net", IRNET),
        Result("CIFAR-10", 91.3, "RBNN", RBNN),
        Result("CIFAR-10", 92.2, "ReCU", RECU),
    )),
    Network("resnet20", 32, {}, (
        Result("CIFAR-10", 86.5, "IR-Net", IRNET, note="a shortcut around every convolution"),
        Result("CIFAR-10", 87.8, "RBNN", RBNN, note="a shortcut around every convolution"),
        Result("CIFAR-10", 87.5, "ReCU", RECU, note="a shortcut around every convolution"),
    )),
    Network("resnet32", 32),
    Network("resnet44", 32),
    Network("resnet18", 32, {}, (
        Result("CIFAR-10", 91.5, "IR-Net", IRNET),
        Result("CIFAR-10", 92.2, "RBNN", RBNN),
        Result("CIFAR-10", 92.8, "ReCU", RECU, note="a shortcut around every second convolution"),
    )),
    Network("resnet34", 32),
    Network("wrn22", 32),
    Network("wrn40", 32),
    Network("ftbnn-20", 32),
    Network("rb-net-20", 32),
    Network("alexnet", 224, {}, (Result("ImageNet", 46.1, "Trained Binarization", TRAINED),)),
    Network("resnet18", 224, {"scheme": "bireal", "downsample": "conv1x1"}, (
        XNOR,
        Result("ImageNet", 54.2, "Trained Binarization", TRAINED, note="layout not known"),
        BIREAL,
        Result("ImageNet", 58.1, "IR-Net", IRNET, 80.0),
        Result("ImageNet", 59.5, "RBCN", RBCN, 81.6),
        Result("ImageNet", 59.9, "RBNN", RBNN, 81.9),
        Result("ImageNet", 61.0, "ReCU", RECU, 82.6),
    )),
    Network("resnet34", 224, {"scheme": "bireal", "downsample": "conv1x1"}, (
        Result("ImageNet", 62.9, "IR-Net", IRNET, 84.1),
        Result("ImageNet", 63.1, "RBNN", RBNN, 84.4),
        Result("ImageNet", 65.1, "ReCU", RECU, 85.8),
    )),
    Network("ftbnn-18-baseline", 224),
    Network("ftbnn-18", 224),
    Network("ftbnn-18-k1.5-g2", 224),
    Network("ftbnn-18-k2-g2", 224),
    Network("ftbnn-18-k2-g4", 224),
    Network("ftbnn-18-k4-g8", 224),
    Network("rb-net-18-rpc-stem", 224, {}, (
        Result("ImageNet", 66.8, "RB-Net", "IEEE TCSVT 2022, abstract", note=RBNET_NOTE),
    )),
    Network("rb-net-18-wide", 224, {}, (
        Result("ImageNet", 66.8, "RB-Net", "IEEE TCSVT 2022, abstract", note=RBNET_NOTE),
    )),
    Network("reactnet18", 224, {}, (
        Result("ImageNet", 65.9, "ReActNet, two steps with a teacher", REACTNET),
    )),
    Network("reactnet-a", 224, {}, (
        Result("ImageNet", 69.5, "ReActNet, two steps with a teacher", REACTNET),
    )),
)  # fmt: skip


def file_sizes() -> dict[str, int]:
    """File size in bytes of each network of ``NETWORKS``, without provenance; see ``benchmarks/sizes.py``."""
    return json.loads((files("onebit.zoo") / "sizes.json").read_text())
