"""Cron expressions, read by cronsim (``hostkit-py[cron]``); dates and clock changes by hostkit's own rules."""

from __future__ import annotations

import re
from bisect import bisect_left
from calendar import monthrange
from dataclasses import dataclass
from datetime import MAXYEAR, date, datetime, time, tzinfo
from typing import TYPE_CHECKING

from hostkit.scheduling._calendar import Daily, Monthly, Weekly
from hostkit.scheduling._days import day_of_month_code
from hostkit.scheduling._english import (
    LAST,
    LAST_WEEKDAY,
    MONTHS,
    WEEKDAYS,
    cron_dates_english,
    cron_times_english,
)
from hostkit.scheduling._schedule import CalendarSchedule

if TYPE_CHECKING:
    from cronsim import CronSim

_FIELDS = 5
_MOST_TIMES_NAMED = 4
_LEGEND = (
    "minute (0-59), hour (0-23), day of the month (1-31 as the month allows, L, LW), month (1-12, jan-dec), "
    "day of the week (0-7, sun-sat, fri#2, 5L)"
)
_SECONDS = "for seconds take Every(seconds=...) or Daily('HH:MM:SS')"
_NICKNAMES = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
_RANGE = re.compile(r"([0-9]{1,2}|[a-z]{3})-([0-9]{1,2}|[a-z]{3})(?:/([0-9]{1,4}))?", re.ASCII)
_STEP = re.compile(r"\*/([0-9]+)", re.ASCII)
_SHORT_MONTHS = {name[:3].lower(): number for number, name in enumerate(MONTHS, 1)}
_SHORT_DAYS = {name[:3].lower(): number % 7 for number, name in enumerate(WEEKDAYS, 1)}
_NUMBERS: tuple[tuple[range, dict[str, int]], ...] = (
    (range(60), {}),
    (range(24), {}),
    (range(1, 32), {}),
    (range(1, 13), _SHORT_MONTHS),
    (range(7), _SHORT_DAYS),
)
_SUNDAY = 7
_LONGEST_GAP = 40
"""In years: the rarest date, a 29 February on one day of the week, comes again after so many."""


