"""A recipe names everything a run needs; two runs of one recipe differ only by seed."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from onebit.methods import METHODS
from onebit.registry import Registry
from onebit.train import TrainSettings, train


@dataclass(frozen=True, kw_only=True)
class Recipe(TrainSettings):
    """Settings with a name in ``RECIPES``; a variant is ``dataclasses.replace(base, ...)``.

    A recipe whose method needs a teacher names none: the run's ``teacher`` is the folder of a run of its float
    counterpart, :meth:`real`, or of another network that its docstring names.
    """

    def real(self) -> "Recipe":
        """The float counterpart: the same network and schedule with real weights and activations, labels alone."""
        changes: dict[str, Any] = {"scheme": "float", "scheme_options": {}, "method": "plain", "method_options": {}}
        return replace(self, **changes, teacher=None, two_step=0.0, lr_factors={})

    def debug(self, folder: Path) -> "Recipe":
        """The same network, scheme, method and stages for two steps on random images; the tests run every recipe so.

        A method that needs a teacher gets the float counterpart after one step, trained here into ``folder``.
        """
        tiny = replace(self, dataset="random16", image_size=None, epochs=1, batch_size=8, max_steps=2, compile=False)
        if self.two_step:
            tiny = replace(tiny, epochs=2, batch_size=16, two_step=0.5)  # each stage is an epoch of one step
        if METHODS[self.method](**self.method_options).needs_teacher:
            train(replace(tiny.real(), max_steps=1), folder / "teacher", show=False)
            tiny = replace(tiny, teacher=str(folder / "teacher"))
        return tiny


RECIPES: Registry[Callable[[], Recipe]] = Registry("recipe")
