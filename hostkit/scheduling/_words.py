"""Words for people: lists and ordinals."""

from collections.abc import Sequence

_TEENS = range(11, 14)


def in_words(items: Sequence[str]) -> str:
    """Join *items* as in a sentence: ``a, b and c``."""
    *most, last = items
    return f"{', '.join(most)} and {last}" if most else last


def ordinal(number: int) -> str:
    """Return ``1st`` for 1, and so on, below 100."""
    suffix = {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{'th' if number in _TEENS else suffix}"
