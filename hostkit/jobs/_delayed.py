"""Jobs whose time has not come: delayed ones, and those that wait for a retry."""

import math
from collections.abc import Callable, Iterator
from datetime import datetime
from threading import RLock

import anyio

from hostkit._execution.timers import TimerHeap
from hostkit._values.text import repr_of
from hostkit.jobs._job import JobRecord, JobState

When = float | datetime
"""In how many seconds, or at which instant."""

LONGEST_WAIT = 30.0
"""Seconds after which the wall clock is read again: it may have been set."""


class DelayedJobs:
    """Jobs by their time on the event loop's clock, and jobs by an instant on the wall clock.

    Attributes:
        counts: How many jobs are delayed, and how many wait for a retry.
    """

    _closed: bool

    def __init__(self, now: Callable[[], datetime], lock: RLock, on_clock_error: Callable[[Exception], None]) -> None:
        """Prepare; the wall clock, *now*, is read only while there is something that needs it."""
        self._now = now
        self._on_clock_error = on_clock_error
        self._lock = lock
        self._early: dict[JobRecord, When] = {}
        self._by_time: TimerHeap[float, JobRecord] = TimerHeap()
        self._by_instant: TimerHeap[datetime, JobRecord] = TimerHeap()
        self._wakeup = anyio.Event()
        self._look_at = -math.inf
        self.counts = {JobState.DELAYED: 0, JobState.RETRYING: 0}

    def __iter__(self) -> Iterator[JobRecord]:
        """Return the jobs that wait."""
        yield from tuple(self._early)
        yield from self._by_time
        yield from self._by_instant

    def set_state(self, job: JobRecord, state: JobState) -> None:
        """Set the state of a job that has not begun, or not again, and count it."""
        with self._lock:
            if job.state in self.counts:
                self.counts[job.state] -= 1
            job.state = state
            if state in self.counts:
                self.counts[state] += 1

    def add_early(self, job: JobRecord, when: When) -> None:
        """Keep *job* until the queue is started, as its time counts from then."""
        self._early[job] = when

    def open(self) -> list[tuple[JobRecord, When]]:
        """Begin a lifecycle, and take out the jobs from before it."""
        self._closed = False
        early, self._early = self._early, {}
        return list(early.items())

    async def run(self, time: Callable[[], float], on_due: Callable[[JobRecord], None]) -> None:
        """Call *on_due* for each job when its time comes, until `close`; *time* is the event loop's clock."""
        now = time()
        while not self._closed:
            for job in self._take_due(now):
                on_due(job)
            self._wakeup = anyio.Event()
            self._look_at = self._next_look(now)
            with anyio.move_on_at(self._look_at) as scope:
                await self._wakeup.wait()
            # A timer may come a hair too early, but it has come: looking again and again until then would be a spin.
            now = max(time(), self._look_at) if scope.cancelled_caught else time()

    def close(self) -> None:
        """End `run`; jobs that wait stay here."""
        self._closed = True
        self._wakeup.set()

    def add(self, job: JobRecord, now: float, seconds: float, instant: datetime | None = None) -> None:
        """Keep *job* for so many *seconds*, or until the wall clock shows *instant*."""
        job.due_at = now + seconds
        if instant is None:
            self._by_time.add(job, job.due_at)
        else:
            self._by_instant.add(job, instant)
        if self._next_look(now) < self._look_at:
            self._wakeup.set()

    def discard(self, job: JobRecord) -> None:
        """Take *job* out."""
        self._early.pop(job, None)
        self._by_time.discard(job)
        self._by_instant.discard(job)

    def read_clock(self) -> datetime:
        """Return what the wall clock shows.

        Raises:
            TypeError: That is something else than an aware `datetime`.
        """
        now: object = self._now()
        if not isinstance(now, datetime) or now.utcoffset() is None:
            message = f"JobQueue(now=...) must return an aware datetime, got {repr_of(now)}"
            raise TypeError(message)
        return now

    def seconds_until(self, when: When) -> float:
        """Return in how many seconds *when* is, negative if it was; while the wall clock fails, when to look again."""
        if not isinstance(when, datetime):
            return when
        try:
            return (when - self.read_clock()).total_seconds()
        except Exception as error:  # noqa: BLE001  # the user's clock; it may be right again the next time
            self._on_clock_error(error)
            return LONGEST_WAIT

    def _take_due(self, now: float) -> Iterator[JobRecord]:
        """Take out the jobs whose time has come."""
        yield from self._by_time.take_due(now)
        while (instant := self._by_instant.first()) is not None and self.seconds_until(instant) <= 0:
            for job in self._by_instant.take_due(instant):
                job.due_at = now
                yield job

    def _next_look(self, now: float) -> float:
        """Return when to look again, on the event loop's clock."""
        time, instant = self._by_time.first(), self._by_instant.first()
        look = math.inf if time is None else time
        return look if instant is None else min(look, now + min(self.seconds_until(instant), LONGEST_WAIT))
