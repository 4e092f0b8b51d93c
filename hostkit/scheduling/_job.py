"""A job of a scheduler: what runs when, how it is doing, and the handles to steer it."""

from collections import deque
from collections.abc import Callable
from datetime import datetime
from inspect import signature
from typing import Protocol, TypedDict

from hostkit._values.durations import Duration, to_seconds
from hostkit._values.functions import is_async, is_generator, takes_token
from hostkit.scheduling._policies import Missed, Overlap
from hostkit.scheduling._run_record import Run
from hostkit.scheduling._schedule import Schedule

Entry = tuple[float, int, "ScheduledJob"] | tuple[datetime, int, "ScheduledJob"]
"""A job in the order in which jobs are due."""

JobFunction = Callable[..., object]
GRACE_OF_SKIP = 1.0


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


class Owner(Protocol):
    """The scheduler, as its jobs see it."""

    def _next_run(self, job: "ScheduledJob") -> datetime | None: ...
    def _run_now(self, job: "ScheduledJob") -> None: ...
    def _remove(self, job: "ScheduledJob") -> None: ...


class ScheduledJob:
    """A job of a `Scheduler`, made by `Scheduler.add`. Its methods belong to the host's event loop.

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
        "_asked",
        "_entry",
        "_history",
        "_index",
        "_is_async",
        "_is_plain",
        "_is_simple",
        "_is_unrefined",
        "_last",
        "_origin",
        "_owner",
        "_paused",
        "_period",
        "_planned",
        "_run_at_start",
        "_takes_token",
        "_waiting",
        "_when",
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

    def __init__(  # noqa: PLR0913  # the options of Scheduler.add
        self,
        owner: Owner,
        name: str,
        function: JobFunction,
        schedule: Schedule,
        *,
        overlap: Overlap,
        concurrency: int,
        missed: Missed,
        grace: Duration | None,
        timeout: Duration | None,
        jitter: Duration,
        when: Callable[[], object] | None,
        run_at_start: bool,
    ) -> None:
        """Check what was given; see `Scheduler.add`."""
        self.name = name
        self.function = function
        self.schedule = schedule
        self.overlap = Overlap(overlap)
        self.concurrency = concurrency
        self.missed = Missed(missed)
        self.grace = None if grace is None else to_seconds(grace, "grace")
        if grace is None and missed is Missed.SKIP:
            self.grace = GRACE_OF_SKIP
        self.timeout = None if timeout is None else to_seconds(timeout, "timeout")
        self.jitter = to_seconds(jitter, "jitter")
        self._when = when
        self._run_at_start = run_at_start
        self._owner = owner
        self._takes_token = _check_function(function)
        self._is_async = is_async(function)
        self._is_plain = self._is_async and not self._takes_token and timeout is None and when is None
        self._check()
        self._period = schedule.period or 0.0
        self._is_unrefined = not schedule.excluded_dates and not schedule.excluded_schedules and schedule.end is None
        self._is_simple = self._is_unrefined and not self.jitter
        self._paused = self._asked = False
        self._last: Run | None = None
        self._history: deque[Run] | None = None
        self._reset()

    @property
    def paused(self) -> bool:
        """Whether it was paused."""
        return self._paused

    @property
    def running(self) -> int:
        """How many runs go on."""
        return len(self._active)

    @property
    def next_run(self) -> datetime | None:
        """When it is due next, in the schedule's time zone; None if paused, removed or at the end of its schedule.

        Without a running scheduler: as if that were started now.
        """
        return None if self._paused else self._owner._next_run(self)

    @property
    def last_run(self) -> Run | None:
        """The last run that did happen and is over, or None."""
        return self._last

    @property
    def history(self) -> tuple[Run, ...]:
        """The last runs that are over, and those that did not happen, the oldest first."""
        return () if self._history is None else tuple(self._history)

    def pause(self) -> None:
        """Leave out every run that is due from now on, until `resume`; one that goes on goes on."""
        self._paused = True

    def resume(self) -> None:
        """Take part again, from the next run that is due; nothing is made up for."""
        self._paused = False

    def run_now(self) -> None:
        """Have it run once now, as if it were due, also when it is paused; ``overlap`` and ``when`` hold.

        Without a running scheduler: as soon as that is started.

        Raises:
            ValueError: It was removed.
        """
        self._owner._run_now(self)

    def remove(self) -> None:
        """Take it out of the scheduler; a run that goes on goes on. Calling it twice is fine."""
        self._owner._remove(self)

    def __repr__(self) -> str:
        """Show name and schedule."""
        return f"<ScheduledJob {self.name!r}: {self.schedule}>"

    def _reset(self) -> None:
        """Forget what belongs to one life of the scheduler."""
        self._active: tuple[Run, ...] = ()
        self._waiting: Run | None = None
        self._entry: Entry | None = None
        self._planned: datetime | None = None
        # Where the grid of an interval begins, on the event loop's clock, and which of its places is next.
        self._origin = 0.0
        self._index = 0

    def _keep(self, run: Run, limit: int) -> None:
        """Take *run* into the history, which is made at the first one."""
        if self._history is None:
            self._history = deque(maxlen=limit)
        self._history.append(run)

    def _check(self) -> None:
        if not isinstance(self.schedule, Schedule):
            message = f"schedule must be an Every, Daily, Weekly, Monthly or Cron, got {self.schedule!r}"
            raise TypeError(message)
        if isinstance(self.concurrency, bool) or not isinstance(self.concurrency, int):
            message = f"concurrency must be a whole number, got {self.concurrency!r}"
            raise TypeError(message)
        if (self.concurrency > 1) is not (self.overlap is Overlap.ALLOW) or self.concurrency < 1:
            message = (
                "concurrency is for overlap=Overlap.ALLOW, and must be at least 2 there (how many runs may go on at a "
                f"time), got {self.overlap!s} with {self.concurrency!r}"
            )
            raise ValueError(message)
        if self.overlap is Overlap.CANCEL_RUNNING and not self._is_async:
            message = f"a function that runs in a thread cannot be cancelled: {self.function!r}; take another overlap"
            raise ValueError(message)
        if self.timeout == 0:
            message = "timeout must be more than 0 seconds"
            raise ValueError(message)
        if self.schedule.period is not None and self.jitter >= self.schedule.period:
            message = f"jitter must be less than the interval of {self.schedule.period:g} s, got {self.jitter:g}"
            raise ValueError(message)
        if self._when is not None and not callable(self._when):
            message = f"when must be a function without parameters, got {self._when!r}"
            raise TypeError(message)


def _check_function(function: JobFunction) -> bool:
    """Return whether *function* takes the token.

    Raises:
        TypeError: It cannot be called like that.
    """
    if not callable(function):
        message = f"a job must be a function, got {function!r}"
        raise TypeError(message)
    if is_generator(function):
        message = f"{function!r} cannot be a job: it is a generator, and nothing would run it"
        raise TypeError(message)
    try:
        parameters = signature(function)
    except ValueError:
        return False  # one of those written in C that do not tell
    with_token = takes_token(function)
    try:
        parameters.bind(*([None] if with_token else []))
    except TypeError as error:
        message = f"{function!r} cannot be a job: {error}; its only parameter must be stopping_token"
        raise TypeError(message) from None
    return with_token
