"""The source distribution builds, and the wheel made of it works where nothing else of onebit is.

    python tests/packaging/check.py FOLDER        makes FOLDER anew

From the tree a source distribution, from that alone a wheel, whose content is checked, and in a new environment with
what the command line needs: import, `onebit doctor`, the golden files' answers, and `onebit run` with every trained
network that ships.  The core is built without optimization, which is quick; everything else is as users get it.
"""

import json
import shutil
import subprocess
import sys
import tarfile
import time
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
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
PICTURE = "from PIL import Image; Image.new('L', (16, 16), 128).save('gray.png')"


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
        if path.suffix in (".py", ".json", ".html", ".onebit", ".typed")
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
    run(python, "-c", PICTURE, cwd=folder)
    cards = json.loads(run(onebit, "zoo", "trained", "--json", cwd=folder))["cards"]
    shipped = {path.stem for path in (ROOT / "src" / "onebit" / "zoo" / "shipped").glob("*.onebit")}
    check({card["name"] for card in cards} == shipped > set(), f"of {sorted(shipped)}, not all are listed")
    for card in cards:
        start = time.perf_counter()
        answer = run(onebit, "run", f"zoo:{card['name']}", "gray.png", "--fit", "stretch", cwd=folder)
        print(f"{card['name']}: {time.perf_counter() - start:.2f} s, {answer.strip()}")


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
