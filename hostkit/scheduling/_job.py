"""A scheduled job and its runs, as users see them."""

from collections import deque
from collections.abc import Callable, Mapping
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType
from typing import Protocol, TypedDict

from hostkit._values.durations import Duration
from hostkit.scheduling._clock import Reading
from hostkit.scheduling._policies import Missed, Overlap
from hostkit.scheduling._schedule import Schedule

JobFunction = Callable[..., object]


class JobOptions(TypedDict, total=False):
    """The options of `Scheduler.add`."""

    name: str | None
    overlap: Overlap
    concurrency: int
    missed: Missed
    grace: Duration | None
    timeout: Duration | None
    jitter: Duration
    when: Callable[[], object] | None
    run_at_start: bool
    replace: bool


class Outcome(StrEnum):
    """What came of a run.

    Attributes:
        SUCCEEDED: The job has returned.
        FAILED: It has raised an error, has exceeded its timeout, or was cancelled by something else than hostkit.
        CANCELLED: The scheduler has cancelled it: at the end of a stop, or because the next run was due.
        SKIPPED: It did not happen; the run's ``reason`` says why.
    """

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    SKIPPED = "skipped"


class Run:
    """One run of a job, or one that did not happen; kept in the job's ``history``. For reading only.

    A job function with a parameter named ``run`` is given the record of its own run: ``run.planned`` is the instant for
    which it was planned, however late it begins.

    Attributes:
        scheduled_job: The job.
        duration: How long it took in seconds, on the event loop's clock; None if it did not happen, or goes on.
        outcome: What came of it; None while it waits or goes on.
        reason: Why it did not happen or was cancelled, in a few words: ``still running``, ``missed by 12 s``,
            ``paused``, ``when() said no``; None if there is nothing to say.
        error: What it raised, or None.
    """

    # Ten thousand are made a second: the instants become datetimes only where they are read.
    __slots__ = ("_began", "_due", "_reading", "duration", "error", "outcome", "reason", "scheduled_job")

    scheduled_job: "ScheduledJob"
    duration: float | None
    outcome: Outcome | None
    reason: str | None
    error: BaseException | None
    _began: float | None
    _due: float | datetime
    _reading: Reading

    @property
    def planned(self) -> datetime:
        """When it was due: in the schedule's time zone; in UTC for an interval and for `ScheduledJob.run_now`."""
        due = self._due
        return due if isinstance(due, datetime) else self._reading.wall_at(due)

    @property
    def started(self) -> datetime | None:
        """When it began, in UTC; None if it has not."""
        return None if self._began is None else self._reading.wall_at(self._began)

    def __repr__(self) -> str:
        """Show what is known of it."""
        fields = ("planned", "started", "duration", "outcome", "reason", "error")
        return f"Run({', '.join(f'{name}={getattr(self, name)!r}' for name in fields)})"


class JobOwner(Protocol):
    """What a job asks of its scheduler."""

    def next_run(self, job: "ScheduledJob") -> datetime | None:
        """Return when *job* is due next."""

    def run_now(self, job: "ScheduledJob") -> None:
        """Have *job* run once, now."""

    def remove(self, job: "ScheduledJob") -> None:
        """Take *job* out."""


class ScheduledJob:
    """A job of a `Scheduler`, made by `Scheduler.add`. Any thread may use it, before, while and after the host runs.

    Attributes:
        name: Its name, unique in the scheduler.
        function: What it runs.
        schedule: When.
        overlap: See `Scheduler.add`; likewise the following.
        concurrency: How many runs may go on at a time.
        missed: What happens to runs that could not begin in time.
        grace: How many seconds late a run may begin; None for no limit.
        timeout: How many seconds a run may take; None for no limit.
        jitter: By how many seconds at most a run is put off by chance.
    """

    __slots__ = (
        "_active",
        "_history",
        "_last",
        "_last_success",
        "_other_counts",
        "_owner",
        "_paused",
        "_succeeded",
        "concurrency",
        "function",
        "grace",
        "jitter",
        "missed",
        "name",
        "overlap",
        "schedule",
        "timeout",
    )

    name: str
    function: JobFunction
    schedule: Schedule
    overlap: Overlap
    concurrency: int
    missed: Missed
    grace: float | None
    timeout: float | None
    jitter: float
    _owner: JobOwner
    _paused: bool
    _active: tuple[Run, ...]
    _succeeded: int
    _other_counts: dict[Outcome, int] | None
    _history: deque[Run] | None
    _last: Run | None
    _last_success: Run | None

    @property
    def paused(self) -> bool:
        """Whether it was paused."""
        return self._paused

    @property
    def running(self) -> int:
        """How many runs go on."""
        return len(self._active)

    @property
    def runs(self) -> tuple[Run, ...]:
        """The runs that go on, the oldest first."""
        return self._active

    @property
    def next_run(self) -> datetime | None:
        """When it is due next, in the schedule's time zone; None if paused, removed or at the end of its schedule.

        Without a running scheduler: as if that were started now.
        """
        return None if self._paused else self._owner.next_run(self)

    @property
    def last_run(self) -> Run | None:
        """The last run that did happen and is over, or None."""
        return self._last

    @property
    def last_success(self) -> Run | None:
        """The last run that has succeeded, or None."""
        return self._last_success

    @property
    def history(self) -> tuple[Run, ...]:
        """The last runs that are over, and those that did not happen, the oldest first."""
        return () if self._history is None else tuple(self._history)

    @property
    def counts(self) -> Mapping[Outcome, int]:
        """How many runs had each outcome since the job was added, those that have left the history included."""
        counts = dict.fromkeys(Outcome, 0) | (self._other_counts or {})
        counts[Outcome.SUCCEEDED] = self._succeeded
        return MappingProxyType(counts)

    def pause(self) -> None:
        """Leave out every run that is due from now on, until `resume`; one that goes on goes on."""
        self._paused = True

    def resume(self) -> None:
        """Take part again, from the next run that is due; nothing is made up for."""
        self._paused = False

    def run_now(self) -> None:
        """Have it run once now, as if it were due, also when it is paused; ``overlap`` and ``when`` hold.

        Without a running scheduler: as soon as that is started. From another thread it begins as soon as the event loop
        gets to it.

        Raises:
            ValueError: It was removed.
        """
        self._owner.run_now(self)

    def remove(self) -> None:
        """Take it out of the scheduler; a run that goes on goes on. Calling it twice is fine."""
        self._owner.remove(self)

    def __repr__(self) -> str:
        """Show name and schedule."""
        return f"<ScheduledJob {self.name!r}: {self.schedule}>"
