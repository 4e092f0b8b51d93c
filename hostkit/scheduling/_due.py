"""Which job is due next: intervals by the event loop's clock, everything else by the wall clock.

Each kind is ordered by its own clock, so that nothing has to be put in order again when the wall clock is set.
"""

import heapq
import math
import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Generic, TypeVar

from hostkit.scheduling._clock import LATEST, Reading, later
from hostkit.scheduling._entry import JobEntry
from hostkit.scheduling._schedule import Schedule

K = TypeVar("K", float, datetime)

SMALLEST_STEP = timedelta(minutes=1)
"""A clock that is set back by less shows the same minute again, not another one."""
CORRECTION = timedelta(hours=3)
"""As for Debian's cron: a clock that is set back by more was wrong, and so is what was planned by it."""
SMALLEST_DRIFT = timedelta(seconds=1)
"""By how much the clocks may part before intervals with excluded dates or an end are planned anew."""
MOST_STALE = 64

Due = tuple[JobEntry, K, K, float]
"""A job that is due: for its first run, the latest one if several come together (the same object if not), by how many
seconds that is late."""


class _DueQueue(Generic[K]):
    """Jobs in the order in which they are due; of those that are due together, the one that was added first.

    A heap of instants, and the jobs of each: thousands that are due at one instant are put in order once.

    Attributes:
        to_revise: Jobs that `follow_clock` has to look at, besides those that are due some time.
    """

    def __init__(self) -> None:
        self._instants: list[K] = []
        self._jobs: dict[K, list[JobEntry]] = {}
        self._spare = MOST_STALE  # how many jobs may still be taken out until `_drop_stale`
        self._last: Reading | None = None
        self.to_revise: dict[JobEntry, None] = {}

    def unschedule(self, job: JobEntry) -> None:
        """Take *job* out."""
        self.to_revise.pop(job, None)
        if job.due_at is None:
            return
        job.due_at = None
        # It stays where it is: to search for it would be quadratic for a caller that removes all jobs.
        self._spare -= 1
        if not self._spare:
            self._drop_stale()

    def first(self) -> K | None:
        """Return when the next job is due."""
        while self._instants:
            at = self._instants[0]
            if any(job.due_at == at for job in self._jobs[at]):
                return at
            del self._jobs[heapq.heappop(self._instants)]
        return None

    def _push(self, job: JobEntry, at: K) -> None:
        job.due_at = at
        jobs = self._jobs.get(at)
        if jobs is None:
            self._jobs[at] = [job]
            heapq.heappush(self._instants, at)
        else:
            jobs.append(job)

    def _drop_stale(self) -> None:
        # One that was scheduled again for the same instant stands there twice.
        kept = {at: list(dict.fromkeys(job for job in jobs if job.due_at == at)) for at, jobs in self._jobs.items()}
        self._jobs = {at: jobs for at, jobs in kept.items() if jobs}
        self._instants = list(self._jobs)
        heapq.heapify(self._instants)
        self._spare = MOST_STALE + sum(map(len, self._jobs.values())) // 2  # again before most are stale


class MonotonicQueue(_DueQueue[float]):
    """The jobs with an interval, by the event loop's clock.

    A job's runs lie on a grid from where it was scheduled. It is never added to, so it does not drift.
    """

    def schedule(self, job: JobEntry, reading: Reading) -> None:
        """Take *job* in, for the first time one interval from now."""
        job.origin = reading.time
        self._plan(job, 0, _steps(job, 0, reading))

    def follow_clock(self, reading: Reading) -> None:
        """Plan jobs with excluded dates or an end anew where the wall clock was set, or has run on in a suspension."""
        last = self._last = self._last or reading
        drift = (reading.wall - last.wall) - timedelta(seconds=reading.time - last.time)
        if self.to_revise and abs(drift) >= SMALLEST_DRIFT:
            self._last = reading
            for job in list(self.to_revise):
                passed = _last_passed(job, reading.time)
                if job.due_at is not None:
                    passed = min(passed, job.index - 1)
                steps = _steps(job, passed, reading)
                if job.due_at is None or steps is None or passed + steps != job.index:  # otherwise its jitter is kept
                    self.unschedule(job)
                    self._plan(job, passed, steps)

    def take_due(self, reading: Reading) -> Iterator[Due[float]]:
        """Take what is due, and put each job where it is due next."""
        now = reading.time
        while self._instants and self._instants[0] <= now:
            at = heapq.heappop(self._instants)
            for job in self._jobs.pop(at):
                if job.due_at != at:
                    continue
                following = job.origin + (job.index + 1) * job.period
                if job.is_simple and following > now:
                    # Nearly always; the rest of it is what this amounts to, at three times the cost.
                    job.index += 1
                    self._push(job, following)
                    yield job, at, at, now - at
                else:
                    yield self._advance(job, at, reading)

    def next_run(self, job: JobEntry, reading: Reading) -> datetime | None:
        """Return when *job* is due next; None if no calendar reaches that far."""
        found = reading.wall_at(_grid(job, job.index))
        return None if found == LATEST else found

    def _advance(self, job: JobEntry, at: float, reading: Reading) -> Due[float]:
        """Put *job*, which is due since *at*, where it is due next."""
        now = reading.time
        first = latest = _grid(job, job.index)
        passed = job.index
        if first + job.period <= now - job.jitter:
            passed = _last_passed(job, now - job.jitter)
        if passed > job.index and _steps(job, passed - 1, reading) == 1:
            latest = _grid(job, passed)
        self._plan(job, passed, _steps(job, passed, reading))
        return job, first, latest, now - (at if latest is first else latest + _delay(job))

    def _plan(self, job: JobEntry, passed: int, steps: int | None) -> None:
        job.due_at = None
        if not job.is_unrefined:
            self.to_revise[job] = None
        if steps is not None:
            job.index = passed + steps
            self._push(job, _grid(job, job.index) + _delay(job))


