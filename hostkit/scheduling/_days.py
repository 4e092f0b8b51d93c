"""Days as users write them: ``mon-fri``, ``last fri``, and what they mean on a calendar."""

import calendar
from collections.abc import Collection, Iterable
from datetime import date

from hostkit.scheduling._english import in_words, ordinal

NAMES = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_SHORT = [name[:3].lower() for name in NAMES]
_BY_NAME = {name: number for names in (_SHORT, map(str.lower, NAMES)) for number, name in enumerate(names)}
_NTH = {"1st": 1, "2nd": 2, "3rd": 3, "4th": 4, "5th": 5, "last": -1}
_LONGEST_MONTH = 31
_WEEKDAYS = (0, 1, 2, 3, 4)
_WEEKENDS = (5, 6)


def parse_weekdays(days: str | Iterable[str]) -> tuple[int, ...]:
    """Return the weekdays (Monday is 0) named by ``"mon-fri"``, ``"mon,wed"`` or ``["monday", "wednesday"]``."""
    if not isinstance(days, str):
        items = list(days)
        if not all(isinstance(item, str) for item in items):
            msg = f"days must be names such as 'mon', not {items!r}"
            raise TypeError(msg)
        days = ",".join(items)
    found: set[int] = set()
    for part in days.split(","):
        first, dash, last = part.partition("-")
        start, end = _weekday(first, days), _weekday(last if dash else first, days)
        # Modulo: a week may be thought to begin on any day, as in 'sun-thu' or 'fri-mon'.
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


def weekdays_english(days: tuple[int, ...]) -> str:
    """Name weekdays as in a sentence."""
    if days == _WEEKDAYS:
        return "weekdays"
    if days == _WEEKENDS:
        return "weekends"
    if len(days) == len(NAMES):
        return "every day"
    return in_words([f"{NAMES[day]}s" for day in days])


def parse_day_of_month(day: int | str) -> int | tuple[int, int]:
    """Return the day: a number, -1 for the last, or a pair: which (-1 for the last) weekday.

    Raises:
        ValueError: No month has that day.
        TypeError: *day* is neither a number nor text.
    """
    if isinstance(day, bool) or not isinstance(day, int | str):
        msg = f"day must be a number or text such as 'last fri', not {day!r}"
        raise TypeError(msg)
    if isinstance(day, int):
        if 1 <= day <= _LONGEST_MONTH:
            return day
    else:
        match day.lower().split():
            case ["last"]:
                return -1
            case [nth, name] if nth in _NTH and name in _BY_NAME:
                return _NTH[nth], _BY_NAME[name]
    msg = f"no month has a day {day!r}; give 1 to 31, 'last', or as in '2nd tue' and 'last fri'"
    raise ValueError(msg)


def day_of_month_code(day: int | tuple[int, int]) -> int | str:
    """Write the day in the one form that all equal ones have."""
    if isinstance(day, int):
        return "last" if day < 0 else day
    nth, weekday = day
    return f"{'last' if nth < 0 else ordinal(nth)} {_SHORT[weekday]}"


def day_of_month_english(day: int | tuple[int, int]) -> str:
    """Name the day as in a sentence."""
    if isinstance(day, int):
        return f"the {'last day' if day < 0 else ordinal(day)} of the month"
    nth, weekday = day
    return f"the {'last' if nth < 0 else ordinal(nth)} {NAMES[weekday]} of the month"


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
