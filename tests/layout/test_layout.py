"""Rules about the source tree itself."""

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import onebit
from onebit.registry import Registry

ROOT = Path(onebit.__file__).parent


@pytest.mark.parametrize("package", ["models", "methods", "tasks", "recipes", "data"])
def test_init_imports_every_module(package):
    """A file nobody imports registers nothing, and says so to nobody."""
    init = (ROOT / package / "__init__.py").read_text()
    forgotten = [
        f.stem
        for f in (ROOT / package).glob("[!_]*.py")
        if ".register(" in f.read_text() and f"import {f.stem} as" not in init and f".{f.stem} " not in init
    ]
    assert not forgotten, f"add these to onebit/{package}/__init__.py: {forgotten}"


def test_registries_hold_what_the_package_registers():
    """What a test file registers while it is imported would be seen by every test that goes through a registry."""
    importlib.import_module("onebit.recipes")  # which imports all packages that have registries
    found = {
        id(value): value
        for name, module in list(sys.modules.items())
        if name.partition(".")[0] == "onebit"
        for value in vars(module).values()
        if isinstance(value, Registry)
    }
    assert {"model", "task", "data set", "recipe", "training method"} <= {each.kind for each in found.values()}
    for registry in found.values():
        for name, item in registry._items.items():
            if getattr(item, "__module__", None):
                assert item.__module__.partition(".")[0] in ("onebit", "torch"), (registry.kind, name, item)


def test_runtime_needs_numpy_and_safetensors_alone():
    """Running a packed network works where nothing else can be imported."""
    code = """
import sys, sysconfig
class Refuse:
    allowed = {"numpy", "safetensors", "onebit"} | set(sys.stdlib_module_names)
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] not in self.allowed and not name.startswith("_"):
            raise ModuleNotFoundError(f"refused {name}", name=name)
sys.meta_path.insert(0, Refuse())
import numpy as np
import onebit
from onebit.format.file import save_graph
from onebit.runtime.selftest import small_network
import tempfile, os
with tempfile.TemporaryDirectory() as folder:
    path = os.path.join(folder, "a.onebit")
    save_graph(small_network(), path)
    model = onebit.load(path)
    assert model(np.zeros((9, 9, 3), np.uint8)).shape == (5,)
try:
    onebit.pack
except ModuleNotFoundError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_importing_onebit_does_not_import_torch():
    code = "import sys, onebit, onebit.runtime.model, onebit.runtime.engine; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_registry_refuses_a_second_owner_of_a_name():
    registry: Registry[int] = Registry("number")
    registry.register("one")(1)
    assert "one" in registry
    assert "two" not in registry
    with pytest.raises(ValueError, match="number 'one' is registered twice"):
        registry.register("one")(2)
    with pytest.raises(ValueError, match=r"Unknown number 'onne'; did you mean 'one'\?"):
        registry["onne"]
    with pytest.raises(ValueError, match="choose one of"):
        registry[3]


PACKAGES = sorted(folder.name for folder in ROOT.iterdir() if (folder / "__init__.py").exists())


@pytest.mark.parametrize("package", PACKAGES)
def test_every_package_is_an_attribute_of_onebit(package, monkeypatch):
    monkeypatch.delattr(onebit, package, raising=False)  # whoever imported it before has set it
    assert package in dir(onebit)
    assert getattr(onebit, package).__name__ == f"onebit.{package}"


def test_a_package_needs_no_import_of_its_own():
    code = "import onebit; print(onebit.nn.__name__, onebit.export.__name__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == "onebit.nn onebit.export\n", done.stderr


def test_public_names_are_there_and_others_are_not():
    assert set(onebit.__all__) <= set(dir(onebit))
    assert all(getattr(onebit, name) is not None for name in onebit.__all__)
    for name in ("no_such_name", "_no_such_name", "no.such", ""):
        assert not hasattr(onebit, name)
    assert (ROOT / "py.typed").exists()


@pytest.mark.parametrize("package", sorted(set(PACKAGES) - {"cli"}))  # which is no library
def test_packages_say_what_is_public(package):
    module = importlib.import_module(f"onebit.{package}")
    assert module.__all__ == sorted(module.__all__, key=lambda name: (not name.isupper(), name[0].islower(), name))
    assert all(hasattr(module, name) for name in module.__all__)


def test_a_missing_library_is_named_with_the_extra_that_brings_it():
    code = "import sys; sys.modules['torch'] = None; import onebit; onebit.{}"
    for name in ("nn", "pack"):
        done = subprocess.run([sys.executable, "-c", code.format(name)], capture_output=True, text=True, check=False)
        assert f'onebit.{name} needs torch: pip install "onebit[train]"' in done.stderr


def test_the_cpu_has_one_name():
    """In records of trainings, in measurements and in the file of tuned kernels."""
    import onebit._core as core
    from onebit.runtime.cpu import describe
    from onebit.train.record import machine

    assert machine()["cpu"] == core.cpu_name()
    assert describe().startswith(f"{core.cpu_name()}, ")
