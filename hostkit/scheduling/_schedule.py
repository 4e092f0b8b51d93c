"""What all schedules share: a value that knows its next run, and how it is refined."""

from __future__ import annotations

from abc import ABC, abstractmethod
from copy import copy
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import Self

from hostkit.scheduling._english import in_words
from hostkit.scheduling._local_time import MICROSECOND, instant_of, zone, zone_name

_MOST_EXCLUDED = 4_000
_MOST_DATES_NAMED = 4


@dataclass(frozen=True, init=False, repr=False)
class Schedule(ABC):
    """When a job runs: a frozen value that is asked for the next instant.

    It has no clock and no state, and never waits. Two schedules are equal when they are written alike; one
    can be a key of a dict. ``str()`` says it in English, ``repr()`` in Python. Make one of `Every`, `Daily`,
    `Weekly`, `Monthly` and `Cron`; the class is not meant to be subclassed outside hostkit.

    Attributes:
        tz: Name of the time zone whose clock and calendar count.
        excluded_dates: Dates on which there is no run.
        excluded_schedules: Schedules on whose dates there is no run.
        end: No run at or after this instant (in UTC); None for no end.
    """

    tz: str
    excluded_dates: frozenset[date]
    excluded_schedules: frozenset[Schedule]
    end: datetime | None
    _zone: tzinfo = field(compare=False)

    def __init__(self, tz: str | tzinfo) -> None:
        name = zone_name(tz)
        self._set(tz=name, _zone=zone(name), excluded_dates=frozenset(), excluded_schedules=frozenset(), end=None)

    @property
    def period(self) -> float | None:
        """Seconds from run to run of an interval (`Every`), None for schedules by the calendar."""
        return None

    def next_after(self, instant: datetime) -> datetime | None:
        """Return the first run strictly after *instant*, in the schedule's time zone.

        To tell which of two runs comes first, compare them in UTC: Python compares two datetimes of one zone by
        what the clock shows, which is wrong in the hour that a clock shows twice.

        Args:
            instant: Any aware datetime.

        Returns:
            None when there is no further run: the end has come, the next one lies beyond the year 9999, or the
            next 4,000 dates (for a daily job: eleven years) were all excluded.

        Raises:
            ValueError: *instant* is naive.
        """
        run = self._search(_in_utc(instant))
        return None if run is None else run.astimezone(self._zone)

    def upcoming(self, n: int, *, after: datetime) -> list[datetime]:
        """Return the first *n* runs strictly after *after*; fewer when the schedule ends.

        Raises:
            ValueError: *n* is negative, or *after* is naive.
        """
        if isinstance(n, bool) or not isinstance(n, int):
            msg = f"n must be a whole number, not {n!r}"
            raise TypeError(msg)
        if n < 0:
            msg = f"n must not be negative: {n!r}"
            raise ValueError(msg)
        runs: list[datetime] = []
        run = _in_utc(after)
        while len(runs) < n and (found := self._search(run)) is not None:
            runs.append(found.astimezone(self._zone))
            run = found
        return runs

    def excluding(self, *dates: date | Schedule) -> Self:
        """Return this schedule without its runs on some dates.

        A run is left out when its date, in this schedule's zone, is one of *dates*, or is a date on which one of
        the given schedules has a run (by that schedule's own zone; its times of day do not count). What was
        excluded before stays excluded.

        Args:
            dates: Dates, or schedules by the calendar: ``Monthly("last fri")``.

        Raises:
            TypeError: One of *dates* is neither, or is a ``datetime``.
            ValueError: One of *dates* is an interval (`Every`), which has no dates.
        """
        for item in dates:
            _check_excludable(item)
        return self._with(
            excluded_dates=self.excluded_dates.union(item for item in dates if isinstance(item, date)),
            excluded_schedules=self.excluded_schedules.union(item for item in dates if isinstance(item, Schedule)),
        )

    def until(self, instant: datetime) -> Self:
        """Return this schedule with an end: no run at *instant* or later. Of two ends the earlier counts.

        Raises:
            ValueError: *instant* is naive.
        """
        end = _in_utc(instant)
        return self._with(end=end if self.end is None else min(end, self.end))

    def __repr__(self) -> str:
        """Return the expression that makes this value."""
        text = self._code()
        excluded = [repr(item) for item in sorted(self.excluded_dates)]
        excluded += sorted(repr(item) for item in self.excluded_schedules)
        if excluded:
            text += f".excluding({', '.join(excluded)})"
        if self.end is not None:
            text += f".until({self.end!r})"
        return text

    def __str__(self) -> str:
        """Say in plain English when it runs."""
        return self._english() + self._refinements_english()

    @abstractmethod
    def _run_after(self, after: datetime) -> datetime:
        """Return the first run after *after*, both in UTC, as if nothing were excluded.

        Raises:
            OverflowError: It would be past the year 9999.
        """

    @abstractmethod
    def _code(self) -> str:
        """Return `repr` without the refinements."""

    @abstractmethod
    def _english(self) -> str:
        """Return `str` without the refinements."""

    def _dates_english(self) -> str:
        """Name the dates alone, for use as an exclusion."""
        return f"the days of {self._english()!r}"

    def _just_before(self, run: datetime, resume: datetime) -> datetime:
        """Return the instant to go on from when the runs from *run* to *resume* are left out."""
        return max(run, resume - MICROSECOND)

    def _search(self, after: datetime, end: datetime | None = None) -> datetime | None:
        ends = [each for each in (self.end, end) if each is not None]
        try:
            for _ in range(_MOST_EXCLUDED):
                run = self._run_after(after)
                if any(run >= each for each in ends):
                    return None
                if not self.excluded_dates and not self.excluded_schedules:
                    return run
                on = run.astimezone(self._zone).date()
                if not self._excludes(on):
                    return run
                after = self._just_before(run, self._start_of(on + timedelta(days=1)))
        except OverflowError:
            pass  # Past the year 9999 there is no datetime.
        return None

    def _excludes(self, on: date) -> bool:
        return on in self.excluded_dates or any(other._runs_on(on) for other in self.excluded_schedules)

    def _runs_on(self, on: date) -> bool:
        end = self._start_of(on + timedelta(days=1))
        return self._search(self._start_of(on) - MICROSECOND, end) is not None

    def _start_of(self, day: date) -> datetime:
        return instant_of(datetime.combine(day, time.min), self._zone)

    def _refinements_english(self) -> str:
        text = ""
        dates = [item.isoformat() for item in sorted(self.excluded_dates)]
        if len(dates) > _MOST_DATES_NAMED:
            dates = [f"{len(dates)} dates from {dates[0]} to {dates[-1]}"]
        for other in sorted(self.excluded_schedules, key=repr):
            abroad = f" ({other.tz})" if other.tz != self.tz else ""
            dates.append(other._dates_english() + abroad + other._refinements_english())
        if dates:
            text += f", except {in_words(dates)}"
        if self.end is not None:
            text += f", until {self.end.astimezone(self._zone):%Y-%m-%d %H:%M} {self.tz}"
        return text

    def _with(self, **changes: object) -> Self:
        refined = copy(self)
        refined._set(**changes)
        return refined

    def _set(self, **values: object) -> None:
        for name, value in values.items():
            object.__setattr__(self, name, value)


def _in_utc(instant: datetime) -> datetime:
    if not isinstance(instant, datetime):
        msg = f"expected a datetime, not {instant!r}"
        raise TypeError(msg)
    if instant.utcoffset() is None:
        msg = f"naive datetime {instant!r}: say in which time zone, for example with tzinfo=UTC"
        raise ValueError(msg)
    return instant.astimezone(UTC)


def _check_excludable(item: object) -> None:
    if isinstance(item, Schedule):
        if item.period is not None:
            msg = f"{item!r} is an interval and has no dates to exclude; give a Daily, Weekly, Monthly or Cron"
            raise ValueError(msg)
    elif not isinstance(item, date) or isinstance(item, datetime):
        msg = f"only dates and schedules can be excluded, not {item!r}"
        raise TypeError(msg)
