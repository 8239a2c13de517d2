"""What tasks share whose networks take one image: its batches, normalization, description, packing and measurement."""

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from onebit.data import (
    AUGMENTATIONS,
    DATASETS,
    Color,
    Contents,
    ImageData,
    ImageSet,
    MemorySet,
    Normalize,
    epoch_order,
)
from onebit.fields import check_fields, list_of, number, one_of, whole
from onebit.format.graph import COLORS, RESIZES, Fit, Graph, InputSpec
from onebit.methods import Batch
from onebit.runtime.images import CROP
from onebit.tasks.base import WHOLE, Description, Feed, Part, Predict, Task

# Shape letters: N examples, B batch, C channels, H W image.

Answer = Callable[[Tensor], Tensor]  # pixels (B, C, H, W) in uint8 -> outputs of the network


class ImageTask(Task):
    """A task whose networks take one image (B, C, H, W) and give one tensor.

    A subclass says what the outputs mean: ``losses``, ``training_scores``, ``tally``, ``scores`` and ``same_answer``.
    ``data`` is an :class:`~onebit.data.ImageData`; its sets may give anything as the targets of a batch.
    """

    datasets = DATASETS
    augmentations = AUGMENTATIONS

    @abstractmethod
    def tally(self, outputs: Tensor, targets: Any, description: Description) -> dict[str, Tensor]:
        """Sums over the examples of a batch; those of all batches add up to what ``scores`` takes."""

    def targets_for(self, data: ImageData, description: Description) -> Callable[[Any], Any]:
        """A function from the targets of ``data`` to those of a network with that description."""
        return lambda targets: targets

    def load(
        self,
        dataset: str,
        data_dir: Path | None,
        image_size: int | None = None,
        fit: Fit = CROP,
        color: Color | None = None,
    ) -> Any:
        data = self.datasets[dataset](data_dir, image_size=image_size, fit=fit, color=color)
        if color not in (None, data.input.color):
            raise ValueError(
                f"color {color!r}: the images of data set {data.name!r} are {data.input.color!r}, and only picture "
                "files are converted; leave the color out, or save the images as a 'folder'"
            )
        return data

    def load_for(self, description: Description, dataset: str, data_dir: Path | None) -> Any:
        spec = input_of(description)
        color: Any = spec.color if spec.color in get_args(Color) else None
        data = self.datasets[dataset](data_dir, image_size=spec.height, fit=spec.fit or CROP, color=color)
        if data.input.channels != spec.channels:
            raise ValueError(
                f"the network takes {spec.channels} input channels, "
                f"but data set {data.name!r} has {data.input.channels}"
            )
        return data

    def contents(self, data: ImageData) -> Contents:
        return data.contents

    def count(self, data: ImageData) -> int:
        return len(data.train)

    def identity(self, data: ImageData) -> dict[str, Any]:
        return {"training images": len(data.train), "test images": len(data.test), "digest": data.digest}

    def feed(self, data: ImageData, augment: str, device: torch.device, part: Part = WHOLE) -> Feed:
        return ImageFeed(data, self.augmentations[augment](data.input.height), device, part)

    def describe(self, data: ImageData) -> Description:
        return describe_input(data.input)

    def check(self, description: Mapping[str, Any]) -> None:
        check_fields(description, {"in_channels": whole(1)})
        channels = description["in_channels"]
        rules = {
            "size": whole(1),
            "mean": list_of(number(), channels),
            "std": list_of(number(above=0), channels),
            "color": one_of(*COLORS),
        }
        check_fields(description.get("input"), rules, "input")
        if (fit := description["input"].get("fit")) is not None:
            check_fields(fit, {"resize": one_of(*RESIZES), "crop_pct": number(above=0, high=1)}, "input.fit")

    def model_arguments(self, description: Description) -> dict[str, Any]:
        return {"in_channels": description["in_channels"], "input_size": description["input"]["size"]}

    def example(self, description: Description) -> tuple[Tensor, ...]:
        size = description["input"]["size"]
        return (torch.zeros(1, description["in_channels"], size, size),)

    def measure(
        self, network: nn.Module, data: Any, description: Description, *, batch_size: int, part: Part = WHOLE
    ) -> dict[str, Tensor]:
        device = next(network.parameters()).device
        spec = input_of(description)
        normalize = Normalize(spec.mean, spec.std).to(device).eval()
        return self._measure(lambda pixels: network(normalize(pixels)), data, description, batch_size, part, device)

    def measure_packed(
        self, model: Predict, data: Any, description: Description, *, batch_size: int, limit: int | None = None
    ) -> dict[str, Tensor]:
        def answer(pixels_BCHW: Tensor) -> Tensor:
            return torch.from_numpy(model(pixels_BCHW.permute(0, 2, 3, 1).contiguous().numpy()))

        return self._measure(answer, data, description, batch_size, WHOLE, torch.device("cpu"), limit)

    def _measure(
        self,
        answer: Answer,
        data: ImageData,
        description: Description,
        batch_size: int,
        part: Part,
        device: torch.device,
        limit: int | None = None,
    ) -> dict[str, Tensor]:
        sums: dict[str, Tensor] = {}
        order = torch.arange(len(data.test))[:limit][part.number :: part.of]
        convert = self.targets_for(data, description)
        for pixels_BCHW, targets in batches(data.test, list(order.split(batch_size)), device):
            for name, value in self.tally(answer(pixels_BCHW), convert(targets), description).items():
                sums[name] = sums[name] + value if name in sums else value
        return sums

    def packing(self, network: nn.Module, description: Description) -> tuple[nn.Module, dict[str, Any]]:
        spec = input_of(description)
        return network, {
            "input_shape": (spec.channels, spec.height, spec.width),
            "mean": spec.mean,
            "std": spec.std,
            "color": spec.color,
            "fit": spec.fit,
            "classes": description.get("classes"),
        }

    def description_of(self, graph: Graph) -> Description:
        spec = graph.input
        if spec.height != spec.width:
            raise ValueError(f"the network takes {spec.height}x{spec.width} images; data sets hold square ones")
        return describe_input(spec)

    def examples(self, data: Any, split: str, limit: int | None) -> tuple[NDArray[np.uint8], NDArray[Any]]:
        images: ImageSet = getattr(data, split)
        count = len(images) if limit is None else min(limit, len(images))
        step = len(images) // count if split == "train" else 1
        images_NCHW, targets = images.batch(torch.arange(count) * step)
        return np.ascontiguousarray(images_NCHW.permute(0, 2, 3, 1).numpy()), targets.numpy()

    def judge(self, outputs: NDArray[Any], targets: NDArray[Any], description: Description) -> dict[str, float]:
        sums = self.tally(torch.from_numpy(outputs), torch.from_numpy(targets), description)
        return self.scores(sums, description).values


