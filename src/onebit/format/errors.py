"""The exception that an invalid packed file raises."""


class FormatError(ValueError):
    """An invalid packed file; the message names the field, the value found and the values allowed."""


def refusal(field: str, found: object, allowed: str) -> FormatError:
    """The error for a field with the value ``found``; callers prepend the name of the enclosing field and a dot."""
    return FormatError(f"{field}: found {shown(found)}; allowed: {allowed}")


def shown(found: object, limit: int = 80) -> str:
    """``repr(found)``, truncated to ``limit`` characters."""
    try:
        text = repr(found)
    except (ValueError, RecursionError):  # an integer with thousands of digits; lists nested as deep
        text = f"a {type(found).__name__} that is too long to show"
    return text if len(text) <= limit else text[: limit - 3] + "..."
