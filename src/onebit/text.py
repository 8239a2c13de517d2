"""Text output: tables, sizes, and strings from files made safe for a terminal."""

import re
from collections.abc import Sequence

_UNITS = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}


def printable(text: object, limit: int = 200) -> str:
    r"""``text`` on one line, without characters that a terminal interprets, truncated to ``limit`` characters.

    Control characters, line breaks, marks of text direction and other invisible characters become escapes such as
    ``\x1b`` and ``\u202e``; a truncated text ends with ``...``.  Use it for everything that comes from a file or a
    folder: names of layers and classes, notes, provenance.
    """
    plain = str(text)
    if len(plain) > limit:
        plain = plain[: limit - 3] + "..."
    if plain.isprintable():
        return plain
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in plain)


def text_table(
    body: Sequence[Sequence[object]],
    *,
    header: Sequence[str] = (),
    sums: Sequence[Sequence[object]] = (),
    indent: str = "",
) -> str:
    """A table with aligned columns, cells made :func:`printable`, and rules below the header and above the sums.

    All rows have the same number of cells.
    """
    lines = [[printable(cell) for cell in row] for row in ([header] if header else []) + [*body, *sums]]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    texts = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]
    rule = "-" * (sum(widths) + 2 * (len(widths) - 1))
    if sums:
        texts.insert(len(texts) - len(sums), rule)
    if header:
        texts.insert(1, rule)
    return "\n".join(indent + text for text in texts)


def parse_bytes(text: str) -> int:
    """Parse a size such as "2GiB", "500 MB" or "1000000" to bytes; ValueError if it is not a size."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?) ?(|k|Ki|M|Mi|G|Gi|T|Ti)B?", text.strip())
    if match is None:
        raise ValueError(f"a size must be a number of bytes, or one with a unit such as 2GiB or 500MB, got {text!r}")
    return int(float(match[1]) * _UNITS[match[2]])


def format_bytes(count: int) -> str:
    """1610612736 -> "1.50 GiB"."""
    for unit in ("GiB", "MiB", "KiB"):
        size = count / _UNITS[unit[:-1]]
        if size >= 1:
            return f"{size:.3g} {unit}" if size < 1000 else f"{size:.0f} {unit}"
    return f"{count} bytes"
