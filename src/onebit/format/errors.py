"""The one exception that a bad packed file raises."""


class FormatError(ValueError):
    """A packed file that cannot be used; the message names the field, what was found and what is allowed."""
