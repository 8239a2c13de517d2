"""Classification: one image in, one logit per class out."""

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from onebit.data import ImageData
from onebit.fields import check_fields, list_of, text, whole
from onebit.format.graph import Graph, validate
from onebit.tasks.base import TASKS, Description, Metric, Mixed, Scores
from onebit.tasks.images import ImageTask

# Shape letters: N examples, B batch, K classes.


@TASKS.register("classification")
class Classification(ImageTask):
    """One of K classes for each image: cross-entropy, in nats per image, and accuracy.

    ``L = -sum_k q_k log softmax(logits)_k`` with ``q = (1 - s) onehot(label) + s / K``.  Of mixed images it is the
    same with the mixture of their labels, and there is no training accuracy: none of the classes is the right one.

    Args:
        label_smoothing: s, from 0 to below 1; in training only.
    """

    metrics = (Metric("loss", higher_is_better=False), Metric("accuracy", share=True))
    main = "accuracy"
    answer = "class"
    mixes = True

    def __init__(self, *, label_smoothing: float = 0.0) -> None:
        if not 0 <= label_smoothing < 1:
            raise ValueError(f"label_smoothing must be from 0 to below 1, got {label_smoothing}")
        self.label_smoothing = label_smoothing

    def load_for(self, description: Description, dataset: str, data_dir: Path | None) -> Any:
        data = super().load_for(description, dataset, data_dir)
        if description["classes"] is not None:
            known = set(description["classes"])
            if strange := [name for name in data.classes if name not in known]:
                raise ValueError(
                    f"data set {data.name!r} has classes that the network does not know: {listed(strange)}; "
                    f"its own are {listed(description['classes'])}"
                )
        elif description["num_classes"] != len(data.classes):
            raise ValueError(
                f"the network has {description['num_classes']} classes, which it does not name, "
                f"but data set {data.name!r} has {len(data.classes)}"
            )
        return data

    def identity(self, data: ImageData) -> dict[str, Any]:
        return {"classes": list(data.classes), **super().identity(data)}

    def describe(self, data: ImageData) -> Description:
        return {"num_classes": len(data.classes), "classes": list(data.classes), **super().describe(data)}

    def check(self, description: Mapping[str, Any]) -> None:
        super().check(description)
        check_fields(description, {"num_classes": whole(1)})
        check_fields(description, {"classes": list_of(text(), description["num_classes"])})

    def model_arguments(self, description: Description) -> dict[str, Any]:
        return {"num_classes": description["num_classes"], **super().model_arguments(description)}

    def losses(self, outputs: Tensor, targets: Tensor | Mixed) -> dict[str, Tensor]:
        if isinstance(targets, Mixed):
            first, second = (self._cross_entropy(outputs, labels_B) for labels_B in (targets.first, targets.second))
            return {"cross_entropy": targets.share * first + (1 - targets.share) * second}
        return {"cross_entropy": self._cross_entropy(outputs, targets)}

    def _cross_entropy(self, logits_BK: Tensor, labels_B: Tensor) -> Tensor:
        return F.cross_entropy(logits_BK, labels_B, label_smoothing=self.label_smoothing)

    def imitation(self, outputs: Tensor, teacher_outputs: Tensor, temperature: float) -> Tensor:
        return soft_cross_entropy(outputs, teacher_outputs, temperature)

    def training_scores(self, outputs: Tensor, targets: Tensor | Mixed) -> dict[str, Tensor]:
        return {} if isinstance(targets, Mixed) else {"accuracy": (outputs.argmax(1) == targets).double().mean()}

    def targets_for(self, data: ImageData, description: Description) -> Callable[[Tensor], Tensor]:
        if description["classes"] is None:
            return super().targets_for(data, description)
        number = {name: index for index, name in enumerate(description["classes"])}
        numbers = torch.tensor([number[name] for name in data.classes])
        return lambda labels_B: numbers.to(labels_B.device)[labels_B]

    def tally(self, outputs: Tensor, targets: Tensor, description: Description) -> dict[str, Tensor]:
        classes = description["num_classes"]
        right_B = outputs.argmax(1) == targets
        return {
            "loss": F.cross_entropy(outputs, targets, reduction="sum").double(),
            "right": torch.bincount(targets[right_B], minlength=classes),
            "all": torch.bincount(targets, minlength=classes),
        }

    def scores(self, sums: Mapping[str, Tensor], description: Description) -> Scores:
        right_K, all_K = sums["right"].tolist(), sums["all"].tolist()
        images = sum(all_K)
        names = description["classes"] or [str(index) for index in range(len(all_K))]
        shares = [right / total if total else None for right, total in zip(right_K, all_K, strict=True)]
        return Scores(
            examples=images,
            values={"loss": float(sums["loss"]) / images, "accuracy": sum(right_K) / images},
            details={"class_accuracy": dict(zip(names, shares, strict=True))},
        )

    def description_of(self, graph: Graph) -> Description:
        names = None if graph.classes is None else list(graph.classes)
        features = math.prod(validate(graph)[graph.output].shape)
        return {"num_classes": features, "classes": names, **super().description_of(graph)}

    def same_answer(self, one: NDArray[Any], other: NDArray[Any]) -> NDArray[np.bool_]:
        finite = np.isfinite(one).all(1) & np.isfinite(other).all(1)
        return (one.argmax(1) == other.argmax(1)) & finite

    def loss_of_precision(self, before: dict[str, float], after: dict[str, float], examples: int) -> tuple[str, bool]:
        lost = round((before["accuracy"] - after["accuracy"]) * examples)
        allowed = max(1, examples // 1000)
        return f"{abs(lost)} images {'lost' if lost >= 0 else 'won'}, allowed to be lost: {allowed}", lost > allowed


def listed(names: Sequence[str]) -> str:
    """Some of many names."""
    shown = ", ".join(repr(name) for name in names[:5])
    return shown if len(names) <= 5 else f"{shown} and {len(names) - 5} more"


def soft_cross_entropy(logits_BK: Tensor, targets_BK: Tensor, temperature: float = 1.0) -> Tensor:
    """``-T^2 mean_images sum_k softmax(targets / T)_k log softmax(logits / T)_k``, a scalar (arXiv:1503.02531)."""
    probabilities_BK = (targets_BK / temperature).softmax(1)
    return F.cross_entropy(logits_BK / temperature, probabilities_BK) * temperature**2
