"""What all schedules share: a value that knows its next run, and how it is refined."""

from __future__ import annotations

from abc import ABC, abstractmethod
from copy import copy
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta, tzinfo
from typing import Self

from hostkit.scheduling._english import in_words
from hostkit.scheduling._local_time import (
    MICROSECOND,
    instant_of,
    is_shown,
    local_at,
    next_fixed,
    next_shown,
    to_utc,
    zone_called,
    zone_name,
)

MOST_EXCLUDED = 4_000
"""After so many excluded dates in a row the search for a run gives up."""

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
    excluded_schedules: frozenset[CalendarSchedule]
    end: datetime | None
    _zone: tzinfo = field(compare=False)

    def __init__(self, tz: str | tzinfo) -> None:
        name = zone_name(tz)
        self._set(
            tz=name, _zone=zone_called(name), excluded_dates=frozenset(), excluded_schedules=frozenset(), end=None
        )

    @property
    def period(self) -> float | None:
        """Seconds from run to run of an interval (`Every`), None for schedules by the calendar."""
        return None

    @property
    def zone(self) -> str | None:
        """Name of the time zone by which it runs, None for an interval (`Every`), which runs by none."""
        return self.tz

    @property
    def rule(self) -> str:
        """In English when it runs, as ``str()`` says it, but without the name of its own zone.

        For places that show the rule and the `zone` apart. The zones of excluded schedules are named where they
        are other ones.
        """
        return self._rule_english("") + self._refinements_english("")

    def next_after(self, instant: datetime) -> datetime | None:
        """Return the first run strictly after *instant*, in the schedule's time zone.

        To see which of two runs comes first, compare them in UTC: Python compares two datetimes of one zone by
        what the clock shows, which is wrong in the hour that a clock shows twice.

        Args:
            instant: Any aware datetime.

        Returns:
            None when there is no further run: the end has come, the next one lies beyond the year 9999 (in UTC), or
            the next 4,000 dates (for a daily job: eleven years) were all excluded.

        Raises:
            TypeError: *instant* is not a datetime.
            ValueError: *instant* is naive.
        """
        run = self._next_run(_aware(instant))
        return None if run is None else run.astimezone(self._zone)

    def upcoming(self, n: int, *, after: datetime) -> list[datetime]:
        """Return the first *n* runs strictly after *after*; fewer when the schedule ends.

        Raises:
            TypeError: *n* is not an int, or *after* is not a datetime.
            ValueError: *n* is negative, or *after* is naive.
        """
        if isinstance(n, bool) or not isinstance(n, int):
            msg = f"n must be an int, not {n!r}"
            raise TypeError(msg)
        if n < 0:
            msg = f"n must not be negative: {n!r}"
            raise ValueError(msg)
        runs: list[datetime] = []
        run = _aware(after)
        while len(runs) < n and (found := self._next_run(run)) is not None:
            runs.append(found.astimezone(self._zone))
            run = found
        return runs

    def excluding(self, *dates: date | Schedule) -> Self:
        """Return this schedule without its runs on some dates.

        A run is left out when the date for which it is planned, in this schedule's zone, is one of *dates*, or is a
        date for which one of the given schedules plans a run (by that schedule's own zone; its times of day do not
        count). Where the clock goes from 23:00 to midnight, a run at 23:30 is made up for on the next day and still
        belongs to the day before. What was excluded before stays excluded.

        Args:
            dates: Dates, or schedules by the calendar: ``Monthly("last fri")``.

        Raises:
            TypeError: One of *dates* is neither, or is a ``datetime``.
            ValueError: One of *dates* is an interval (`Every`), which has no dates.
        """
        return self._with(
            excluded_dates=self.excluded_dates.union(
                item for item in map(_excludable, dates) if isinstance(item, date)
            ),
            excluded_schedules=self.excluded_schedules.union(
                item for item in map(_excludable, dates) if isinstance(item, CalendarSchedule)
            ),
        )

    def until(self, instant: datetime) -> Self:
        """Return this schedule with an end: no run at *instant* or later. Of two ends the earlier counts.

        Raises:
            TypeError: *instant* is not a datetime.
            ValueError: *instant* is naive.
        """
        end = _aware(instant)
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
        return self._rule_english(self.tz) + self._refinements_english(self.tz)

    @abstractmethod
    def _run_after(self, after: datetime) -> datetime | None:
        """Return the first run after *after* that is not excluded, both in UTC, as if there were no end.

        Raises:
            OverflowError: It would be past the year 9999.
        """

    @abstractmethod
    def _code(self) -> str:
        """Return `repr` without the refinements."""

    @abstractmethod
    def _rule_english(self, zone: str) -> str:
        """Return `str` without the refinements, with the name *zone* if it is not empty."""

    def _next_run(self, after: datetime) -> datetime | None:
        try:
            run = self._run_after(after)
        except OverflowError:
            return None  # Past the year 9999 there is no datetime.
        return None if run is None or (self.end is not None and run >= self.end) else run

    def _is_over(self, on: date) -> bool:
        """Return whether *on* is surely past the end, in every zone: no search goes on from there."""
        return self.end is not None and on.toordinal() > self.end.toordinal() + 2

    def _excludes(self, on: date) -> bool:
        return on in self.excluded_dates or any(other._plans(on) for other in self.excluded_schedules)  # noqa: SLF001  # another schedule's

    def _refinements_english(self, zone: str) -> str:
        text = ""
        dates = [item.isoformat() for item in sorted(self.excluded_dates)]
        if len(dates) > _MOST_DATES_NAMED:
            dates = [f"{len(dates)} dates from {dates[0]} to {dates[-1]}"]
        for other in sorted(self.excluded_schedules, key=repr):
            abroad = f" ({other.tz})" if other.tz != self.tz else ""
            dates.append(other._dates_english() + abroad + other._refinements_english(other.tz))  # noqa: SLF001  # another schedule's
        if dates:
            text += f", except {in_words(dates)}"
        if self.end is not None:
            end = local_at(self.end, self._zone)
            precision = "seconds" if end.second else "minutes"
            text += f", until {end.isoformat(' ', precision)}{zone and f' {zone}'}"
        return text

    def _with(self, **changes: object) -> Self:
        refined = copy(self)
        refined._set(**changes)  # noqa: SLF001  # a copy's, before anyone has it
        return refined

    def _set(self, **values: object) -> None:
        for name, value in values.items():
            object.__setattr__(self, name, value)


