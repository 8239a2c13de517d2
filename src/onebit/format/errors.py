"""The one exception that a bad packed file raises."""


class FormatError(ValueError):
    """A packed file that cannot be used; the message names the field, what was found and what is allowed."""


def refusal(field: str, found: object, allowed: str) -> FormatError:
    """The error for a field that holds ``found``; whoever holds the field puts its own name and a dot before it."""
    text = repr(found)
    return FormatError(f"{field}: found {text if len(text) <= 80 else text[:77] + '...'}; allowed: {allowed}")
