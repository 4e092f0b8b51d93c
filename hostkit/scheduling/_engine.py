"""One life of a scheduler: what is due is run, or left out for a reason, until the stop."""

import math
from collections.abc import Callable, Mapping
from contextvars import copy_context
from datetime import datetime

import anyio
from anyio.lowlevel import checkpoint

from hostkit import StoppingToken
from hostkit._execution.daemon_thread import DaemonThreads
from hostkit.scheduling._agenda import LONGEST_WAIT, Calendar, Due, Intervals
from hostkit.scheduling._clock import Clock, Reading
from hostkit.scheduling._english import duration_in_words
from hostkit.scheduling._job import ScheduledJob
from hostkit.scheduling._log import RunLog
from hostkit.scheduling._performer import Performer
from hostkit.scheduling._policies import Overlap
from hostkit.scheduling._run_record import Outcome, Run
from hostkit.scheduling._runners import TURN, Runners, Step

QUANTUM = 0.001
"""Seconds that are waited at least: timers that are set for less cost more than what they are set for."""
BATCH = 64
STOPPING = "the scheduler is stopping"


class Engine:
    """Runs the jobs of a scheduler from its start to its stop."""

    begin: Callable[[ScheduledJob, Run], Step]
    _runners: Runners

    def __init__(
        self, jobs: Mapping[str, ScheduledJob], clock: Clock, threads: DaemonThreads, history: int, token: StoppingToken
    ) -> None:
        """Prepare, in the scheduler's own context; `live` runs the jobs."""
        self._jobs = jobs
        self._clock = clock
        self._history = history
        self._token = token
        self._log = RunLog()
        self._performer = Performer(token, threads, self._log)
        self.begin = self._performer.begin
        self.left_behind = self._performer.left_behind
        self._intervals = Intervals()
        self._calendar = Calendar()
        self._bell = anyio.Event()
        self._closed = False
        self._exit: BaseException | None = None

    async def live(self) -> None:
        """Run what is due until the stop; then finish what is running."""
        async with anyio.create_task_group() as group:
            self._runners = Runners(group, copy_context(), self, self._clock.time)
            try:
                reading = self._clock.read()
                for job in tuple(self._jobs.values()):
                    job._reset()
                    self._admit(job, reading)
                while not self._token.stop_requested and self._exit is None:
                    wake_at = await self._run_due()
                    with self._token.cancel_on_stop() as scope:
                        scope.deadline = wake_at
                        await self._bell.wait()
                    if self._bell.is_set():
                        self._bell = anyio.Event()
            finally:
                self._close()
            if self._exit is not None:
                group.cancel_scope.cancel()
        if self._exit is not None:
            raise self._exit

    # What the scheduler asks for.

    def admit(self, job: ScheduledJob) -> None:
        """Take in a job that was added."""
        self._admit(job, self._clock.read())
        self._bell.set()

    def dismiss(self, job: ScheduledJob) -> None:
        """Let go a job that was removed."""
        (self._intervals if job._period else self._calendar).forget(job)
        self._drop_waiting(job, "removed")

    def run_now(self, job: ScheduledJob) -> None:
        """Have *job* run, as if it were due."""
        reading = self._clock.read()
        self._request(job, Run(reading.time, reading))

    def next_run(self, job: ScheduledJob) -> datetime | None:
        """Return when *job* is due next."""
        if job._entry is None:
            return None
        return self._intervals.next_run(job, self._clock.read()) if job._period else job._planned

    # What the runners tell.

    def drop(self, job: ScheduledJob, run: Run) -> None:
        """Take note that a run was cancelled before it began."""
        run.outcome = Outcome.CANCELLED
        self._conclude(job, run)

    def end(self, job: ScheduledJob, run: Run, now: float) -> None:
        """Take note that a run has returned."""
        assert run._began is not None
        if run.outcome is None:
            run.outcome = Outcome.SUCCEEDED
            run.reason = None  # it may have ended in spite of its cancellation
            run.duration = now - run._began
            job._last = run
        else:
            run._began = None  # not the job has said how it went, but its when()
        self._conclude(job, run)

    def fail(self, job: ScheduledJob, run: Run, now: float, error: BaseException) -> bool:
        """Take note of what a run has raised; return whether the task that ran it can be used no longer."""
        failure, exit_request, cancelled = _sort_out(error)
        assert run._began is not None
        run.duration = now - run._began
        run.outcome = Outcome.FAILED
        run.error = failure or exit_request
        if exit_request is not None:
            self._exit = self._exit or exit_request
            self._bell.set()
        elif failure is None:
            if run._cancelled:
                run.outcome = Outcome.CANCELLED
            elif anyio.current_effective_deadline() == -math.inf:
                self._close()  # the scheduler itself is cancelled, and may get to know of it after its runners
                run.outcome = Outcome.CANCELLED
                told = self._token.stop_requested
                run.reason = "not over in time at the stop" if told else "the scheduler was cancelled"
            else:
                run.error = error
                run.reason = "cancelled by somebody else"
        job._last = run
        self._conclude(job, run)
        return cancelled or run._cancelled

    # Inside.

    def _admit(self, job: ScheduledJob, reading: Reading) -> None:
        (self._intervals if job._period else self._calendar).admit(job, reading)
        if job._asked:
            job._asked = False
            self._request(job, Run(reading.time, reading))
        if job._run_at_start:
            self._take(job, Run(reading.time, reading), 0.0)

    async def _run_due(self) -> float:
        """Run what is due, and return when to look again."""
        reading = self._clock.read()
        self._calendar.follow(reading)
        turn_ends = reading.time + TURN
        busy: list[Due[float] | Due[datetime]] = []
        count = 0
        for timeline in (self._intervals, self._calendar):
            for due in timeline.due(reading):
                job, first, latest, late = due
                if job._active:
                    busy.append(due)
                elif first is latest and not job._paused and (job.grace is None or late <= job.grace):
                    self._begin(job, Run(latest, reading))
                else:
                    self._on_due(due, reading)
                count += 1
                if count % BATCH == 0 and self._clock.time() >= turn_ends:
                    await checkpoint()
                    turn_ends = self._clock.time() + TURN
        if busy:
            # A run that ends at this very instant may have its last step still to do.
            await checkpoint()
            for due in busy:
                if self._jobs.get(due[0].name) is due[0]:  # not removed meanwhile
                    self._on_due(due, reading)
        return self._next_wake(reading)

    def _next_wake(self, reading: Reading) -> float:
        wake_at = math.inf
        first = self._intervals.first()
        if first is not None:
            wake_at = first
        nearest = self._calendar.first()
        if nearest is not None:
            wake_at = min(wake_at, reading.time + min(LONGEST_WAIT, (nearest - reading.wall).total_seconds()))
        return max(wake_at, self._clock.time() + QUANTUM)

    def _on_due(self, due: Due[float] | Due[datetime], reading: Reading) -> None:
        job, first, latest, late = due
        if first != latest:
            run = Run(first, reading)
            missed = duration_in_words((reading.wall - run.planned).total_seconds())
            self._leave_out(job, run, "paused" if job._paused else f"missed by {missed}, with all until the next")
        self._take(job, Run(latest, reading), late)

    def _take(self, job: ScheduledJob, run: Run, late: float) -> None:
        if job._paused:
            self._leave_out(job, run, "paused")
        elif job.grace is not None and late > job.grace:
            self._leave_out(job, run, f"missed by {duration_in_words(late)}")
        else:
            self._request(job, run)

    def _request(self, job: ScheduledJob, run: Run) -> None:
        """Have *run* begin, wait or be left out, as the job's overlap policy says."""
        if self._closed:
            self._leave_out(job, run, STOPPING)
        elif len(job._active) < job.concurrency:
            self._begin(job, run)
        elif job.overlap is Overlap.SKIP or job.overlap is Overlap.ALLOW:
            self._leave_out(job, run, "still running")
        elif job._waiting is not None:
            self._leave_out(job, run, "still running, and one waits already")
        else:
            job._waiting = run
            if job.overlap is Overlap.CANCEL_RUNNING:
                job._active[0]._cancel("the next run was due")

    def _begin(self, job: ScheduledJob, run: Run) -> None:
        job._active = (*job._active, run)
        self._runners.submit(job, run)

    def _conclude(self, job: ScheduledJob, run: Run) -> None:
        """Keep the record of a run that is over, and begin the one that waits for that."""
        run._runner = None
        active = job._active
        job._active = () if len(active) == 1 else tuple(other for other in active if other is not run)
        if job._history is None:
            job._keep(run, self._history)
        else:
            job._history.append(run)
        if self._log.detailed or run.outcome is not Outcome.SUCCEEDED:
            self._log.tell(job, run)
        if job._waiting is not None:
            waiting, job._waiting = job._waiting, None
            waiting._move_to(self._clock.read())
            self._begin(job, waiting)

    def _leave_out(self, job: ScheduledJob, run: Run, reason: str) -> None:
        run.outcome = Outcome.SKIPPED
        run.reason = reason
        job._keep(run, self._history)
        self._log.tell(job, run)

    def _drop_waiting(self, job: ScheduledJob, reason: str) -> None:
        if job._waiting is not None:
            waiting, job._waiting = job._waiting, None
            self._leave_out(job, waiting, reason)

    def _close(self) -> None:
        """Begin nothing more."""
        self._closed = True
        for job in self._jobs.values():
            self._drop_waiting(job, STOPPING)
        for job, run in self._runners.close():
            job._active = tuple(other for other in job._active if other is not run)
            self._leave_out(job, run, STOPPING)


def _sort_out(error: BaseException) -> tuple[Exception | None, BaseException | None, bool]:
    """Return what is an error of the job's, what asks for the end of the process, and whether it was cancelled."""
    if isinstance(error, GeneratorExit):
        raise error  # the event loop is gone, and this task with it
    cancellation = anyio.get_cancelled_exc_class()
    if isinstance(error, cancellation):
        return None, None, True
    if isinstance(error, Exception):
        return error, None, False
    if not isinstance(error, BaseExceptionGroup):
        return None, error, False
    failure, rest = error.split(Exception)
    cancelled, exits = rest.split(cancellation) if rest is not None else (None, None)
    while isinstance(exits, BaseExceptionGroup):
        exits = exits.exceptions[0]
    return failure, exits, cancelled is not None
