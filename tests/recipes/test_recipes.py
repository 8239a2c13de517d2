"""Every recipe of the repository can be built and takes two steps on random images."""

import json

import pytest
from marks import slow_except

from onebit.recipes import RECIPES
from onebit.train import load_trained, train


class TestEveryRecipe:
    @pytest.mark.parametrize("name", slow_except(RECIPES, "vgg-small-digits", "rbcn-resnet20-cifar10-short"))
    def test_two_steps(self, name, tmp_path):
        recipe = RECIPES[name]()
        settings = recipe.debug(tmp_path)
        assert (settings.model, settings.scheme, settings.method) == (recipe.model, recipe.scheme, recipe.method)
        result = train(settings, tmp_path / "run", recipe=name, show=False)
        assert result.steps == 2
        _, meta = load_trained(tmp_path / "run")
        assert meta["provenance"]["recipe"] == name
        rows = json.loads((tmp_path / "run" / "record.json").read_text())["epochs"]
        assert {row["stage"] for row in rows} == ({1, 2} if recipe.two_step else {1})

    @pytest.mark.parametrize("name", slow_except(RECIPES, "vgg-small-digits", "rbcn-resnet20-cifar10-short"))
    def test_float_counterpart(self, name, tmp_path):
        settings = RECIPES[name]().real().debug(tmp_path)
        assert train(settings, tmp_path / "run", show=False).steps == 2

    @pytest.mark.parametrize("name", RECIPES)
    def test_is_documented(self, name):
        assert RECIPES[name].__doc__


class TestOurBest:
    NAMES = tuple(name for name in RECIPES if name.endswith("-best"))

    def test_there_is_one_for_each_of_the_four_systems(self):
        assert len(self.NAMES) == 4

    @pytest.mark.parametrize("name", NAMES)
    def test_says_whose_it_is_and_keeps_the_system(self, name):
        text = RECIPES[name].__doc__
        assert text.startswith("Ours, not the paper's")
        assert "not been measured" in " ".join(text.split())
        base, best = RECIPES[name.removesuffix("-best")](), RECIPES[name]()
        assert (best.model, best.scheme, best.dataset) == (base.model, base.scheme, base.dataset)
        assert best.ema
        assert best.mixup
        stage = best.epochs - round(best.two_step * best.epochs)
        assert best.warmup * stage == pytest.approx(10)
