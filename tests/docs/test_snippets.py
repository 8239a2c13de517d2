"""What the documentation shows runs: python blocks, command lines, links to figures, numbers of the network table."""

import ast
import re
import runpy
import shlex
import sys
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import onebit
from onebit.cli.main import VERBS
from onebit.models import build
from onebit.nn.cost import count_cost
from onebit.recipes import RECIPES
from onebit.study import read_study
from onebit.zoo.networks import NETWORKS, file_sizes

DOCS = Path(__file__).parents[2] / "docs"
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
PAGES = [DOCS.parent / "README.md", DOCS.parent / "CONTRIBUTING.md", *sorted(DOCS.rglob("*.md"))]


def short(count):
    """A count in thousands or millions."""
    if count < 1e6:
        return f"{count / 1e3:.0f}k"
    return f"{count / 1e6:.2f}M" if count < 1e7 else f"{count / 1e6:.1f}M"


def blocks(page, language):
    """The fenced blocks of a page in that language, each with the number of the line that it starts on."""
    text = page.read_text()
    return [(text.count("\n", 0, m.start(2)), m[2]) for m in FENCE.finditer(text) if m[1] == language]


def commands():
    """(page, command line) of every ``onebit`` command in the pages, continued lines joined, comments left out."""
    found = []
    for page in PAGES:
        for _, text in blocks(page, "sh"):
            lines = text.replace("\\\n", " ").splitlines()
            found += [(page.stem, line) for line in lines if line.startswith("onebit ")]
    return found


def a_reader_has():
    """What pages about any model take for granted: a network of the reader's own, pictures, and in the folder a packed
    file and a picture.
    """
    layers = [nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3, 2, 1), nn.BatchNorm2d(8)]
    model = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3))
    onebit.binarize_(model, "trained-binarization")
    pixels = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), np.uint8)
    Image.fromarray(pixels[0]).save("cat.jpg")
    given = {"mean": (0.5, 0.5, 0.5), "std": (0.25, 0.25, 0.25)}
    onebit.pack(model, (3, 32, 32), classes=["cat", "dog", "owl"], **given).save("net.onebit")
    large = np.random.default_rng(1).integers(0, 256, (2, 224, 224, 3), np.uint8)
    images = {"image": pixels[0], "batch": pixels, "images": large}
    return {"model": model, "names": ["cat", "dog", "owl"], **images, **given}


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "python")], ids=lambda page: page.stem)
def test_python_blocks_run(page, tmp_path, monkeypatch):
    """The blocks of a page run one after the other, as a reader would type them."""
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    names = {"__name__": "__main__", "onebit": onebit}
    if page.parent.name != "methods":  # whose blocks need nothing
        names |= a_reader_has()
    for line, text in blocks(page, "python"):
        exec(compile("\n" * line + text, str(page), "exec"), names)  # blank lines: a traceback names the page's line


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "python")], ids=lambda page: page.stem)
def test_python_blocks_use_public_names(page):
    """What they import is in the ``__all__`` of its package."""
    for _, text in blocks(page, "python"):
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.ImportFrom) and node.module.startswith("onebit"):
                assert {name.name for name in node.names} <= set(import_module(node.module).__all__), node.module


@pytest.mark.parametrize(("page", "line"), commands())
def test_commands_are_understood(page, line, tmp_path, monkeypatch):
    """Every command names a verb, recipes, models and settings that there are, and values that are allowed."""
    monkeypatch.chdir(tmp_path)
    Path("mine.yaml").write_text("recipe: vgg-small-digits\n")
    _, verb, *argv = shlex.split(line.partition(" > ")[0], comments=True)
    assert verb in VERBS
    parse = import_module(f"onebit.cli.{verb}").parse
    if "--print_config" in argv:  # prints and ends
        with pytest.raises(SystemExit, match="0"):
            parse(argv)
    else:
        parse(argv)


def test_studies_are_understood(tmp_path):
    """Those of the pages, and those of the repository."""
    texts = [text for page in PAGES for _, text in blocks(page, "yaml")]
    texts += [path.read_text() for path in (DOCS.parent / "studies").glob("*.yaml")]
    for text in texts:
        (tmp_path / "study.yaml").write_text(text)
        assert read_study(tmp_path / "study.yaml").in_order()


def test_pages_name_recipes_that_exist():
    for page in PAGES:
        for name in re.findall(r"onebit train ([a-z0-9.-]+)", page.read_text()):
            if not name.startswith("-"):
                assert name in RECIPES, page


@pytest.fixture(scope="module")
def figures():
    """Name -> the function that draws it."""
    sys.path.insert(0, str(DOCS / "figures"))  # run_path, unlike the command line, does not do this for a file
    try:
        return runpy.run_path(str(DOCS / "figures" / "draw.py"))["FIGURES"]
    finally:
        sys.path.remove(str(DOCS / "figures"))


@pytest.mark.slow
def test_figures_can_be_drawn(figures):
    for draw in figures.values():
        assert draw().axes


def test_figures_are_drawn_and_shown(figures):
    shown = {name for page in PAGES for name in re.findall(r"figures/([\w-]+)\.png", page.read_text())}
    assert shown == {path.stem for path in (DOCS / "figures").glob("*.png")} == set(figures)


@pytest.mark.slow
def test_network_table_is_what_the_counter_says():
    """A failure prints all lines as they should be."""
    sizes, lines = file_sizes(), []
    for network in NETWORKS:
        cost = count_cost(build(network, device="meta"), network.input_shape)
        options = {name: value for name, value in network.options.items() if name != "scheme"}
        label = ", ".join([f"`{network.model}`", *(f"{name}: {value}" for name, value in options.items())])
        real, binary = (sum(row.weights for row in cost.rows if row.weight_bits == bits) for bits in (32, 1))
        counts = [short(count) for count in (real, binary, cost.flops, cost.bops, cost.ops)]
        kilobytes = f"{sizes[network.name] / 1000:,.0f} kB"
        lines.append(f"| {label} | {network.size} | {' | '.join(counts)} | {kilobytes} |")
    print("\n".join(lines))
    page = (DOCS / "networks.md").read_text()
    assert [line for line in page.splitlines() if re.search(r"\| (32|224) \|", line)] == lines
