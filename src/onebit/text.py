"""Tables as plain text."""

from collections.abc import Sequence


def text_table(header: Sequence[str], body: Sequence[Sequence[str]], sums: Sequence[Sequence[str]]) -> str:
    """Columns as wide as their longest text, with a line under the header and one above the sums."""
    widths = [max(len(line[i]) for line in (header, *body, *sums)) for i in range(len(header))]
    lines = [
        "  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip()
        for line in (header, *body, *sums)
    ]
    rule = "-" * len(lines[0])
    return "\n".join([lines[0], rule, *lines[1 : 1 + len(body)], rule, *lines[1 + len(body) :]])
