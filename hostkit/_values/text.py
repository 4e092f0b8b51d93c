"""Errors and other values of the user's as text or JSON, also where they cannot be shown; and tables of text.

An error whose ``__str__`` raises must not break what reports it: that is the host, in the middle of something.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from itertools import islice

MOST_ITEMS, LONGEST_TEXT, DEEPEST = 100, 2000, 4
"""How much of a mapping or sequence, of a text and of what is nested `to_json_ready` keeps."""
LARGEST_INT = 256
"""In bits: a larger one becomes text, and the interpreter refuses to write the largest."""


def text_of(error: BaseException) -> str:
    """Return the type of *error*, and its text if it has one."""
    try:
        text = str(error)
    except Exception:  # noqa: BLE001  # the user's
        text = "<exception str() failed>"  # as the interpreter says
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def repr_of(value: object) -> str:
    """Return the ``repr`` of *value*, or what can be said of it otherwise."""
    try:
        return repr(value)
    except Exception:  # noqa: BLE001  # the user's
        return f"<{type(value).__name__}, whose repr() failed>"


def printable(text: str) -> str:
    """Return *text* on one line, with control characters and the like as escapes: in a log it can forge nothing."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def notes_of(error: BaseException) -> tuple[str, ...]:
    """Return the notes of *error*, as far as they are such: ``__notes__`` may be anything, or raise."""
    try:
        notes = getattr(error, "__notes__", None)
        return tuple(note for note in notes if isinstance(note, str)) if isinstance(notes, list | tuple) else ()
    except Exception:  # noqa: BLE001  # the user's
        return ()


def add_note(error: BaseException, note: str) -> None:
    """Add *note* to *error*, if it takes any: a frozen dataclass does not."""
    with suppress(Exception):
        error.add_note(note)


def to_json_ready(value: object, depth: int = DEEPEST) -> object:
    """Return *value* as what JSON has, and no more than a bounded part of it; it never raises.

    What JSON does not have becomes its ``repr``: other types, numbers that are not finite, and what is nested too
    deeply.
    """
    try:
        if value is None or isinstance(value, bool) or (isinstance(value, float) and math.isfinite(value)):
            return value
        if isinstance(value, int) and value.bit_length() <= LARGEST_INT:
            return value
        if isinstance(value, str):
            return _shortened(value)
        if depth and isinstance(value, Mapping | list | tuple | set | frozenset):
            return _bounded(value, depth - 1)
    except Exception as error:  # noqa: BLE001  # of the user's class, or another thread has changed it meanwhile
        return _shortened(f"<{type(value).__name__}, which cannot be read: {text_of(error)}>")
    return _shortened(repr_of(value))


def _bounded(value: Collection[object], depth: int) -> object:
    more = len(value) - MOST_ITEMS
    if not isinstance(value, Mapping):
        items = [to_json_ready(item, depth) for item in islice(value, MOST_ITEMS)]
        return [*items, f"… {more} more"] if more > 0 else items
    pairs = {
        _shortened(key if isinstance(key, str) else repr_of(key)): to_json_ready(item, depth)
        for key, item in islice(value.items(), MOST_ITEMS)
    }
    return {**pairs, "…": f"{more} more"} if more > 0 else pairs


def _shortened(text: str) -> str:
    return text if len(text) <= LONGEST_TEXT else f"{text[:LONGEST_TEXT]}… {len(text) - LONGEST_TEXT} more"


def table(rows: Sequence[Sequence[str]]) -> str:
    """Return *rows* as lines with aligned columns, each printable."""
    cells = [[printable(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in cells)
    return "".join(f"{line.rstrip()}\n" for line in lines)
