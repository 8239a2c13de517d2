"""The one exception that a bad packed file raises."""


class FormatError(ValueError):
    """A packed file that cannot be used; the message names the field, what was found and what is allowed."""


def refusal(field: str, found: object, allowed: str) -> FormatError:
    """The error for a field that holds ``found``; whoever holds the field puts its own name and a dot before it."""
    return FormatError(f"{field}: found {shown(found)}; allowed: {allowed}")


def shown(found: object, limit: int = 80) -> str:
    """``repr(found)``, cut where it is longer than ``limit``."""
    try:
        text = repr(found)
    except (ValueError, RecursionError):  # a whole number of thousands of digits; lists nested as deep
        text = f"a {type(found).__name__} that is too long to show"
    return text if len(text) <= limit else text[: limit - 3] + "..."
