"""A scheduled job and its runs, as the scheduler keeps them: the same objects, with what only it may change."""

import math
from collections import deque
from collections.abc import Callable
from datetime import datetime
from inspect import signature
from typing import NamedTuple, TypedDict, Unpack

from hostkit._execution.call import Call
from hostkit._execution.stack import coroutine_line
from hostkit._values.durations import Duration, to_seconds
from hostkit._values.functions import FunctionKind, is_generator
from hostkit.scheduling._clock import Reading, seconds_text
from hostkit.scheduling._job import JobFunction, JobOwner, Outcome, Run, ScheduledJob
from hostkit.scheduling._policies import Missed, Overlap
from hostkit.scheduling._schedule import Schedule

GRACE_OF_SKIP = 1.0
SMALLEST_GRACE = 0.1
"""Seconds: timers and the turns of an event loop are not much finer, and what they take is not the job's lateness."""
LONGEST_JITTER = 366 * 86_400.0


class EntryOptions(TypedDict):
    """The options of `Scheduler.add`, those of the name excepted."""

    overlap: Overlap
    concurrency: int
    missed: Missed
    grace: Duration | None
    timeout: Duration | None
    jitter: Duration
    when: Callable[[], object] | None
    run_at_start: bool


class CallForm(NamedTuple):
    """How a job's function has to be called."""

    kind: FunctionKind
    takes_run: bool
    name: str
    """A name after the function."""


class RunRecord(Run):
    """The record of a run, while it is written."""

    __slots__ = ("begin_by", "call", "cancel_requested", "coroutine")

    scheduled_job: "JobEntry"
    begin_by: float
    """When it is too late to begin, on the event loop's clock."""
    cancel_requested: bool
    coroutine: object
    """What it awaits, while it does."""
    call: Call | None
    """How it calls the job's function, where it does not await that itself."""

    def __init__(self, job: "JobEntry", due: float | datetime, reading: Reading, late: float = 0.0) -> None:
        """Begin the record of a run that is due: at an instant, or at a time of the event loop's clock.

        It is so many seconds *late* already when the clocks are read.
        """
        self.scheduled_job = job
        self._due = due
        self._reading = reading
        self.begin_by = reading.time - late + job.latest_begin
        self._began = self.duration = self.outcome = self.reason = self.error = self.coroutine = self.call = None
        self.cancel_requested = False

    @property
    def has_begun(self) -> bool:
        """Whether it has begun."""
        return self._began is not None

    def begin(self, now: float) -> None:
        """Record that it begins, or that it has only now what it needs to begin."""
        self._began = now

    def end(self, outcome: Outcome, now: float, error: BaseException | None = None) -> None:
        """Record how it ended."""
        if self._began is not None:
            self.duration = now - self._began
        self.outcome = outcome
        self.error = error
        self.coroutine = self.call = None

    def line(self) -> str | None:
        """Return the line of the user's own where it is, or None."""
        line = coroutine_line(self.coroutine)
        return line if line is not None or self.call is None else self.call.line()

    def skip(self, reason: str) -> None:
        """Record that it does not happen."""
        self._began = None
        self.outcome = Outcome.SKIPPED
        self.reason = reason
        self.coroutine = self.call = None

    def missed(self, now: float) -> str:
        """Return the reason of a run that is too late to begin *now*."""
        return f"missed by {seconds_text(now - self.begin_by + self.scheduled_job.latest_begin)}"

    def name_timeout(self, error: BaseException | None) -> TimeoutError:
        """Make it the reason that the run has timed out; return its error, which *error* is already or has caused."""
        self.reason = f"timed out after {seconds_text(self.scheduled_job.timeout or 0)}"
        if isinstance(error, TimeoutError):
            return error
        named = TimeoutError(self.reason)
        named.__cause__ = error
        return named

    def rebase(self, reading: Reading) -> None:
        """Go by a newer reading of the clocks: it has waited, and the wall clock may have been set meanwhile."""
        self._due = self.planned
        self._reading = reading


