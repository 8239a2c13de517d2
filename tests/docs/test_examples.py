"""Examples that end in seconds run as a user would run them; ``make demo`` runs the other one."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

import onebit
from onebit.data import DATASETS

EXAMPLES = Path(__file__).parents[2] / "examples"
WITHOUT_TORCH = """
import runpy, sys
sys.modules["torch"] = None  # to import it fails
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def example(name, *arguments):
    command = [sys.executable, "-W", "error", "-c", WITHOUT_TORCH, str(EXAMPLES / name), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture
def digit(tmp_path):
    """A picture of the first test digit, in color and of another size than the network's, and which digit it is."""
    pixels, label = DATASETS["digits"](None, 16).test.batch(torch.tensor([0]))
    Image.fromarray(pixels[0, 0].numpy()).convert("RGB").resize((48, 48)).save(tmp_path / "digit.png")
    return tmp_path / "digit.png", str(label.item())


def test_run_trained(digit):
    path, label = digit
    done = example("run_trained.py", "vgg-small-digits", path)
    assert done.returncode == 0, done.stderr
    first, *others = [line.split() for line in done.stdout.splitlines()]
    assert first[0] == label
    assert len(others) == 2
    shares = [float(share.rstrip("%")) for _, share in (first, *others)]
    assert shares == sorted(shares, reverse=True)
    assert shares[0] > 50


def test_run_trained_without_arguments_and_with_wrong_ones(digit):
    path, _ = digit
    listed = example("run_trained.py")
    assert [line.partition(":")[0] for line in listed.stdout.splitlines()] == list(onebit.zoo.trained())
    assert "usage: " in listed.stderr
    unknown = example("run_trained.py", "vgg-smal-digits", path)
    assert unknown.stderr == "Unknown trained network 'vgg-smal-digits'; did you mean 'vgg-small-digits'?\n"
    missing = example("run_trained.py", "vgg-small-digits", path.with_name("no.png"))
    assert missing.stderr.endswith("no such file\n")
    assert missing.returncode == unknown.returncode == listed.returncode == 1
