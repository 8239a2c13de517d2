"""What is measured while an epoch runs: means over its images, and how many weights change sign."""

from typing import Any

import torch
from torch import Tensor, nn

from onebit.fields import check_fields, list_of, text, whole
from onebit.nn import latent_signs
from onebit.train.checkpoint import CheckpointError, check_tensor


class Tally:
    """Sums of named scalars over the images of an epoch, on the device.

    Attributes:
        images: so many have been counted.
        signs: of the binary weights when the epoch began, as :func:`onebit.nn.latent_signs` gives them.
    """

    def __init__(self, network: nn.Module) -> None:
        self._network = network
        self._names: list[str] = []
        self._sums = torch.zeros(0, dtype=torch.float64)
        self.images = 0
        self.signs = latent_signs(network)
        self._origin = "the epoch's beginning"

    def add(self, values: dict[str, Tensor], images: int) -> None:
        """Count scalars that are means over ``images`` images; every call of an epoch names the same ones.

        Raises CheckpointError where the checkpoint that the epoch went on from names others.
        """
        if self.images and self._names != list(values):
            raise CheckpointError(f"{self._origin} is damaged: it measured {self._names}, the run {list(values)}")
        sums = torch.stack([value.detach().double() for value in values.values()]) * images
        self._sums = sums if not self.images else self._sums + sums
        self._names, self.images = list(values), self.images + images

    def means(self) -> dict[str, float]:
        """Mean over the epoch's images of each scalar, in the order in which they were named."""
        return dict(zip(self._names, (self._sums / self.images).tolist(), strict=True))

    def flip_rate(self) -> float | None:
        """Share of the binary weights whose sign is not that which the epoch started from; None without any."""
        signs = latent_signs(self._network)
        return float((signs != self.signs).double().mean()) if len(signs) else None

    def start(self) -> None:
        """A new epoch begins."""
        self.images = 0
        self.signs = latent_signs(self._network)

    def state_dict(self) -> dict[str, Any]:
        return {"names": self._names, "sums": self._sums, "images": self.images, "signs": self.signs}

    def check(self, state: dict[str, Any]) -> None:
        """ValueError, which names the field, unless :meth:`load_state_dict` can take ``state``."""
        check_fields(state, {"names": list_of(text()), "images": whole(1)}, "tally")
        sums = torch.zeros(len(state["names"]), dtype=torch.float64)
        for name, wanted in (("sums", sums), ("signs", self.signs)):
            check_tensor(f"tally.{name}", state.get(name), wanted)

    def load_state_dict(self, state: dict[str, Any], origin: str) -> None:
        """Go on from ``state``, which lies in ``origin``, as messages call it."""
        self._origin = origin
        self._names, self.images = state["names"], state["images"]
        self._sums, self.signs = state["sums"].to(self.signs.device), state["signs"].to(self.signs.device)