class Skips:
    """Runs of one job that were left out in a row, for one kind of reason."""

    __slots__ = ("_kind", "count", "last", "logged", "reason")

    def __init__(self, reason: str, now: float) -> None:
        """Begin with the first, which has its line."""
        self._kind = _kind_of(reason)
        self.reason = reason
        self.count = 0
        self.last = self.logged = now

    def is_repeated_by(self, reason: str) -> bool:
        """Return whether a run that is left out for *reason* is one more of them."""
        return _kind_of(reason) == self._kind


class JobEntry(ScheduledJob):
    """A job, and what its scheduler knows of it.

    Attributes:
        form: How its function has to be called.
        is_plain: Whether a call of the function is all that a run takes.
        when: The function that is asked before each run.
        run_at_start: Whether it runs when the scheduler starts.
        run_requested: Whether a run was asked for while no scheduler ran.
        latest_begin: How many seconds late a run may begin.
        period: Seconds from run to run of an interval, 0 for a schedule by the calendar.
        is_unrefined: Whether the schedule has neither exclusions nor an end.
        is_simple: Whether it is due exactly when its unrefined schedule says so.
        engine: Which engine has scheduled it, for comparison.
        due_at: When it is due next, with its jitter: by the loop's clock for an interval, by the wall clock in UTC for
            a schedule by the calendar; None if it is not due any more.
        planned: The run of a schedule by the calendar that is due next, without jitter.
        origin: Where the grid of an interval begins, on the event loop's clock.
        index: Which place of the grid is due next.
        waiting: The run that waits for the end of another one.
        skips: What is known of runs that were left out in a row, for the log.
    """

    __slots__ = (
        "due_at",
        "engine",
        "form",
        "index",
        "is_plain",
        "is_simple",
        "is_unrefined",
        "latest_begin",
        "origin",
        "period",
        "planned",
        "run_at_start",
        "run_requested",
        "skips",
        "waiting",
        "when",
    )

    due_at: float | datetime | None
    planned: datetime | None
    waiting: RunRecord | None
    engine: object
    skips: Skips | None
    _active: tuple[RunRecord, ...]

    def __init__(
        self,
        owner: JobOwner,
        name: str,
        function: JobFunction,
        form: CallForm,
        schedule: Schedule,
        **options: Unpack[EntryOptions],
    ) -> None:
        """Check what was given; see `Scheduler.add`."""
        self._owner = owner
        self.name = name
        self.function = function
        self.form = form
        self.schedule = schedule
        self.overlap = Overlap(options["overlap"])
        self.concurrency = options["concurrency"]
        self.missed = Missed(options["missed"])
        grace, timeout = options["grace"], options["timeout"]
        self.grace = None if grace is None else to_seconds(grace, "grace")
        if grace is None and self.missed is Missed.SKIP:
            self.grace = GRACE_OF_SKIP
        self.latest_begin = math.inf if self.grace is None else max(self.grace, SMALLEST_GRACE)
        self.timeout = None if timeout is None else to_seconds(timeout, "timeout")
        self.jitter = to_seconds(options["jitter"], "jitter")
        self.when = options["when"]
        self.run_at_start = options["run_at_start"]
        self._check()
        more = form.kind.takes_token or form.takes_run or self.timeout is not None or self.when is not None
        self.is_plain = form.kind.is_async and not more
        self.period = schedule.period or 0.0
        self.is_unrefined = not schedule.excluded_dates and not schedule.excluded_schedules and schedule.end is None
        self.is_simple = self.is_unrefined and not self.jitter
        self._paused = self.run_requested = False
        self._last = self._last_success = self._other_counts = self._history = None
        self._succeeded = 0
        self.begin_lifecycle(None)

    @property
    def is_idle(self) -> bool:
        """Whether it is neither running nor paused."""
        return not (self._active or self._paused)

    def begin_lifecycle(self, engine: object) -> None:
        """Forget what belongs to the last lifecycle of the scheduler."""
        self.engine = engine
        self._active = ()
        self.waiting = self.due_at = self.planned = self.skips = None
        self.origin = 0.0
        self.index = 0

    def add_active(self, run: RunRecord) -> None:
        """Count *run* among those that go on."""
        self._active = (*self._active, run)

    def record(self, run: RunRecord, limit: int) -> None:
        """Keep a run that is over, or did not happen; the history is made at the first one."""
        active = self._active
        if len(active) == 1 and active[0] is run:
            self._active = ()
        elif active:
            self._active = tuple(other for other in active if other is not run)
        history = self._history
        if history is None:
            history = self._history = deque(maxlen=limit)
        history.append(run)
        if run.outcome is Outcome.SUCCEEDED:
            self._last = self._last_success = run
            self._succeeded += 1
        else:
            self._count_other(run)

    def _count_other(self, run: RunRecord) -> None:
        assert run.outcome is not None
        counts = self._other_counts = self._other_counts or {}
        counts[run.outcome] = counts.get(run.outcome, 0) + 1
        if run.has_begun:
            self._last = run

    def add_counts(self, totals: dict[Outcome, int]) -> None:
        """Add to *totals* how many runs had each outcome."""
        totals[Outcome.SUCCEEDED] += self._succeeded
        if self._other_counts is not None:
            for outcome, number in tuple(self._other_counts.items()):  # the loop may add one meanwhile
                totals[outcome] += number

    def records(self) -> tuple[RunRecord, ...]:
        """Return the runs that go on, the oldest first."""
        return self._active

    def _check(self) -> None:
        if not isinstance(self.schedule, Schedule):
            message = f"schedule must be an Every, Daily, Weekly, Monthly or Cron, got {self.schedule!r}"
            raise TypeError(message)
        if isinstance(self.concurrency, bool) or not isinstance(self.concurrency, int):
            message = f"concurrency must be an int, got {self.concurrency!r}"
            raise TypeError(message)
        if (self.concurrency > 1) is not (self.overlap is Overlap.ALLOW) or self.concurrency < 1:
            message = (
                "concurrency is for overlap=Overlap.ALLOW, and must be at least 2 there (how many runs may go on at a "
                f"time), got {self.overlap!s} with {self.concurrency!r}"
            )
            raise ValueError(message)
        if self.overlap is Overlap.CANCEL_RUNNING and not self.form.kind.is_async:
            message = f"a function that runs in a thread cannot be cancelled: {self.function!r}; use another overlap"
            raise ValueError(message)
        if self.timeout == 0:
            message = f"timeout must be more than 0 seconds, got {self.timeout!r}"
            raise ValueError(message)
        self._check_jitter()
        require_function(self.when, "when must be a function without parameters")
        if not isinstance(self.run_at_start, bool):
            message = f"run_at_start must be a bool, got {self.run_at_start!r}"
            raise TypeError(message)

    def _check_jitter(self) -> None:
        period = self.schedule.period
        if period is not None and self.jitter >= period:
            message = f"jitter must be less than the interval of {period:g} s, got {self.jitter:g}"
            raise ValueError(message)
        if self.jitter > LONGEST_JITTER:
            message = f"jitter must be at most {LONGEST_JITTER:g} s (a year), got {self.jitter:g}"
            raise ValueError(message)


def require_function(value: object, demand: str, *arguments: object) -> None:
    """Refuse what is neither None nor a sync or async function that takes *arguments*.

    Raises:
        TypeError: *value* cannot be called, or not like that, or has a ``yield``: nothing of it would run.
    """
    if value is None:
        return
    if not callable(value) or is_generator(value):
        message = f"{demand}, got {value!r}"
        raise TypeError(message)
    try:
        signature(value).bind(*arguments)
    except ValueError:
        pass  # written in C, with parameters that are not known
    except TypeError as error:
        message = f"{demand}, got {value!r}: {error}"
        raise TypeError(message) from None


def _kind_of(reason: str) -> str:
    return reason.partition(" by ")[0]