def describe_input(spec: InputSpec) -> Description:
    """What ``model.json`` says of an input."""
    image = {"size": spec.height, "mean": list(spec.mean), "std": list(spec.std), "color": spec.color}
    if spec.fit is not None:
        image["fit"] = {"resize": spec.fit.resize, "crop_pct": spec.fit.crop_pct}
    return {"in_channels": spec.channels, "input": image}


def input_of(description: Description) -> InputSpec:
    """The input of a network with that description."""
    image, size = description["input"], description["input"]["size"]
    fit = Fit(**image["fit"]) if image.get("fit") else None
    return InputSpec(
        size, size, description["in_channels"], tuple(image["mean"]), tuple(image["std"]), image["color"], fit=fit
    )


class ImageFeed(Feed):
    """Batches of an image set: in a new order each epoch, on the device, augmented and normalized there."""

    def __init__(self, data: ImageData, augment: nn.Module, device: torch.device, part: Part) -> None:
        self._images = data.train
        if isinstance(data.train, MemorySet):
            self._images = MemorySet(data.train.images_NCHW.to(device), data.train.labels_N.to(device))
        self._normalize = Normalize(data.input.mean, data.input.std, augment).to(device).train()
        self._device, self._part = device, part

    def batches(self, seed: int, epoch: int, batch_size: int, first: int = 0) -> Iterator[Batch]:
        full = len(self._images) // batch_size
        order = epoch_order(len(self._images), seed, epoch)[: full * batch_size]
        mine = [part[self._part.number :: self._part.of] for part in order.split(batch_size)[first:]]
        for pixels_BCHW, targets in batches(self._images, mine, self._device):
            yield Batch((self._normalize(pixels_BCHW),), targets)


def batches(images: ImageSet, parts: list[Tensor], device: torch.device) -> Iterator[tuple[Tensor, Any]]:
    """Pixels and targets of ``images`` at each of the index lists, on ``device``.

    Images on disk are decoded one batch ahead.
    """
    if isinstance(images, MemorySet):
        for part in parts:
            pixels, targets = images.batch(part.to(images.labels_N.device))
            yield pixels.to(device), targets.to(device)
        return
    if not parts:
        return
    with ThreadPoolExecutor(max_workers=1) as pool:
        ahead: Future[Any] | None = pool.submit(images.batch, parts[0])
        for following in (*parts[1:], None):
            assert ahead is not None
            pixels, targets = ahead.result()
            ahead = pool.submit(images.batch, following) if following is not None else None
            yield pixels.to(device), targets.to(device)
