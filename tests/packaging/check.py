"""The source distribution builds, and the wheel made of it works where nothing else of onebit is.

    python tests/packaging/check.py FOLDER        makes FOLDER anew

From the tree a source distribution, from that alone a wheel, whose content is checked, and in a new environment with
what the command line needs, which has no torch: import, `onebit doctor`, the golden files' answers, and `onebit run`
with every trained network that ships, on a picture of a digit, whose answer must be right and whose time is told.  The
core is built without optimization, which is quick; everything else is as users get it.
"""

import json
import os
import shutil
import statistics
import subprocess
import sys
import tarfile
import time
import zipfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = ROOT / "src" / "onebit" / "zoo" / "shipped"
LICENSES = ("LICENSE", "NOTICE", "licenses/nanobind.txt", "licenses/robin_map.txt")
GOLDEN = """
import json, sys
from pathlib import Path
import numpy as np
import onebit
for path in sorted(Path(sys.argv[1]).glob("*.onebit")):
    stored = np.load(path.with_suffix(".npz"))
    answer = onebit.load(path)(stored["images"])
    np.testing.assert_allclose(answer.ravel(), stored["output"].ravel(), rtol=1e-4, atol=1e-5)
    print(path.name)
"""
PICTURE = """
import sys
import torch
from PIL import Image
from onebit.data import DATASETS
data = DATASETS["digits"](None, 16).test
pixels, label = data.batch(torch.tensor([0]))
Image.fromarray(pixels[0, 0].numpy()).save(sys.argv[1])
print(label.item())
"""
# The command line, in a process that tells of every attempt to import torch, though there is none to import.
WATCHED = """
import sys
tried = []
sys.addaudithook(lambda event, arguments: tried.append(arguments[0]) if event == "import" else None)
from onebit.cli.main import main
code = main(sys.argv[1:])
assert any(name.startswith("onebit") for name in tried), tried
assert not [name for name in tried if name.partition(".")[0] in ("torch", "lightning", "sklearn")], tried
sys.exit(code)
"""
REPEATS = 9
SLOWEST = 5.0  # seconds of CPU time, the same on a busy machine; on a quiet one the answer takes less than one


def run(*command: str | Path, cwd: Path = ROOT) -> str:
    """What the command prints; SystemExit with all of it where it fails."""
    done = subprocess.run([str(word) for word in command], cwd=cwd, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, command))}\n{done.stdout}{done.stderr}")
    return done.stdout


def check(condition: bool, message: str) -> None:
    """SystemExit with the message where the condition does not hold."""
    if not condition:
        raise SystemExit(message)


def source_distribution(folder: Path) -> Path:
    """The archive, with all that a build and its licenses need."""
    code = f"from scikit_build_core.build import build_sdist; build_sdist({str(folder)!r})"
    run(sys.executable, "-c", code)
    (archive,) = folder.glob("onebit-*.tar.gz")
    with tarfile.open(archive) as tar:
        names = {name.partition("/")[2] for name in tar.getnames()}
    wanted = {*LICENSES, "pyproject.toml", "README.md", "CMakeLists.txt", "bindings/core.cpp", "PKG-INFO"}
    wanted |= {f"src/onebit/zoo/shipped/{path.name}" for path in SHIPPED.iterdir()}
    check(wanted <= names, f"{archive.name} lacks {sorted(wanted - names)}")
    return archive


