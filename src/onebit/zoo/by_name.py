"""Trained networks by name: those that ship with onebit, in ``shipped/`` beside this file, and those of a folder of the
user's.

A network is a model card and a packed file, and for some a start: the weights that training goes on from, which the
packed file no longer has.  A file is used only if its SHA-256 is that of its card.
"""

import hashlib
import os
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from onebit.runtime.model import Model
from onebit.runtime.model import load as load_file
from onebit.zoo.card import PACKED, START, SUFFIX, Card, CardError, File, read_card

SHIPPED = Path(__file__).parent / "shipped"
VARIABLE = "ONEBIT_ZOO"
PREFIX = "zoo:"  # before the name of a trained network, where a file or a folder is taken

Folder = str | os.PathLike[str] | None


def load(name: str, *, folder: Folder = None, **options: Any) -> Model:
    """Load a trained network, ``onebit.zoo.load("vgg-small-digits")``.

    Args:
        name: one of :func:`trained`.
        folder: where packed files, and cards of further networks, lie; by default the folder that the environment
            variable ONEBIT_ZOO names, if any.  It is searched before the networks that ship with onebit.
        options: further arguments of :func:`onebit.load`, such as ``threads``.

    Raises:
        ValueError: an unknown name, with the nearest one; a packed file that is not the one of its card.
        FileNotFoundError: no such folder; a packed file that is not there.
    """
    return load_file(packed_file(name, folder=folder), **options)


def trained(folder: Folder = None) -> dict[str, Card]:
    """The card of every trained network, by name; arguments and errors as in :func:`load`."""
    found: dict[str, Card] = {}
    for place in reversed(_places(folder)):
        found |= {name: read_card(place / f"{name}{SUFFIX}") for name in _names(place)}
    return dict(sorted(found.items()))


def card_of(name: str, *, folder: Folder = None) -> Card:
    """The card of one trained network; arguments and errors as in :func:`load`."""
    places = _places(folder)
    for place in places:
        if name in _names(place):
            return read_card(place / f"{name}{SUFFIX}")
    known = sorted({known for place in places for known in _names(place)})
    near = get_close_matches(str(name), known, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"choose one of {known}"
    raise ValueError(f"Unknown trained network {name!r}; {hint}")


def name_of(text: str) -> str | None:
    """The name in ``zoo:NAME``, None for anything else."""
    return text.removeprefix(PREFIX) if text.startswith(PREFIX) else None


def packed_file(name: str, *, folder: Folder = None) -> Path:
    """The packed file of a trained network, compared with its card; arguments and errors as in :func:`load`."""
    return _compared(name, "packed file", PACKED, card_of(name, folder=folder).file, folder)


def start_file(name: str, *, folder: Folder = None) -> Path:
    """The start of a trained network, compared with its card; arguments and errors as in :func:`load`.

    ValueError, too, for a network without one.
    """
    start = card_of(name, folder=folder).start
    if start is None:
        others = [other for other, card in trained(folder).items() if card.start is not None]
        raise ValueError(
            f"the trained network {name!r} ships without a start: its packed file has bits, from which training cannot "
            f"go on; take one of {others}, or the folder of a finished run"
        )
    return _compared(name, "start", START, start, folder)


def _compared(name: str, what: str, suffix: str, told: File, folder: Folder) -> Path:
    """The file of that name, if it is the one that its card tells of."""
    path = next((path for place in _places(folder) if (path := place / f"{name}{suffix}").is_file()), None)
    if path is None:
        raise FileNotFoundError(
            f"the {what} of {name!r} ({told.bytes} bytes) does not ship with onebit; name the folder that "
            f"holds '{name}{suffix}' with folder= or the environment variable {VARIABLE}"
        )
    content = path.read_bytes()
    if (found := hashlib.sha256(content).hexdigest()) != told.sha256:
        raise CardError(
            f"{str(path)!r} is not the file of the card of {name!r}: it has {len(content)} bytes and the SHA-256 "
            f"{found}, not {told.bytes} and {told.sha256}; fetch or make it again"
        )
    return path


def _places(folder: Folder) -> list[Path]:
    """Folders that hold cards and packed files, in the order of search."""
    named = folder if folder is not None else os.environ.get(VARIABLE) or None
    if named is None:
        return [SHIPPED]
    place = Path(named).expanduser()
    if not place.is_dir():
        raise FileNotFoundError(f"{str(named)!r} is no folder of trained networks: no such folder")
    return [place, SHIPPED]


def _names(place: Path) -> list[str]:
    return [path.name.removesuffix(SUFFIX) for path in place.glob(f"*{SUFFIX}")]
