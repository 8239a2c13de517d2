"""What the documentation shows runs: python blocks, command lines, links to figures, numbers of the network table."""

import re
import runpy
import shlex
import sys
from importlib import import_module
from pathlib import Path

import pytest
import torch

from onebit.cli.main import VERBS
from onebit.models import build
from onebit.nn.cost import count_cost
from onebit.recipes import RECIPES
from onebit.zoo.networks import NETWORKS, file_sizes

DOCS = Path(__file__).parents[2] / "docs"
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
PAGES = [*sorted((DOCS / "methods").glob("*.md")), DOCS / "networks.md"]


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
            found += [(page.name, line) for line in lines if line.startswith("onebit ")]
    return found


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "python")], ids=lambda page: page.stem)
def test_python_blocks_run(page, tmp_path, monkeypatch):
    """The blocks of a page run one after the other, as a reader would type them."""
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    names = {"__name__": "__main__"}
    for line, text in blocks(page, "python"):
        exec(compile("\n" * line + text, str(page), "exec"), names)  # blank lines: a traceback names the page's line


@pytest.mark.parametrize(("page", "line"), commands())
def test_commands_are_understood(page, line):
    """Every command names a verb, recipes, models and settings that there are, and values that are allowed."""
    _, verb, *argv = shlex.split(line, comments=True)
    assert verb in VERBS
    import_module(f"onebit.cli.{verb}").parse(argv)


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


def test_figures_can_be_drawn(figures):
    for draw in figures.values():
        assert draw().axes


def test_figures_are_drawn_and_shown(figures):
    shown = {
        name for page in [*PAGES, *DOCS.glob("*.md")] for name in re.findall(r"figures/([\w-]+)\.png", page.read_text())
    }
    assert shown == {path.stem for path in (DOCS / "figures").glob("*.png")} == set(figures)


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
