"""Which job is due next: intervals by the event loop's clock, everything else by the wall clock.

Each kind is ordered by its own clock, so that nothing has to be put in order again when somebody sets the wall clock.
"""

import heapq
import math
import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Generic, TypeVar

from hostkit.scheduling._clock import Reading
from hostkit.scheduling._job import ScheduledJob
from hostkit.scheduling._schedule import Schedule

K = TypeVar("K", float, datetime)

# Nothing tells when the wall clock is set or the machine was suspended: so it is read again.
LONGEST_WAIT = 30.0
# A clock that is set back by less shows the same minute again, not another one.
SMALLEST_STEP = timedelta(minutes=1)
# As for Debian's cron: a clock that is set back by more was wrong, and so is what was planned by it.
CORRECTION = timedelta(hours=3)
MOST_STALE = 64


Due = tuple[ScheduledJob, K, K, float]
"""A job that is due: for its first run, the latest one if several come together, by how many seconds that is late."""


class _Timeline(Generic[K]):
    """Jobs in the order in which they are due."""

    def __init__(self) -> None:
        self._heap: list[tuple[K, int, ScheduledJob]] = []
        self._numbers = count()
        self._stale = 0

    def forget(self, job: ScheduledJob) -> None:
        """Take *job* out."""
        if job._entry is not None:
            job._entry = None
            # Searching the heap for it would be quadratic for whoever removes all his jobs.
            self._stale += 1
            if self._stale > MOST_STALE and self._stale * 2 > len(self._heap):
                self._heap = [entry for entry in self._heap if entry[2]._entry is entry]
                heapq.heapify(self._heap)
                self._stale = 0

    def first(self) -> K | None:
        """Return when the next job is due."""
        while self._heap and self._heap[0][2]._entry is not self._heap[0]:
            self._drop_first()
        return self._heap[0][0] if self._heap else None

    def _push(self, job: ScheduledJob, at: K) -> None:
        job._entry = entry = (at, next(self._numbers), job)
        heapq.heappush(self._heap, entry)

    def _drop_first(self) -> None:
        heapq.heappop(self._heap)
        self._stale -= 1


class Intervals(_Timeline[float]):
    """The jobs with an interval, by the event loop's clock.

    A job's runs lie on a grid from where it was admitted. It is never added to, so it does not drift.
    """

    def admit(self, job: ScheduledJob, reading: Reading) -> None:
        """Take *job* in, for the first time one interval from now."""
        job._origin = reading.time
        job._index = 0
        steps = 1 if job._is_unrefined else _steps(job, 0, reading)
        if steps is not None:
            job._index = steps
            self._push(job, _grid(job, steps) + _chance(job))

    def due(self, reading: Reading) -> Iterator[Due[float]]:
        """Take what is due, and put each job where it is due next."""
        now = reading.time
        heap = self._heap
        while heap and heap[0][0] <= now:
            entry = heap[0]
            at, _, job = entry
            if job._entry is not entry:
                self._drop_first()
                continue
            index = job._index
            following = job._origin + (index + 1) * job._period
            if job._is_simple and following > now:
                # Nearly always; the rest of it is what this amounts to, at three times the cost.
                job._index = index + 1
                job._entry = entry = (following, next(self._numbers), job)
                heapq.heapreplace(heap, entry)
                yield job, at, at, now - at
            else:
                yield self._advance(job, at, reading)
            heap = self._heap

    def _advance(self, job: ScheduledJob, at: float, reading: Reading) -> Due[float]:
        """Put the first job, which is due since *at*, where it is due next."""
        now = reading.time
        first = latest = _grid(job, job._index)
        passed = job._index
        if first + job._period <= now - job.jitter:
            passed = _last_passed(job, now - job.jitter)
        steps: int | None = 1
        if job._is_unrefined:
            latest = _grid(job, passed)
        else:
            steps = _steps(job, passed, reading)
            if passed > job._index and _steps(job, passed - 1, reading) == 1:
                latest = _grid(job, passed)
        heapq.heappop(self._heap)
        job._entry = None
        if steps is not None:
            job._index = passed + steps
            self._push(job, _grid(job, job._index) + _chance(job))
        return job, first, latest, now - (at if latest == first else latest)

    def next_run(self, job: ScheduledJob, reading: Reading) -> datetime:
        """Return when *job* is due next."""
        return reading.wall_at(_grid(job, job._index))


