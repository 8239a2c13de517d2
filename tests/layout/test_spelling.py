"""American spelling, everywhere in the tree."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PLACES = ("src", "native", "bindings", "docs", "tests", "benchmarks", "examples", ".")  # the last without folders
SUFFIXES = (".py", ".pyi", ".cpp", ".h", ".inc", ".md", ".toml", ".yml", ".txt", ".cmake", "")
STEMS = (
    "binar|categor|character|custom|discret|emphas|equal|factor|final|general|initial|local|maxim|memor|minim|normal|"
    "optim|organ|parallel|penal|prior|quant|random|real|recogn|regular|serial|special|stabil|standard|summar|symbol|"
    "synchron|token|util|vector|visual"
)
BRITISH = re.compile(
    rf"(?:(?:{STEMS})is(?:e|ed|er|ers|es|ing|ations?)\b|analys(?:e|ed|es|ing)\b|artefact|behaviour|"
    r"(?:cancel|label|model|signal|travel)l(?:ed|ing)\b|catalogue|centre|colour|defence|favour|fibre|\bgrey|honour|"
    r"judgement|licence|\bmetre|neighbour|programme\b|rigour|whilst)\w*",
    re.IGNORECASE,
)
# What files that were written before may hold.
KEPT = {"src/onebit/train/artifact.py": {"colour", "grey"}, "tests/train/test_loop.py": {"colour", "grey"}}


def files():
    for place in PLACES:
        for path in (ROOT / place).glob("*" if place == "." else "**/*"):
            if path.is_file() and path.suffix in SUFFIXES and path != Path(__file__) and path.stat().st_size < 1 << 20:
                yield path


def test_spelling():
    found, kept = [], {}
    for path in files():
        name = str(path.relative_to(ROOT))
        for number, line in enumerate(path.read_text().splitlines(), 1):
            for word in BRITISH.findall(line):
                if word.lower() in KEPT.get(name, ()):
                    kept.setdefault(name, set()).add(word.lower())
                else:
                    found.append(f"{name}:{number}: {word}")
    assert not found
    assert kept == KEPT


def test_what_is_found():
    assert BRITISH.findall("Normalised colours, labelled") == ["Normalised", "colours", "labelled"]
    assert not BRITISH.findall("normalized optimistic realism, model; precise exercise, otherwise labels, symmetric")