class CalendarSchedule(Schedule):
    """A schedule that plans its runs by the dates and times of a zone's calendar and clock."""

    _shown: bool = False
    """Whether it runs every time the clock shows one of its times, instead of once at each."""

    @abstractmethod
    def _first_date(self, start: date) -> date:
        """Return the first date, *start* or later, on which it runs, as if nothing were excluded.

        Raises:
            OverflowError: It would be past the year 9999.
        """

    @abstractmethod
    def _first_time(self, start: time) -> time | None:
        """Return the first time of day, *start* or later, at which it runs."""

    @abstractmethod
    def _dates_english(self) -> str:
        """Name the dates alone, for use as an exclusion."""

    def _run_after(self, after: datetime) -> datetime | None:
        search = next_shown if self._shown else next_fixed
        return search(after, self._zone, self._first_planned)

    def _first_planned(self, local: datetime) -> datetime | None:
        """Return the first local time, *local* or later, for which it plans a run."""
        for _ in range(MOST_EXCLUDED):
            found = self._first_local(local)
            # Here and not among the instants: a run that a clock change moves belongs to the date of its plan.
            if found is None or self._is_over(found) or not self._excludes(found.date()):
                return found
            local = datetime.combine(found.date(), time.max)
        return None

    def _first_local(self, local: datetime) -> datetime | None:
        on, at = local.date(), local.time()
        try:
            while True:
                found = self._first_date(on)
                first = self._first_time(at if found == on else time.min)
                if first is not None:
                    return datetime.combine(found, first)
                on, at = found + timedelta(days=1), time.min
        except OverflowError:
            return None  # Past the year 9999 there is no date.

    def _runs_on(self, on: date) -> bool:
        """Return whether it runs on the date *on*, as if nothing were excluded."""
        try:
            return self._first_date(on) == on
        except OverflowError:
            return False

    def _plans(self, on: date) -> bool:
        """Return whether it plans a run for the date *on*."""
        # Asked of thousands of dates in a row: no search for the next date, which may be years away.
        if not self._runs_on(on) or self._excludes(on):
            return False
        local = self._first_local(datetime.combine(on, time.min))
        try:
            while local is not None and local.date() == on:
                if not self._shown or is_shown(local, self._zone):
                    return self.end is None or instant_of(local, self._zone) < self.end
                local = self._first_local(local + MICROSECOND)
        except OverflowError:
            pass  # In UTC the run would be outside the calendar.
        return False


def _aware(instant: datetime) -> datetime:
    if not isinstance(instant, datetime):
        msg = f"expected a datetime, not {instant!r}"
        raise TypeError(msg)
    if instant.utcoffset() is None:
        msg = f"naive datetime {instant!r}: say in which time zone, for example with tzinfo=UTC"
        raise ValueError(msg)
    return to_utc(instant)


def _excludable(item: object) -> date | CalendarSchedule:
    if isinstance(item, CalendarSchedule) or (isinstance(item, date) and not isinstance(item, datetime)):
        return item
    if isinstance(item, Schedule):
        msg = f"{item!r} is an interval and has no dates to exclude; give a Daily, Weekly, Monthly or Cron"
        raise ValueError(msg)  # noqa: TRY004  # a schedule it is
    msg = f"only dates and schedules can be excluded, not {item!r}"
    raise TypeError(msg)
