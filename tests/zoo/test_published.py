"""The table of networks: complete, true to its models, and its file sizes are what packing gives."""

import importlib.util
import json
from pathlib import Path

import pytest

from onebit.cli.main import main
from onebit.models import MODELS
from onebit.zoo.networks import NETWORKS, file_sizes

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "sizes.py"


def measure(network):
    """The function of the script that wrote the sizes."""
    spec = importlib.util.spec_from_file_location("sizes", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.measure(network)


def test_every_model_is_listed_once_per_size():
    assert {network.model for network in NETWORKS} == set(MODELS)
    names = [network.name for network in NETWORKS]
    assert len(set(names)) == len(names)
    assert set(file_sizes()) == set(names)


@pytest.mark.parametrize("network", [n for n in NETWORKS if n.size == 32], ids=lambda n: n.name)
def test_file_sizes(network):
    """Those for 32x32 images; the others take the same code and minutes."""
    assert measure(network) == file_sizes()[network.name]


def test_results_say_where_they_come_from():
    results = [result for network in NETWORKS for result in network.results]
    assert results
    for result in results:
        assert result.training
        assert "arXiv:" in result.source or "IEEE" in result.source
        assert 40 < result.top1 < (result.top5 or 100) <= 100


def test_zoo_models(capsys, monkeypatch):
    """Of two networks; `tests/docs` counts all of them."""
    two = tuple(network for network in NETWORKS if network.name in ("resnet18-224", "reactnet-a-224"))
    monkeypatch.setattr("onebit.zoo.networks.NETWORKS", two)
    assert main(["zoo", "models", "--json"]) == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)["networks"]}
    row = rows["resnet18-224"]
    assert row["input"] == [3, 224, 224]
    assert row["options"] == {"scheme": "bireal", "downsample": "conv1x1"}
    assert round(row["ops"] / 1e6, 1) == 164.0
    assert row["ops"] == row["flops"] + row["bops"] / 64
    assert row["file_bytes"] == file_sizes()["resnet18-224"]
    assert {
        key: next(r for r in row["results"] if r["training"] == "RBCN")[key] for key in ("dataset", "top1", "top5")
    } == {"dataset": "ImageNet", "top1": 59.5, "top5": 81.6}
    assert main(["zoo", "models"]) == 0
    out = capsys.readouterr().out
    line = next(line for line in out.splitlines() if "ImageNet 69.5" in line)
    assert line.split()[:7] == ["reactnet-a", "224x224", "29.3M", "7.95M", "11.9M", "4.82G", "87.1M"]