class WallClockQueue(_DueQueue[datetime]):
    """The jobs with a schedule by the calendar, by the wall clock."""

    def schedule(self, job: JobEntry, reading: Reading) -> None:
        """Take *job* in, for the next run of its schedule."""
        self._plan(job, job.schedule.next_after(reading.wall))

    def follow_clock(self, reading: Reading) -> None:
        """Plan anew where the clock was set back; what is passed over when it is set forward is due at once.

        By Debian cron's rules: fixed times that come again were all the first time, jobs that run whenever the clock
        shows one of their times run again.
        """
        last, self._last = self._last, reading
        if last is None:
            return
        back = timedelta(seconds=reading.time - last.time) - (reading.wall - last.wall)
        if back >= SMALLEST_STEP:
            jobs = {job: None for at, jobs in self._jobs.items() for job in jobs if job.due_at == at}
            for job in jobs | self.to_revise:
                if job.planned is not None and job.planned <= reading.wall:
                    continue  # by the new time as well its run has come, and is only put off by chance
                if back > CORRECTION or getattr(job.schedule, "_shown", False):
                    self.unschedule(job)
                    self.schedule(job, reading)

    def take_due(self, reading: Reading) -> Iterator[Due[datetime]]:
        """Take what is due, and put each job where it is due next."""
        now = reading.wall
        while self._instants and self._instants[0] <= now:
            at = heapq.heappop(self._instants)
            for job in self._jobs.pop(at):
                first = job.planned
                if job.due_at != at or first is None:
                    continue
                latest, following = _catch_up(job.schedule, first, later(now, -job.jitter))
                self._plan(job, following, at)
                due = at if latest is first else later(latest.astimezone(UTC), _delay(job))
                yield job, first, latest, (now - due).total_seconds()

    def _plan(self, job: JobEntry, planned: datetime | None, earliest: datetime | None = None) -> None:
        job.planned = planned
        job.due_at = None
        if planned is None:
            self.to_revise[job] = None  # its schedule is over, unless the clock is wrong
        else:
            at = later(planned.astimezone(UTC), _delay(job))
            if earliest is not None and at <= earliest:
                # With a jitter beyond the gap chance would put it before the one that was planned before it.
                rest = planned.astimezone(UTC) - earliest
                at = later(earliest, (rest.total_seconds() + job.jitter) * random.random())  # noqa: S311  # see _delay
            self._push(job, at)


def _grid(job: JobEntry, index: int) -> float:
    return job.origin + index * job.period


def _delay(job: JobEntry) -> float:
    """Return by how many seconds a run is put off by chance."""
    return job.jitter and job.jitter * random.random()  # noqa: S311  # spreads load, keeps no secret


def _last_passed(job: JobEntry, now: float) -> int:
    """Return the last place on the job's grid that is not after *now*."""
    index = math.floor((now - job.origin) / job.period)
    # Within a rounding error of a place the division may come out on either side.
    while _grid(job, index + 1) <= now:
        index += 1
    while _grid(job, index) > now:
        index -= 1
    return index


def _steps(job: JobEntry, index: int, reading: Reading) -> int | None:
    """Return by how many places on the grid the next run follows place *index*; None for no further run."""
    if job.is_unrefined:
        return 1
    here = reading.wall_at(_grid(job, index))
    following = job.schedule.next_after(here)
    return None if following is None else max(1, round((following - here).total_seconds() / job.period))


def _catch_up(schedule: Schedule, first: datetime, now: datetime) -> tuple[datetime, datetime | None]:
    """Return the last run that is not after *now*, if *first* is not, and the one after it."""
    latest, following = first, schedule.next_after(first)
    # From near the end, not from run to run: a clock that was set may have passed over millions of them.
    window = timedelta(minutes=1)
    while following is not None and following.astimezone(UTC) <= now:
        start = later(now, -window.total_seconds())
        found = schedule.next_after(start) if start > first.astimezone(UTC) else following
        if found is None or found.astimezone(UTC) > now:
            window *= 2
            continue
        latest, following = found, schedule.next_after(found)
        while following is not None and following.astimezone(UTC) <= now:
            latest, following = following, schedule.next_after(following)
    return latest, following
