"""Schedules by the calendar: at times of day, on every day, on some weekdays, or on one day of each month."""

import re
from abc import abstractmethod
from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import MAXYEAR, date, datetime, time, timedelta, tzinfo
from math import gcd

from hostkit.scheduling._days import date_in_month, day_of_month_code, parse_day_of_month, parse_weekdays, weekdays_code
from hostkit.scheduling._english import day_of_month_english, in_words, ordinal, weekdays_english
from hostkit.scheduling._schedule import CalendarSchedule

_TIME = re.compile(r"([0-9]{1,2}):([0-9]{2})(?::([0-9]{2}))?")
_LONGEST_INTERVAL = date.max.toordinal()
_MONTHS_IN_CYCLE = 400 * 12
"""After so many months the calendar repeats itself, weekdays and leap years included."""


@dataclass(frozen=True, init=False, repr=False)
class _AtTimes(CalendarSchedule):
    times: tuple[time, ...]
    interval: int
    starting: date | None

    def __init__(self, times: tuple[str | time, ...], tz: str | tzinfo, interval: int, starting: date | None) -> None:
        super().__init__(tz)
        _check_interval(interval, starting)
        at = tuple(sorted({_time_of_day(each) for each in times})) or (time(),)
        self._set(times=at, interval=interval, starting=starting)

    def _first_date(self, start: date) -> date:
        return self._date_from(start if self.starting is None else max(start, self.starting), self.starting or date.min)

    @abstractmethod
    def _date_from(self, start: date, origin: date) -> date:
        """Return the first date, *start* or later, on which it runs, with its interval counted from *origin*."""

    def _first_time(self, start: time) -> time | None:
        index = bisect_left(self.times, start)
        return self.times[index] if index < len(self.times) else None

    def _rule_english(self, zone: str) -> str:
        times = in_words(self._times_text())
        return f"{self._which_dates()} at {times}{zone and f' {zone}'}{self._starting_english()}"

    def _dates_english(self) -> str:
        return self._which_dates() + self._starting_english()

    @abstractmethod
    def _which_dates(self) -> str:
        """Name the dates, without the one from which they are counted."""

    def _starting_english(self) -> str:
        return f", starting {self.starting.isoformat()}" if self.starting else ""

    def _times_text(self) -> list[str]:
        return [each.isoformat("seconds" if each.second else "minutes") for each in self.times]

    def _options_code(self) -> str:
        text = f"{', '.join(map(repr, self._times_text()))}, tz={self.tz!r}"
        if self.interval > 1:
            text += f", interval={self.interval!r}"
        return text if self.starting is None else f"{text}, starting={self.starting!r}"


@dataclass(frozen=True, init=False, repr=False)
class Daily(_AtTimes):
    """Every day at the given times: ``Daily("03:00", "15:00", tz="Europe/Istanbul")``.

    A time that the clock leaves out in spring is made up for as soon as the clock has changed; a time that it shows
    twice in autumn counts the first time.

    With ``interval=2, starting=date(2026, 1, 5)`` it runs on every second day, counted from that date.

    Args:
        times: Times of day, ``"HH:MM"`` or ``"HH:MM:SS"`` or a ``datetime.time``; midnight if none.
        tz: Whose clock counts: a name such as ``"Europe/Berlin"``, or a ``ZoneInfo``.
        interval: Runs on every n-th day.
        starting: The date from which the interval is counted. There is no run before it.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: There is no such time or zone (a zone's error names the nearest ones), *interval* is less than 1,
            or more than 1 without *starting*.
    """

    def __init__(
        self, *times: str | time, tz: str | tzinfo = "UTC", interval: int = 1, starting: date | None = None
    ) -> None:
        super().__init__(times, tz, interval, starting)

    def _date_from(self, start: date, origin: date) -> date:
        return start + timedelta(days=(origin - start).days % self.interval)

    def _code(self) -> str:
        return f"Daily({self._options_code()})"

    def _which_dates(self) -> str:
        return _every(self.interval, "day") or "every day"


