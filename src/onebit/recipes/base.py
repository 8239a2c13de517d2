"""A recipe names everything a run needs; two runs of one recipe differ only by seed."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from onebit.registry import Registry
from onebit.train import TrainSettings


@dataclass(frozen=True, kw_only=True)
class Recipe(TrainSettings):
    """Settings with a name in ``RECIPES``; a variant is ``dataclasses.replace(base, ...)``."""

    def debug(self) -> "Recipe":
        """The same network, scheme and method for two steps on random images; the tests run every recipe so."""
        return replace(self, dataset="random16", epochs=1, batch_size=8, max_steps=2, compile=False)


RECIPES: Registry[Callable[[], Recipe]] = Registry("recipe")