class Calendar(_Timeline[datetime]):
    """The jobs with a schedule by the calendar, by the wall clock."""

    def __init__(self) -> None:
        super().__init__()
        self._last: Reading | None = None

    def admit(self, job: ScheduledJob, reading: Reading) -> None:
        """Take *job* in, for the next run of its schedule."""
        self._plan(job, job.schedule.next_after(reading.wall))

    def follow(self, reading: Reading) -> None:
        """Plan anew where the clock was set back; what is passed over when it is set forward is due at once.

        By Debian cron's rules: fixed times that come again were all the first time, jobs that run whenever the clock
        shows one of their times run again.
        """
        last, self._last = self._last, reading
        if last is None:
            return
        back = timedelta(seconds=reading.time - last.time) - (reading.wall - last.wall)
        if back >= SMALLEST_STEP:
            for job in [entry[2] for entry in self._heap if entry[2]._entry is entry]:
                if back > CORRECTION or getattr(job.schedule, "_shown", False):
                    self.forget(job)
                    self.admit(job, reading)

    def due(self, reading: Reading) -> Iterator[Due[datetime]]:
        """Take what is due, and put each job where it is due next."""
        now = reading.wall
        while self._heap and self._heap[0][0] <= now:
            entry = self._heap[0]
            at, _, job = entry
            if job._entry is not entry:
                self._drop_first()
                continue
            first = job._planned
            assert first is not None
            latest, following = _catch_up(job.schedule, first, now - timedelta(seconds=job.jitter))
            heapq.heappop(self._heap)
            self._plan(job, following)
            late = now - (at if latest is first else latest.astimezone(UTC))
            yield job, first, latest, late.total_seconds()

    def _plan(self, job: ScheduledJob, planned: datetime | None) -> None:
        job._planned = planned
        job._entry = None
        if planned is not None:
            self._push(job, planned.astimezone(UTC) + timedelta(seconds=_chance(job)))


def _grid(job: ScheduledJob, index: int) -> float:
    return job._origin + index * job._period


def _chance(job: ScheduledJob) -> float:
    return job.jitter and job.jitter * random.random()  # noqa: S311  # spreads load, keeps no secret


def _last_passed(job: ScheduledJob, now: float) -> int:
    """Return the last place on the job's grid that is not after *now*."""
    index = math.floor((now - job._origin) / job._period)
    # Within a rounding error of a place the division may come out on either side.
    while _grid(job, index + 1) <= now:
        index += 1
    while _grid(job, index) > now:
        index -= 1
    return index


def _steps(job: ScheduledJob, index: int, reading: Reading) -> int | None:
    """Return by how many places on the grid the next run follows place *index*; None for no further run."""
    here = reading.wall_at(_grid(job, index))
    following = job.schedule.next_after(here)
    return None if following is None else max(1, round((following - here).total_seconds() / job._period))


def _catch_up(schedule: Schedule, first: datetime, now: datetime) -> tuple[datetime, datetime | None]:
    """Return the last run that is not after *now*, if *first* is not, and the one after it."""
    latest, following = first, schedule.next_after(first)
    # From near the end, not from run to run: a clock that was set may have passed over millions of them.
    window = timedelta(minutes=1)
    while following is not None and following.astimezone(UTC) <= now:
        start = now - window
        found = schedule.next_after(start) if start > first.astimezone(UTC) else following
        if found is None or found.astimezone(UTC) > now:
            window *= 2
            continue
        latest, following = found, schedule.next_after(found)
        while following is not None and following.astimezone(UTC) <= now:
            latest, following = following, schedule.next_after(following)
    return latest, following