@dataclass(frozen=True, init=False, repr=False)
class Weekly(_AtTimes):
    """Some days of every week: ``Weekly("mon-fri", "09:00", tz="Europe/Berlin")``.

    Clock changes are as for `Daily`.

    With ``interval=2, starting=date(2026, 1, 5)`` it runs in every second week. A week goes from Monday to Sunday,
    and the one of *starting* is the first, also if *starting* is another day of it than those that are named.

    Args:
        days: Names (English, three letters or whole): ``"mon"``, ``"mon,wed"``, ``"mon-fri"``, or several of them.
        times: Times of day, ``"HH:MM"`` or ``"HH:MM:SS"`` or a ``datetime.time``; midnight if none.
        tz: Whose clock counts: a name such as ``"Europe/Berlin"``, or a ``ZoneInfo``.
        interval: Runs in every n-th week.
        starting: A date of the week from which the interval is counted. There is no run before this date.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: There is no such day, time or zone, *interval* is less than 1, or more than 1 without *starting*.
    """

    days: str
    _weekdays: tuple[int, ...] = field(compare=False)

    def __init__(
        self,
        days: str | Iterable[str],
        *times: str | time,
        tz: str | tzinfo = "UTC",
        interval: int = 1,
        starting: date | None = None,
    ) -> None:
        super().__init__(times, tz, interval, starting)
        weekdays = parse_weekdays(days)
        self._set(days=weekdays_code(weekdays), _weekdays=weekdays)

    def _date_from(self, start: date, origin: date) -> date:
        monday = start - timedelta(days=start.weekday())
        first_monday = origin - timedelta(days=origin.weekday())
        wait = (first_monday - monday).days // 7 % self.interval
        if not wait:
            for day in self._weekdays:
                if day >= start.weekday():
                    return monday + timedelta(days=day)
            wait = self.interval
        return monday + timedelta(days=7 * wait + self._weekdays[0])

    def _code(self) -> str:
        return f"Weekly({self.days!r}, {self._options_code()})"

    def _which_dates(self) -> str:
        every = _every(self.interval, "week")
        return (
            f"{every} on {weekdays_english(self._weekdays, plural=False)}"
            if every
            else weekdays_english(self._weekdays)
        )


@dataclass(frozen=True, init=False, repr=False)
class Monthly(_AtTimes):
    """One day of every month: ``Monthly(1, "06:00")``, ``Monthly("last")``, ``Monthly("last fri", "17:00")``.

    A month that has no such day (``31``, ``"5th mon"``) is left out. Clock changes are as for `Daily`.

    With ``interval=3, starting=date(2026, 1, 1)`` it runs in every third month: January, April, July and October. A
    month that is left out counts: ``Monthly(31, interval=12, starting=date(2026, 2, 1))`` never runs.

    Args:
        day: 1 to 31, ``"last"``, or which weekday of the month: ``"2nd tue"``, ``"last fri"``.
        times: Times of day, ``"HH:MM"`` or ``"HH:MM:SS"`` or a ``datetime.time``; midnight if none.
        tz: Whose clock counts: a name such as ``"Europe/Berlin"``, or a ``ZoneInfo``.
        interval: Runs in every n-th month.
        starting: A date of the month from which the interval is counted. There is no run before this date.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: There is no such day, time or zone, *interval* is less than 1, or more than 1 without *starting*.
    """

    day: int | str
    _day: int | tuple[int, int] = field(compare=False)

    def __init__(
        self,
        day: int | str,
        *times: str | time,
        tz: str | tzinfo = "UTC",
        interval: int = 1,
        starting: date | None = None,
    ) -> None:
        super().__init__(times, tz, interval, starting)
        parsed = parse_day_of_month(day)
        self._set(day=day_of_month_code(parsed), _day=parsed)

    def _date_from(self, start: date, origin: date) -> date:
        month = _month_number(start)
        month += (_month_number(origin) - month) % self.interval
        # The first month may have had its day already; after a whole cycle the same months would come again.
        for _ in range(1 + _MONTHS_IN_CYCLE // gcd(self.interval, _MONTHS_IN_CYCLE)):
            year, index = divmod(month, 12)
            if year > MAXYEAR:
                break
            found = date_in_month(self._day, year, index + 1)
            if found is not None and found >= start:
                return found
            month += self.interval
        msg = "no month has the day"
        raise OverflowError(msg)

    def _code(self) -> str:
        return f"Monthly({self.day!r}, {self._options_code()})"

    def _which_dates(self) -> str:
        day, every = day_of_month_english(self._day), _every(self.interval, "month")
        return f"{every} on {day}" if every else f"{day} of the month"


def _every(interval: int, unit: str) -> str:
    return f"every {ordinal(interval)} {unit}" if interval > 1 else ""


def _month_number(day: date) -> int:
    return day.year * 12 + day.month - 1


def _check_interval(interval: object, starting: object) -> None:
    if isinstance(interval, bool) or not isinstance(interval, int):
        msg = f"interval must be an int, not {interval!r}"
        raise TypeError(msg)
    if starting is not None and (not isinstance(starting, date) or isinstance(starting, datetime)):
        msg = f"starting must be a date such as date(2026, 1, 5), not {starting!r}"
        raise TypeError(msg)
    if not 1 <= interval <= _LONGEST_INTERVAL:
        msg = f"interval must be from 1 to {_LONGEST_INTERVAL}, not {interval!r}"
        raise ValueError(msg)
    if interval > 1 and starting is None:
        msg = f"interval={interval!r} needs starting=, the date to count from, such as starting=date(2026, 1, 5)"
        raise ValueError(msg)


def _time_of_day(value: str | time) -> time:
    if isinstance(value, time):
        if value.tzinfo is not None or value.microsecond:
            msg = f"a time of day has whole seconds and no time zone of its own, not {value!r}; give tz= instead"
            raise ValueError(msg)
        return value.replace(fold=0)
    if not isinstance(value, str):
        msg = f"a time of day must be a str such as '09:00' or a datetime.time, not {value!r}"
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
