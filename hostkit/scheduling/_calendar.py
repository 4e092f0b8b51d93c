"""Schedules by the calendar: at times of day, on every day, on some weekdays, or on one day of each month."""

import re
from abc import abstractmethod
from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import MAXYEAR, date, datetime, time, timedelta, tzinfo

from hostkit.scheduling._days import (
    date_in_month,
    day_of_month_code,
    day_of_month_english,
    parse_day_of_month,
    parse_weekdays,
    weekdays_code,
    weekdays_english,
)
from hostkit.scheduling._english import in_words
from hostkit.scheduling._local_time import next_fixed
from hostkit.scheduling._schedule import Schedule

_TIME = re.compile(r"([0-9]{1,2}):([0-9]{2})(?::([0-9]{2}))?")
_ONE_DAY = timedelta(days=1)
_DECEMBER = 12


@dataclass(frozen=True, init=False, repr=False)
class _AtTimes(Schedule):
    times: tuple[time, ...]

    def __init__(self, times: tuple[str | time, ...], tz: str | tzinfo) -> None:
        super().__init__(tz)
        self._set(times=tuple(sorted({_time_of_day(each) for each in times})) or (time(),))

    @abstractmethod
    def _first_date(self, start: date) -> date:
        """Return the first date, *start* or later, on which it runs."""

    def _run_after(self, after: datetime) -> datetime:
        return next_fixed(after, self._zone, self._next_wall)

    def _next_wall(self, wall: datetime) -> datetime:
        today = wall.date()
        on = self._first_date(today)
        if on == today:
            index = bisect_right(self.times, wall.time())
            if index < len(self.times):
                return datetime.combine(on, self.times[index])
            on = self._first_date(today + _ONE_DAY)
        return datetime.combine(on, self.times[0])

    def _english(self) -> str:
        return f"{self._dates_english()} at {in_words(self._times_text())} {self.tz}"

    def _times_text(self) -> list[str]:
        return [each.isoformat("seconds" if each.second else "minutes") for each in self.times]

    def _times_code(self) -> str:
        return f"{', '.join(map(repr, self._times_text()))}, tz={self.tz!r}"


@dataclass(frozen=True, init=False, repr=False)
class Daily(_AtTimes):
    """Every day at the given times: ``Daily("03:00", "15:00", tz="Europe/Istanbul")``.

    A time that the clock leaves out in spring is made up for as soon as the clock has changed; a time that it shows
    twice in autumn counts the first time.

    Args:
        times: Times of day, ``"HH:MM"`` or ``"HH:MM:SS"`` or a ``datetime.time``; midnight if none.
        tz: Whose clock counts: a name such as ``"Europe/Berlin"``, or a ``ZoneInfo``.

    Raises:
        ValueError: There is no such time or zone; a zone's error names the nearest ones.
    """

    def __init__(self, *times: str | time, tz: str | tzinfo = "UTC") -> None:
        super().__init__(times, tz)

    def _first_date(self, start: date) -> date:
        return start

    def _code(self) -> str:
        return f"Daily({self._times_code()})"

    def _dates_english(self) -> str:
        return "every day"


@dataclass(frozen=True, init=False, repr=False)
class Weekly(_AtTimes):
    """Some days of every week: ``Weekly("mon-fri", "09:00", tz="Europe/Berlin")``.

    Clock changes are as for `Daily`.

    Args:
        days: Names (English, three letters or whole): ``"mon"``, ``"mon,wed"``, ``"mon-fri"``, or several of them.
        times: Times of day, ``"HH:MM"`` or ``"HH:MM:SS"`` or a ``datetime.time``; midnight if none.
        tz: Whose clock counts: a name such as ``"Europe/Berlin"``, or a ``ZoneInfo``.

    Raises:
        ValueError: There is no such day, time or zone.
    """

    days: str
    _weekdays: tuple[int, ...] = field(compare=False)

    def __init__(self, days: str | Iterable[str], *times: str | time, tz: str | tzinfo = "UTC") -> None:
        super().__init__(times, tz)
        weekdays = parse_weekdays(days)
        self._set(days=weekdays_code(weekdays), _weekdays=weekdays)

    def _first_date(self, start: date) -> date:
        today = start.weekday()
        return start + min((day - today) % 7 for day in self._weekdays) * _ONE_DAY

    def _code(self) -> str:
        return f"Weekly({self.days!r}, {self._times_code()})"

    def _dates_english(self) -> str:
        return weekdays_english(self._weekdays)


@dataclass(frozen=True, init=False, repr=False)
class Monthly(_AtTimes):
    """One day of every month: ``Monthly(1, "06:00")``, ``Monthly("last")``, ``Monthly("last fri", "17:00")``.

    A month that has no such day (``31``, ``"5th mon"``) is left out. Clock changes are as for `Daily`.

    Args:
        day: 1 to 31, ``"last"``, or which weekday of the month: ``"2nd tue"``, ``"last fri"``.
        times: Times of day, ``"HH:MM"`` or ``"HH:MM:SS"`` or a ``datetime.time``; midnight if none.
        tz: Whose clock counts: a name such as ``"Europe/Berlin"``, or a ``ZoneInfo``.

    Raises:
        ValueError: There is no such day, time or zone.
    """

    day: int | str
    _day: int | tuple[int, int] = field(compare=False)

    def __init__(self, day: int | str, *times: str | time, tz: str | tzinfo = "UTC") -> None:
        super().__init__(times, tz)
        parsed = parse_day_of_month(day)
        self._set(day=day_of_month_code(parsed), _day=parsed)

    def _first_date(self, start: date) -> date:
        year, month = start.year, start.month
        while (found := date_in_month(self._day, year, month)) is None or found < start:
            year, month = (year + 1, 1) if month == _DECEMBER else (year, month + 1)
            if year > MAXYEAR:
                raise OverflowError
        return found

    def _code(self) -> str:
        return f"Monthly({self.day!r}, {self._times_code()})"

    def _dates_english(self) -> str:
        return day_of_month_english(self._day)


def _time_of_day(value: str | time) -> time:
    if isinstance(value, time):
        if value.tzinfo is not None or value.microsecond:
            msg = f"a time of day has whole seconds and no time zone of its own, not {value!r}; give tz= instead"
            raise ValueError(msg)
        return value
    if not isinstance(value, str):
        msg = f"a time of day must be text such as '09:00' or a datetime.time, not {value!r}"
        raise TypeError(msg)
    found = _TIME.fullmatch(value)
    if found:
        hour, minute, second = (int(part) for part in found.groups("0"))
        try:
            return time(hour, minute, second)
        except ValueError:
            pass  # 24:00, 12:60
    msg = f"no time of day: {value!r}; write 'HH:MM' or 'HH:MM:SS', from '00:00' to '23:59:59'"
    raise ValueError(msg)
