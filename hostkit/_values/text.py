"""Errors and other things of the user's in words, also where they cannot say it themselves.

An error whose ``__str__`` raises must not break who tells of it: that is the host, in the middle of something.
"""

from contextlib import suppress


def text_of(error: BaseException) -> str:
    """Return the type of *error*, and its text."""
    try:
        text = str(error)
    except Exception:  # noqa: BLE001  # the user's
        text = "<exception str() failed>"  # as the interpreter says
    return f"{type(error).__name__}: {text}"


def repr_of(value: object) -> str:
    """Return the ``repr`` of *value*, or what can be said of it otherwise."""
    try:
        return repr(value)
    except Exception:  # noqa: BLE001  # the user's
        return f"<{type(value).__name__}, whose repr() failed>"


def add_note(error: BaseException, note: str) -> None:
    """Add *note* to *error*, if it takes any: a frozen dataclass does not."""
    with suppress(Exception):
        error.add_note(note)
