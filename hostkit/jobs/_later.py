"""Jobs whose time has not come: delayed ones, and those that wait for a retry."""

import math
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import datetime
from heapq import heapify, heappop, heappush

from hostkit.jobs._job import Job, JobState

LONGEST_LOOK_AWAY = 30.0
"""Seconds after which the wall clock is read again: it may have been set."""
FEW = 64

AnyJob = Job[object]


class Later:
    """Two heaps: of instants on the event loop's clock, and of instants on the wall clock.

    Attributes:
        counts: How many jobs are in here, by state.
    """

    def __init__(self, wall_clock: Callable[[], datetime]) -> None:
        """Prepare; *wall_clock* is read only while there is something that needs it."""
        self.counts: Counter[JobState] = Counter()
        self._wall_clock = wall_clock
        self._timed: list[tuple[float, int, AnyJob]] = []
        self._dated: list[tuple[datetime, int, AnyJob]] = []
        self._order = 0
        self._gone = 0  # entries of jobs that were cancelled

    def add(self, job: AnyJob, due: float) -> None:
        """Keep *job* until *due* on the event loop's clock."""
        job.due_at = due
        heappush(self._timed, (due, self._next(job), job))

    def add_dated(self, job: AnyJob, instant: datetime, now: float) -> None:
        """Keep *job* until the wall clock shows *instant*."""
        job.due_at = now + self._seconds_until(instant)
        heappush(self._dated, (instant, self._next(job), job))

    def is_due(self, instant: datetime) -> bool:
        """Return whether the wall clock shows *instant* or later."""
        return instant <= self._wall_clock()

    def take_due(self, now: float) -> Iterator[AnyJob]:
        """Take out the jobs whose time has come."""
        while self._timed and self._timed[0][0] <= now:
            yield from self._taken(heappop(self._timed)[2])
        if self._dated:
            shown = self._wall_clock()
            while self._dated and self._dated[0][0] <= shown:
                job = heappop(self._dated)[2]
                job.due_at = now
                yield from self._taken(job)

    def take_all(self) -> Iterator[AnyJob]:
        """Take out every job."""
        jobs = [entry[2] for entry in (*self._timed, *self._dated)]
        self._timed.clear()
        self._dated.clear()
        for job in jobs:
            yield from self._taken(job)

    def next_look(self, now: float) -> float:
        """Return when to look again, on the event loop's clock."""
        look = self._timed[0][0] if self._timed else math.inf
        if self._dated:
            look = min(look, now + min(self._seconds_until(self._dated[0][0]), LONGEST_LOOK_AWAY))
        return look

    def note_cancelled(self, state: JobState) -> None:
        """Take note that a job in here, which was in *state*, was cancelled; many of them are thrown out."""
        self.counts[state] -= 1
        self._gone += 1
        if self._gone > FEW and self._gone * 2 > len(self._timed) + len(self._dated):
            self._gone = 0
            self._timed = [entry for entry in self._timed if is_later(entry[2])]
            self._dated = [entry for entry in self._dated if is_later(entry[2])]
            heapify(self._timed)
            heapify(self._dated)

    def _next(self, job: AnyJob) -> int:
        self.counts[job._state] += 1
        self._order += 1  # of equal instants, the one that was added first comes first
        return self._order

    def _taken(self, job: AnyJob) -> Iterator[AnyJob]:
        if is_later(job):
            self.counts[job._state] -= 1
            yield job
        else:
            self._gone -= 1

    def _seconds_until(self, instant: datetime) -> float:
        return max(0.0, (instant - self._wall_clock()).total_seconds())


def is_later(job: AnyJob) -> bool:
    """Return whether *job* still waits for its time."""
    return job._state in (JobState.DELAYED, JobState.RETRYING)