@dataclass(frozen=True, init=False, repr=False)
class Cron(CalendarSchedule):
    """A cron expression in Debian's dialect: ``Cron("0 9 * * mon-fri", tz="Europe/Berlin")``.

    Five fields: minute, hour, day of the month, month, day of the week (0 and 7 are Sunday). Beside ``*``, lists,
    ranges and steps also ``L`` and ``LW`` (last day, last weekday of the month), ``fri#2`` (second Friday) and ``5L``
    (last Friday). A range may go over the end: ``fri-mon``, ``22-2``. When both days are given, one of the two is
    enough, unless one of them starts with ``*``.

    Or one of the nicknames ``@hourly``, ``@daily``, ``@midnight``, ``@weekly`` (Sunday), ``@monthly``, ``@yearly`` and
    ``@annually``, all at the first minute.

    At clock changes: if minute and hour both do not start with ``*``, the times are fixed; one that the clock
    leaves out is made up for as soon as the clock has changed, and one that it shows twice counts the first time.
    Otherwise it runs every time the clock shows one of its times.

    Needs cronsim: ``pip install 'hostkit-py[cron]'``. There is no field for seconds; take `Every`, or `Daily` with
    ``"HH:MM:SS"``.

    Args:
        expression: The five fields, or a nickname.
        tz: Whose clock counts: a name such as ``"Europe/Berlin"``, or a ``ZoneInfo``.

    Raises:
        TypeError: The expression is not a str, or *tz* is neither a name nor a ``ZoneInfo``.
        ValueError: The expression is wrong or never comes true (31 February), or there is no such zone.
        ModuleNotFoundError: cronsim is not installed.
    """

    expression: str
    _shown: bool
    _minutes: tuple[int, ...]
    _hours: tuple[int, ...]
    _days: tuple[int, ...]
    _months: tuple[int, ...]
    _weekdays: tuple[int | tuple[int, int], ...]
    _either_day: bool

    def __init__(self, expression: str, *, tz: str | tzinfo = "UTC") -> None:
        super().__init__(tz)
        if not isinstance(expression, str):
            msg = f"a cron expression must be a str, not {expression!r}"
            raise TypeError(msg)
        parsed = _parse(expression)
        weekdays = {_weekday(each) for each in parsed.weekdays}
        self._set(
            expression=" ".join(expression.split()),
            _shown=any(each.startswith("*") for each in _fields(expression)[:2]),
            _minutes=tuple(sorted(parsed.minutes)),
            _hours=tuple(sorted(parsed.hours)),
            _days=tuple(sorted({parsed.LAST: LAST, parsed.LAST_WEEKDAY: LAST_WEEKDAY}.get(d, d) for d in parsed.days)),
            _months=tuple(sorted(parsed.months)),
            _weekdays=tuple(sorted(weekdays, key=lambda each: each if isinstance(each, tuple) else (0, each))),
            _either_day=not parsed.day_and,
        )
        try:
            self._first_date(date(2026, 1, 1))
        except OverflowError:
            msg = f"cron expression {expression!r} never comes true: no date is like that"
            raise ValueError(msg) from None

    def _first_date(self, start: date) -> date:
        day = start.day
        first_month = start.year * 12 + start.month - 1
        for month in range(first_month, min(first_month + _LONGEST_GAP * 12, MAXYEAR * 12 + 11) + 1):
            year, index = divmod(month, 12)
            if index + 1 in self._months:
                weekday, length = monthrange(year, index + 1)
                for number in range(day, length + 1):
                    if self._is_on(number, length, (weekday + number - 1) % 7):
                        return date(year, index + 1, number)
            day = 1
        msg = "no date is like that"
        raise OverflowError(msg)

    def _runs_on(self, on: date) -> bool:
        weekday, length = monthrange(on.year, on.month)
        return on.month in self._months and self._is_on(on.day, length, (weekday + on.day - 1) % 7)

    def _is_on(self, day: int, length: int, weekday: int) -> bool:
        """Return whether it runs on the *day* of a month of *length* days, which is a *weekday* (0 for Monday)."""
        by_day = (
            day in self._days
            or (LAST in self._days and day == length)
            or (LAST_WEEKDAY in self._days and day == _last_weekday(length, (weekday + length - day) % 7))
        )
        if by_day == self._either_day:
            return by_day
        return (
            weekday in self._weekdays
            or ((day + 6) // 7, weekday) in self._weekdays
            or (day + 7 > length and (LAST, weekday) in self._weekdays)
        )

    def _first_time(self, start: time) -> time | None:
        hour, minute = start.hour, start.minute + (1 if start.second or start.microsecond else 0)
        if hour in self._hours:
            index = bisect_left(self._minutes, minute)
            if index < len(self._minutes):
                return time(hour, self._minutes[index])
        index = bisect_left(self._hours, hour + 1)
        return time(self._hours[index], self._minutes[0]) if index < len(self._hours) else None

    def _code(self) -> str:
        return f"Cron({self.expression!r}, tz={self.tz!r})"

    def _rule_english(self, zone: str) -> str:
        simple = self._simple()
        if simple is not None:
            return simple._rule_english(zone)  # noqa: SLF001  # another schedule's
        times = cron_times_english(self._minutes, self._hours, _step(self._field(0)))
        dates = self._complex_dates()
        if not dates and times.startswith("at ") and not times.endswith("hour"):
            dates = "every day"
        return f"{times}{dates and f' {dates}'}{zone and f', {zone}'}"

    def _dates_english(self) -> str:
        simple = self._simple()
        return (self._complex_dates() or "every day") if simple is None else simple._dates_english()  # noqa: SLF001  # another schedule's

    def _complex_dates(self) -> str:
        return cron_dates_english(
            self._days, self._weekdays, self._months, day_step=_step(self._field(2)), either=self._either_day
        )

    def _field(self, index: int) -> str:
        return _fields(self.expression)[index]

    def _simple(self) -> Daily | Weekly | Monthly | None:
        """Return the same schedule without cron, if there is one and it has few enough times to name."""
        times = [f"{hour}:{minute:02}" for hour in self._hours for minute in self._minutes]
        _, _, days, months, weekdays = _fields(self.expression)
        if self._shown or months != "*" or "*" not in (days, weekdays) or len(times) > _MOST_TIMES_NAMED:
            return None
        if days != "*":
            day, *more = self._days
            return None if more or day == LAST_WEEKDAY else Monthly(day_of_month_code(day), *times, tz=self.tz)
        if weekdays == "*":
            return Daily(*times, tz=self.tz)
        plain = [WEEKDAYS[each] for each in self._weekdays if isinstance(each, int)]
        which = [each for each in self._weekdays if isinstance(each, tuple)]
        if not which:
            return Weekly(plain, *times, tz=self.tz)
        return None if plain or len(which) > 1 else Monthly(day_of_month_code(which[0]), *times, tz=self.tz)


def _last_weekday(length: int, weekday: int) -> int:
    """Return the last day from Monday to Friday of a month whose last day is a *weekday*."""
    return length - max(0, weekday - 4)


def _weekday(day: int | tuple[int, int]) -> int | tuple[int, int]:
    """Return cronsim's day of the week in our numbers: Monday is 0, and which one in the month comes first."""
    if isinstance(day, int):
        return (day - 1) % 7
    weekday, nth = day
    return max(nth, LAST), (weekday - 1) % 7


def _step(text: str) -> int | None:
    found = _STEP.fullmatch(text)
    return int(found[1]) if found else None


def _fields(expression: str) -> list[str]:
    """Return the fields, those of a nickname too."""
    return _NICKNAMES.get(expression.strip().lower(), expression).split()


def _parse(expression: str) -> CronSim:
    """Let cronsim read the fields.

    Raises:
        ValueError: The expression is wrong.
        ModuleNotFoundError: There is no cronsim.
    """
    try:
        # Here and not above: hostkit.scheduling works without the extra.
        from cronsim import CronSim, CronSimError
    except ModuleNotFoundError as error:
        msg = "Cron needs cronsim: pip install 'hostkit-py[cron]' (Daily, Weekly and Monthly do without)"
        raise ModuleNotFoundError(msg, name="cronsim") from error
    fields = _fields(expression)
    _check_form(expression, fields)
    plain = " ".join(_without_wrapping(text, *numbers) for text, numbers in zip(fields, _NUMBERS, strict=True))
    try:
        return CronSim(plain, datetime(2026, 1, 1))  # noqa: DTZ001  # any: nothing is searched with it
    except (CronSimError, ValueError) as error:
        msg = f"wrong cron expression {expression!r}: {str(error).lower()}; {_LEGEND}"
        raise ValueError(msg) from error


def _check_form(expression: str, fields: list[str]) -> None:
    nickname = expression.strip().lower()
    if nickname == "@reboot":
        msg = "@reboot is no schedule: scheduler.add(job, schedule, run_at_start=True) runs a job at the start"
    elif nickname.startswith("@") and nickname not in _NICKNAMES:
        msg = f"unknown nickname in cron expression {expression!r}; there are {', '.join(_NICKNAMES)}"
    elif len(fields) != _FIELDS:
        msg = f"cron expression {expression!r} has {len(fields)} fields instead of 5: {_LEGEND}; {_SECONDS}"
    else:
        return
    raise ValueError(msg)


def _without_wrapping(text: str, numbers: range, names: dict[str, int]) -> str:
    """Write ranges that go over the end, ``22-2``, as lists, which cronsim can read."""
    return ",".join(_listed(term, numbers, names) for term in text.lower().split(","))


def _listed(term: str, numbers: range, names: dict[str, int]) -> str:
    found = _RANGE.fullmatch(term)
    if not found:
        return term
    first, last = (names[end] if end in names else int(end) if end.isdigit() else -1 for end in found.groups()[:2])
    step = int(found[3] or 1)
    is_sunday = numbers.stop == _SUNDAY and first == _SUNDAY
    # What is no range at all cronsim refuses.
    if first <= last or last not in numbers or not (first in numbers or is_sunday) or not step:
        return term
    around = [*range(first, numbers.stop), *range(numbers.start, last + 1)]
    return ",".join(map(str, around[::step]))
