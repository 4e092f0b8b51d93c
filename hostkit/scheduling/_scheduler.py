"""The scheduler: a service that runs jobs when their schedules say so."""

import sys
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, TypeVar, Unpack

import anyio

from hostkit import BackgroundService, ServiceStuckError, StoppingToken
from hostkit._values.clock import now as wall_clock
from hostkit._values.durations import Duration
from hostkit._values.functions import require_sync
from hostkit.scheduling._engine import Options
from hostkit.scheduling._entry import require_function
from hostkit.scheduling._job import JobFunction, JobOptions, Outcome, Run, ScheduledJob
from hostkit.scheduling._policies import Missed, Overlap
from hostkit.scheduling._registry import JobRegistry
from hostkit.scheduling._schedule import Schedule

if TYPE_CHECKING:
    from hostkit._execution.daemon_thread import DaemonThread

F = TypeVar("F", bound=JobFunction)

THREADS = 40
HISTORY = 20
MOST_SHOWN = 20
"""How many runs and names `Scheduler.details` shows."""


class Scheduler(BackgroundService):
    """Runs jobs, each when its schedule says so.

    Async jobs run on the event loop, sync ones on daemon threads of the scheduler's own. Each run has its own copy of
    the context in which the host was started. A job that fails is logged, and comes round again. Jobs may be added,
    removed and steered from any thread, before it runs, while it runs, and after.

    Stopping:
        From its turn on nothing begins. The tokens of jobs that are running are set, and the jobs are waited for until
        ``shutdown_timeout``; then they are cancelled, and named in the log. A thread cannot be cancelled: one that has
        not returned by the end of ``cancellation_timeout`` is named and abandoned. Register the scheduler after the
        services that its jobs need.

    Args:
        threads: How many sync jobs may run at a time.
        history: How many records of runs each job keeps.
        on_failed: Called with the `Run` of each run that has failed, after its record is complete: sync and short, or
            async. Its own errors are logged. An async one is part of what the stop waits for.
        now: The wall clock; `hostkit.testing.FakeWallClock.now`, for tests.
    """

    def __init__(
        self,
        *,
        threads: int = THREADS,
        history: int = HISTORY,
        on_failed: Callable[[Run], object] | None = None,
        now: Callable[[], datetime] = wall_clock,
    ) -> None:
        """Make a scheduler without jobs.

        Raises:
            TypeError: *threads* or *history* is no int, *on_failed* no function that takes a `Run`, or *now* no
                synchronous function.
            ValueError: One of the numbers is less than 1, or too large.
        """
        for name, number in (("threads", threads), ("history", history)):
            if isinstance(number, bool) or not isinstance(number, int):
                message = f"{name} must be an int, got {number!r}"
                raise TypeError(message)
            if number < 1:
                message = f"{name} must be at least 1, got {number!r}"
                raise ValueError(message)
        if history > sys.maxsize:
            message = f"history must be at most {sys.maxsize}, got {history!r}"
            raise ValueError(message)
        require_sync(now, "Scheduler(now=...)")
        require_function(on_failed, "on_failed must be a function that takes a Run", None)
        self._registry = JobRegistry(Options(threads, history, now, on_failed))
        self._abandoned: dict[DaemonThread[object], str] = {}

    @property
    def jobs(self) -> Mapping[str, ScheduledJob]:
        """The jobs by name as they are now, in the order in which they were added; read-only."""
        return self._registry.snapshot

    @property
    def paused(self) -> bool:
        """Whether all jobs were paused, by `pause`."""
        return self._registry.paused

    def pause(self) -> None:
        """Leave out every run that is due from now on, of every job, until `resume`; those that go on go on.

        A job that was paused by itself stays so after `resume`. `ScheduledJob.run_now` runs a job all the same. A new
        lifecycle of the host does not end the pause.
        """
        self._registry.pause(paused=True)

    def resume(self) -> None:
        """Run jobs again, from their next runs that are due; nothing is made up for."""
        self._registry.pause(paused=False)

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
            job: An async or a sync function. A first parameter named ``stopping_token`` is filled; so is one named
                ``run``, with the `Run` record, whose ``planned`` is the instant for which the run was planned. It has
                no other that needs a value.
            schedule: When. An interval (`Every`) is counted from the scheduler's start, or from now if that runs
                already, by the monotonic clock; it runs for the first time when the interval is over.
            name: Its name, unique in the scheduler; made of the function's if not given (``daily-report`` for
                ``daily_report``, then ``daily-report-2``).
            overlap: What happens when a run is due while one is running.
            concurrency: With `Overlap.ALLOW`, how many runs may go on at a time.
            missed: What happens to runs that could not begin when they were due.
            grace: How late a run may begin; one that would begin later is left out, also if it has waited for another
                run, for a thread or for ``when``. What *jitter* adds is not late. Less than 0.1 s counts as 0.1 s, as
                timers are no finer. If not given: however late with `Missed.RUN_ONCE`, a second with `Missed.SKIP`.
            timeout: How long a run may take. An async job is cancelled then. A sync one cannot be: it is reported, and
                counts as running until it returns. Either way the run has failed.
            jitter: By how much each run is put off at most, by chance, so that not everything happens at once: less
                than the interval of an `Every`, at most 366 days.
            when: A function, sync and short or async, that is asked before each run; if what it returns is false, the
                run is left out.
            run_at_start: Whether it runs when the scheduler starts as well, or now if that runs already.
            replace: Whether it takes the place of the job of the same name, if there is one. A run of that one that
                goes on goes on; if that one was paused, the new one is paused.

        A job whose schedule has no run at all is added, with a warning in the log.

        Raises:
            TypeError: *job* cannot be called like that, or an option is of the wrong type.
            ValueError: The name is taken or empty, or an option has a value that makes no sense. Nothing is added.
        """
        return self._registry.add(
            job,
            schedule,
            name,
            replace=replace,
            overlap=overlap,
            concurrency=concurrency,
            missed=missed,
            grace=grace,
            timeout=timeout,
            jitter=jitter,
            when=when,
            run_at_start=run_at_start,
        )

    def job(self, schedule: Schedule, **options: Unpack[JobOptions]) -> Callable[[F], F]:
        """Return a decorator that adds a function, with the options of `add`, and leaves it as it is."""

        def decorate(function: F) -> F:
            self.add(function, schedule, **options)
            return function

        return decorate

    def details(self) -> Mapping[str, object]:
        """Return how many jobs there are, run and wait, the counts of their runs, and where the first runs are."""
        jobs = self._registry.entries()
        running = [run for job in jobs for run in job.records()]
        never = [job.name for job in jobs if job.engine is not None and job.due_at is None]
        counts = dict.fromkeys(Outcome, 0)
        for job in jobs:
            job.add_counts(counts)
        return {
            "jobs": len(jobs),
            "running": len(running),
            "waiting": sum(job.waiting is not None for job in jobs),
            **{str(outcome): number for outcome, number in counts.items()},
            "paused": self.paused,
            "without a next run": ", ".join(never[:MOST_SHOWN]),
            "runs": [f"{run.scheduled_job.name} at {run.line() or 'an unknown line'}" for run in running[:MOST_SHOWN]],
        }

    async def execute(self, stopping_token: StoppingToken) -> None:
        """Run the jobs until the stop."""
        engine = self._registry.begin(stopping_token)
        self._abandoned = engine.abandoned
        try:
            await engine.run()
        finally:
            self._registry.end()

    async def stop(self) -> None:
        """Wait for the threads of jobs that were cancelled, until the host gives up.

        Raises:
            ServiceStuckError: A thread is still running then.
        """
        try:
            for thread in self._abandoned:
                await thread.wait_returned()
        except anyio.get_cancelled_exc_class():
            stuck = {name: thread.line() for thread, name in self._abandoned.items() if thread.is_alive()}
            names = f"job {', '.join(stuck)}"
            lines = "; ".join(line for line in stuck.values() if line)
            raise ServiceStuckError(names, lines or None) from None
