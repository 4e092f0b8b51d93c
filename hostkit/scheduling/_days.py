"""Days as users write them: ``mon-fri``, ``last fri``, and what they mean on a calendar."""

import calendar
from collections.abc import Collection, Iterable
from datetime import date

from hostkit.scheduling._english import LAST, WEEKDAYS, ordinal

_SHORT = [name[:3].lower() for name in WEEKDAYS]
_BY_NAME = {name: number for names in (_SHORT, map(str.lower, WEEKDAYS)) for number, name in enumerate(names)}
_NTH = {"1st": 1, "2nd": 2, "3rd": 3, "4th": 4, "5th": 5, "last": LAST}
_LONGEST_MONTH = 31


def parse_weekdays(days: object) -> tuple[int, ...]:
    """Return the weekdays (Monday is 0) named by ``"mon-fri"``, ``"mon,wed"`` or ``["monday", "wednesday"]``.

    Raises:
        ValueError: There is no such day.
        TypeError: *days* is neither a str nor an iterable of them.
    """
    items = [days] if isinstance(days, str) or not isinstance(days, Iterable) else list(days)
    names = [item for item in items if isinstance(item, str)]
    if len(names) < len(items):
        msg = f"days must be a str such as 'mon-fri', or several of them, not {days!r}"
        raise TypeError(msg)
    days = ",".join(names)
    found: set[int] = set()
    for part in days.split(","):
        first, dash, last = part.partition("-")
        start, end = _weekday(first, days), _weekday(last if dash else first, days)
        # Modulo: a range may go over the end of the week, as in 'fri-mon'.
        found.update((start + offset) % 7 for offset in range((end - start) % 7 + 1))
    return tuple(sorted(found))


def weekdays_code(days: Collection[int]) -> str:
    """Write weekdays in the one form that all equal ones have: ``mon-wed,fri``."""
    parts = []
    for start in days:
        if start - 1 in days:
            continue
        end = next(day for day in range(start, 7) if day + 1 not in days)
        parts.append(_SHORT[start] + ("," if end == start + 1 else "-") + _SHORT[end] if end > start else _SHORT[start])
    return ",".join(parts)


def parse_day_of_month(day: int | str) -> int | tuple[int, int]:
    """Return the day: a number, -1 for the last, or a pair: which (-1 for the last) weekday.

    Raises:
        ValueError: No month has that day.
        TypeError: *day* is neither an int nor a str.
    """
    if isinstance(day, bool) or not isinstance(day, int | str):
        msg = f"day must be an int or a str such as 'last fri', not {day!r}"
        raise TypeError(msg)
    if isinstance(day, int):
        if 1 <= day <= _LONGEST_MONTH:
            return int(day)
    else:
        match day.lower().split():
            case ["last"]:
                return LAST
            case [nth, name] if nth in _NTH and name in _BY_NAME:
                return _NTH[nth], _BY_NAME[name]
    msg = f"no month has a day {day!r}; give 1 to 31, 'last', or as in '2nd tue' and 'last fri'"
    raise ValueError(msg)


def day_of_month_code(day: int | tuple[int, int]) -> int | str:
    """Write the day in the one form that all equal ones have."""
    if isinstance(day, int):
        return "last" if day < 0 else day
    nth, weekday = day
    return f"{ordinal(nth)} {_SHORT[weekday]}"


def date_in_month(day: int | tuple[int, int], year: int, month: int) -> date | None:
    """Return the date of *day* in a month, None if the month has no such day."""
    first, length = calendar.monthrange(year, month)
    if isinstance(day, int):
        number = length if day < 0 else day
    else:
        nth, weekday = day
        number = 1 + (weekday - first) % 7 + 7 * (nth - 1 if nth > 0 else 3)
        if nth < 0 and number + 7 <= length:
            number += 7
    return date(year, month, number) if number <= length else None


def _weekday(name: str, days: str) -> int:
    try:
        return _BY_NAME[name.strip().lower()]
    except KeyError:
        msg = f"unknown day {name.strip()!r} in {days!r}; days are {', '.join(_SHORT)}, as in 'mon-fri' or 'mon,wed'"
        raise ValueError(msg) from None
