"""Every recipe of the repository can be built and takes two steps on random images."""

from dataclasses import replace

import pytest

from onebit.recipes import RECIPES
from onebit.train import load_trained, train


@pytest.mark.parametrize("name", RECIPES)
class TestEveryRecipe:
    def test_two_steps(self, name, tmp_path):
        result = train(RECIPES[name]().debug(), tmp_path, recipe=name, show=False)
        assert result.steps == 2
        _, meta = load_trained(tmp_path)
        assert meta["provenance"]["recipe"] == name

    def test_float_counterpart(self, name, tmp_path):
        settings = replace(RECIPES[name](), scheme="float").debug()
        assert train(settings, tmp_path, show=False).steps == 2

    def test_is_documented(self, name):
        assert RECIPES[name].__doc__