def wheel(archive: Path, folder: Path) -> Path:
    """The wheel, with the core, the data files and the licenses, and nothing that is not the package's."""
    options = ["--no-deps", "--no-build-isolation", "--no-cache-dir", "--config-settings=cmake.build-type=Debug"]
    run(sys.executable, "-m", "pip", "wheel", "--quiet", *options, "--wheel-dir", folder, archive)
    (made,) = folder.glob("onebit-*.whl")
    with zipfile.ZipFile(made) as file:
        names = set(file.namelist())
    package = ROOT / "src" / "onebit"
    files = {
        f"onebit/{path.relative_to(package)}"
        for path in package.rglob("*")
        if path.suffix in (".py", ".json", ".html", ".onebit", ".safetensors", ".typed")
    }
    (info,) = {name.partition("/")[0] for name in names if ".dist-info/" in name}
    wanted = files | {f"{info}/licenses/{name}" for name in LICENSES}
    check(wanted <= names, f"{made.name} lacks {sorted(wanted - names)}")
    others = {name for name in names - wanted if not name.startswith((f"{info}/", "onebit/_core."))}
    check(not others, f"{made.name} holds {sorted(others)} besides")
    check(any(name.startswith("onebit/_core.") for name in names), f"{made.name} has no core")
    return made


def try_out(made: Path, folder: Path) -> None:
    """In an environment of its own, with what ``onebit[cli]`` needs and no torch."""
    run(sys.executable, "-m", "venv", folder)
    python = folder / "bin" / "python"
    run(python, "-m", "pip", "install", "--quiet", "-c", ROOT / "constraints.txt", f"{made}[cli]")
    where = run(python, "-c", "import onebit; print(onebit.__file__, onebit.__version__)", cwd=folder)
    check(where.startswith(str(folder)), f"another onebit was imported: {where}")
    onebit = folder / "bin" / "onebit"
    golden = ROOT / "tests" / "golden"
    answered = run(python, "-W", "error", "-c", GOLDEN, golden, cwd=folder).split()
    check(len(answered) == len(list(golden.glob("*.onebit"))) > 0, f"only {answered} answered")
    report = json.loads(run(onebit, "doctor", "--json", cwd=folder))
    print(json.dumps(report, indent=2)[:400])
    cards = json.loads(run(onebit, "zoo", "trained", "--json", cwd=folder))["cards"]
    shipped = {path.stem for path in SHIPPED.glob("*.onebit")}
    check({card["name"] for card in cards} == shipped > set(), f"of {sorted(shipped)}, not all are listed")
    digit = run(sys.executable, "-c", PICTURE, folder / "digit.png").strip()
    for card in cards:
        answer_by_name(folder, card, digit)


def answer_by_name(folder: Path, card: dict[str, Any], digit: str) -> None:
    """``onebit run zoo:NAME digit.png``: the right answer where the network knows digits, in time and without torch."""
    python, onebit, wish = folder / "bin" / "python", folder / "bin" / "onebit", ["--fit", "stretch", "--json"]
    missing = "import importlib.util, sys; sys.exit(importlib.util.find_spec('torch') is not None)"
    run(python, "-c", missing)
    command = ["run", f"zoo:{card['name']}", "digit.png", *wish]
    (image,) = json.loads(run(python, "-W", "error", "-c", WATCHED, *command, cwd=folder))["images"]
    best = image["classes"][0]
    check(card["data"]["name"] != "digits" or best["class"] == digit, f"{card['name']} takes a {digit} for {best}")
    times = []
    for _ in range(REPEATS):
        start, cpu = time.perf_counter(), cpu_of_children()
        run(onebit, *command, cwd=folder)
        times.append((time.perf_counter() - start, cpu_of_children() - cpu))
    clock, cpu = (statistics.median(column) for column in zip(*times, strict=True))
    told = f"{clock:.2f} s, {cpu:.2f} s of them on a core (medians of {REPEATS}; load {os.getloadavg()[0]:.1f})"
    print(f"{card['name']}: {best['class']} ({best['probability']:.1%}), {told}")
    check(cpu < SLOWEST, f"{card['name']} took {cpu:.1f} s of CPU time, more than {SLOWEST}")


def cpu_of_children() -> float:
    """CPU time in seconds of the processes that have ended."""
    times = os.times()
    return times.children_user + times.children_system


def main(folder: Path) -> None:
    """All of it, in ``folder``."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    archive = source_distribution(folder)
    made = wheel(archive, folder)
    try_out(made, folder / "venv")
    print(f"{archive.name} ({archive.stat().st_size:,} B) -> {made.name} ({made.stat().st_size:,} B) works")


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
