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


def duration_in_words(seconds: float) -> str:
    """Return ``12 s``, ``1 h 5 min``, ``2 d``: the two largest parts."""
    if seconds < 60:  # noqa: PLR2004  # a minute
        return f"{seconds:.3g} s"
    parts = []
    rest = round(seconds)
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1)):
        amount, rest = divmod(rest, size)
        parts.append(f"{amount} {unit}" if amount else "")
    first = next(index for index, part in enumerate(parts) if part)
    return " ".join(filter(None, parts[first : first + 2]))
