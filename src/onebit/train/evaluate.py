"""Accuracy of a model on a set of images."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchmetrics.classification import MulticlassConfusionMatrix

from onebit.data import ImageSet, MemorySet

# Shape letters: B batch, K classes.


@dataclass(frozen=True)
class Score:
    """What a model scored; accuracies are shares of 1, the loss is the mean cross-entropy in nats."""

    images: int
    accuracy: float
    loss: float
    class_accuracy: tuple[float | None, ...]  # None for a class without images


@torch.inference_mode()
def evaluate(
    model: nn.Module, normalize: nn.Module, images: ImageSet, num_classes: int, batch_size: int = 500
) -> Score:
    """Score ``model`` (put in evaluation mode, then back) on all ``images``."""
    device = next(model.parameters()).device
    was_training = model.training, normalize.training
    model.eval()
    normalize.eval()
    confusion = MulticlassConfusionMatrix(num_classes).to(device)
    loss = 0.0
    for pixels_BCHW, labels_B in batches(images, torch.arange(len(images)), batch_size, device):
        logits_BK = model(normalize(pixels_BCHW))
        confusion.update(logits_BK, labels_B)
        loss += float(F.cross_entropy(logits_BK, labels_B, reduction="sum"))
    model.train(was_training[0])
    normalize.train(was_training[1])
    counts_KK = confusion.compute().double()
    correct_K = counts_KK.diag()
    return Score(
        images=len(images),
        accuracy=float(correct_K.sum() / counts_KK.sum()),
        loss=loss / len(images),
        class_accuracy=tuple(
            right / total if total else None
            for right, total in zip(correct_K.tolist(), counts_KK.sum(1).tolist(), strict=True)
        ),
    )


def batches(images: ImageSet, order: Tensor, batch_size: int, device: torch.device) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches of ``images`` in ``order`` on ``device``; images on disk are decoded one batch ahead."""
    parts = order.split(batch_size)
    if isinstance(images, MemorySet):
        for part in parts:
            pixels, labels = images.batch(part.to(images.labels_N.device))
            yield pixels.to(device), labels.to(device)
        return
    with ThreadPoolExecutor(max_workers=1) as pool:
        ahead = pool.submit(images.batch, parts[0]) if parts else None
        for following in (*parts[1:], None):
            assert ahead is not None
            pixels, labels = ahead.result()
            ahead = pool.submit(images.batch, following) if following is not None else None
            yield pixels.to(device), labels.to(device)
