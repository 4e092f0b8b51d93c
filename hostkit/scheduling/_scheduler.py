"""The scheduler: a service that runs jobs when their schedules say so."""

from collections.abc import Callable, Mapping
from datetime import datetime
from types import MappingProxyType
from typing import TypeVar, Unpack

import anyio

from hostkit import BackgroundService, ServiceStuckError, StoppingToken
from hostkit._execution.daemon_thread import DaemonThreads, ThreadCall
from hostkit._execution.event_loop import RootTask
from hostkit._values.clock import now as wall_clock
from hostkit._values.durations import Duration
from hostkit._values.functions import name_of, require_sync
from hostkit.scheduling._clock import Clock, in_utc
from hostkit.scheduling._engine import Engine
from hostkit.scheduling._job import JobFunction, JobOptions, ScheduledJob
from hostkit.scheduling._policies import Missed, Overlap
from hostkit.scheduling._schedule import Schedule

F = TypeVar("F", bound=JobFunction)

THREADS = 40
HISTORY = 20


class Scheduler(BackgroundService):
    """Runs jobs, each when its schedule says so.

    Async jobs run on the event loop, sync ones on daemon threads of the scheduler's own. Each run has its own copy of
    the context in which the host was started. A job that fails is logged, and comes round again. Its methods belong to
    the host's event loop; jobs may be added, removed and steered before it runs, while it runs, and after.

    Stopping:
        From its turn on nothing begins. Jobs that are running are told by their token, and are waited for until
        ``shutdown_timeout``; then they are cancelled, and named in the log. A thread cannot be cancelled: one that has
        not returned by the end of ``cancellation_timeout`` is named and abandoned. Register the scheduler after the
        services that its jobs need.

    Args:
        threads: How many sync jobs may run at a time.
        history: How many records of runs each job keeps.
        now: The wall clock; `hostkit.testing.FakeWallClock.now`, for tests.

    Attributes:
        jobs: The jobs by name, read-only, in the order in which they were added.
    """

    jobs: Mapping[str, ScheduledJob]

    def __init__(
        self, *, threads: int = THREADS, history: int = HISTORY, now: Callable[[], datetime] = wall_clock
    ) -> None:
        """Make a scheduler without jobs.

        Raises:
            TypeError: *threads* or *history* is no whole number, or *now* is no synchronous function.
            ValueError: One of them is less than 1.
        """
        for name, number in (("threads", threads), ("history", history)):
            if isinstance(number, bool) or not isinstance(number, int):
                message = f"{name} must be a whole number, got {number!r}"
                raise TypeError(message)
            if number < 1:
                message = f"{name} must be at least 1, got {number!r}"
                raise ValueError(message)
        require_sync(now, "Scheduler(now=...)")
        self._jobs: dict[str, ScheduledJob] = {}
        self.jobs = MappingProxyType(self._jobs)
        self._history = history
        self._now = now
        self._threads = DaemonThreads(threads, "hostkit: scheduled job")
        self._names: dict[str, int] = {}
        self._engine: Engine | None = None
        self._left_behind: dict[ThreadCall[object], str] = {}

    def add(  # noqa: PLR0913  # one word for each option
        self,
        job: JobFunction,
        schedule: Schedule,
        *,
        name: str | None = None,
        overlap: Overlap = Overlap.SKIP,
        concurrency: int = 1,
        missed: Missed = Missed.RUN_ONCE,
        grace: Duration | None = None,
        timeout: Duration | None = None,
        jitter: Duration = 0.0,
        when: Callable[[], object] | None = None,
        run_at_start: bool = False,
        replace: bool = False,
    ) -> ScheduledJob:
        """Have *job* run when *schedule* says so.

        Durations are seconds or `timedelta`.

        Args:
            job: An async or a sync function. A first parameter named ``stopping_token`` is filled; it has no other.
            schedule: When. An interval (`Every`) is counted from the scheduler's start, or from now if that runs
                already, by a clock that nobody sets; it runs for the first time when the interval is over.
            name: Its name, unique in the scheduler; made of the function's if not given (``daily-report`` for
                ``daily_report``, then ``daily-report-2``).
            overlap: What happens when a run is due while one is running.
            concurrency: With `Overlap.ALLOW`, how many runs may go on at a time.
            missed: What happens to runs that could not begin when they were due.
            grace: How late a run may begin; one that would begin later is left out. If not given: however late with
                `Missed.RUN_ONCE`, a second with `Missed.SKIP`.
            timeout: How long a run may take. An async job is cancelled then. A sync one cannot be: it is reported, and
                counts as running until it returns. Either way the run has failed.
            jitter: By how much each run is put off at most, by chance, so that not everything happens at once.
            when: A function, sync and short or async, that is asked before each run; if what it returns is false, the
                run is left out.
            run_at_start: Whether it runs when the scheduler starts as well, or now if that runs already.
            replace: Whether it takes the place of the job of the same name, if there is one. A run of that one that
                goes on goes on.

        Raises:
            TypeError: *job* cannot be called like that, or an option is of the wrong type.
            ValueError: The name is taken or empty, or an option has a value that makes no sense.
        """
        if name is not None and not isinstance(name, str):
            message = f"name must be a text, got {name!r}"
            raise TypeError(message)
        if name is not None and not name.strip():
            message = f"name must not be empty, got {name!r}"
            raise ValueError(message)
        if name in self._jobs and not replace:
            message = f"there is a job named {name!r} already; replace=True puts the new one in its place"
            raise ValueError(message)
        base = name or name_of(job) or "job"
        added = ScheduledJob(
            self,
            base if name or replace else self._free_name(base),
            job,
            schedule,
            overlap=overlap,
            concurrency=concurrency,
            missed=missed,
            grace=grace,
            timeout=timeout,
            jitter=jitter,
            when=when,
            run_at_start=run_at_start,
        )
        if added.name in self._jobs:
            self._remove(self._jobs[added.name])
        self._jobs[added.name] = added
        if self._engine is not None:
            self._engine.admit(added)
        return added

    def job(self, schedule: Schedule, **options: Unpack[JobOptions]) -> Callable[[F], F]:
        """Return a decorator that adds a function, with the options of `add`, and leaves it as it is."""

        def decorate(function: F) -> F:
            self.add(function, schedule, **options)
            return function

        return decorate

    async def execute(self, stopping_token: StoppingToken) -> None:
        """Run the jobs until the stop."""
        clock = Clock(self._now, RootTask().time)
        self._engine = Engine(self._jobs, clock, self._threads, self._history, stopping_token)
        self._left_behind = self._engine.left_behind
        try:
            await self._engine.live()
        finally:
            self._engine = None

    async def stop(self) -> None:
        """Wait for the threads of jobs that were cancelled, until the host gives up.

        Raises:
            ServiceStuckError: A thread is still running then.
        """
        try:
            await self._threads.wait_returned()
        except anyio.get_cancelled_exc_class():
            stuck = {self._left_behind[call]: call.line() for call in self._threads.running}
            names = f"job {', '.join(stuck)}"
            lines = "; ".join(line for line in stuck.values() if line)
            raise ServiceStuckError(names, lines or None) from None
        finally:
            self._threads.close()

    # What the jobs ask for.

    def _next_run(self, job: ScheduledJob) -> datetime | None:
        if self._jobs.get(job.name) is not job:
            return None
        if self._engine is None:
            return job.schedule.next_after(in_utc(self._now()))
        return self._engine.next_run(job)

    def _run_now(self, job: ScheduledJob) -> None:
        if self._jobs.get(job.name) is not job:
            message = f"job {job.name!r} was removed"
            raise ValueError(message)
        if self._engine is None:
            job._asked = True
        else:
            self._engine.run_now(job)

    def _remove(self, job: ScheduledJob) -> None:
        if self._jobs.get(job.name) is job:
            del self._jobs[job.name]
            if self._engine is not None:
                self._engine.dismiss(job)

    def _free_name(self, base: str) -> str:
        # By a counter for each base: a search would be quadratic with ten thousand of one function.
        name = base
        while name in self._jobs:
            self._names[base] = self._names.get(base, 1) + 1
            name = f"{base}-{self._names[base]}"
        return name
