"""One lifecycle of a scheduler: what is due is run, or left out for a reason, until the stop."""

import math
from collections.abc import Callable, Coroutine, Mapping
from contextvars import Context, copy_context
from datetime import datetime
from inspect import isawaitable
from typing import Any, NamedTuple

import anyio
from anyio.lowlevel import checkpoint

from hostkit import ServiceCancelledError, StoppingToken
from hostkit._config.service_context import service_context
from hostkit._execution.daemon_thread import DaemonThread, DaemonThreadPool
from hostkit._execution.event_loop import EventLoop
from hostkit._execution.executor import TURN, Cause, Executor, Step, scope_is_cancelled
from hostkit._values.exceptions import classify, has_cancellation
from hostkit.scheduling._clock import Reading, in_utc, seconds_text
from hostkit.scheduling._due import Due, MonotonicQueue, WallClockQueue
from hostkit.scheduling._entry import JobEntry, RunRecord
from hostkit.scheduling._invocation import STOPPING, NotBegunError, Resources, invoke, reason_against
from hostkit.scheduling._job import Outcome, Run
from hostkit.scheduling._log import RunLog
from hostkit.scheduling._policies import Overlap

LONGEST_WAIT = 30.0
"""Seconds: nothing reports that the wall clock was set or the machine suspended, so it is read again."""
QUANTUM = 0.001
"""Seconds that are waited at least: timers that are set for less cost more than what they are set for."""
BATCH = 64


class Options(NamedTuple):
    """The options of a scheduler."""

    threads: int
    history: int
    now: Callable[[], datetime]
    on_failed: Callable[[Run], object] | None


class Engine:
    """Runs the jobs of a scheduler from its start to its stop."""

    def __init__(self, jobs: Mapping[str, JobEntry], options: Options, token: StoppingToken) -> None:
        """Prepare, in the scheduler's own context; `run` runs the jobs."""
        self.paused = False
        self.abandoned: dict[DaemonThread[object], str] = {}
        """The threads that are no longer waited for, and the names of their jobs."""
        self._jobs = jobs
        self._options = options
        self._token = token
        self._loop = EventLoop()
        self._time = self._loop.time
        self._log = RunLog(self._time)
        self._context = copy_context()
        limiter = anyio.CapacityLimiter(options.threads)
        self._pool = DaemonThreadPool("hostkit: scheduled jobs")
        self._resources = Resources(token, self._pool, limiter, self._log, self._time, self.abandoned)
        self._executor = Executor(self, self._time)
        self._monotonic = MonotonicQueue()
        self._wall_clock = WallClockQueue()
        self._wakeup = anyio.Event()
        self._detailed = self._log.detailed
        self._closed = False
        self._error: BaseException | None = None

    async def run(self) -> None:
        """Run what is due until the stop; then finish what is running."""
        try:
            await self._run()
        except Exception as error:  # noqa: BLE001  # raised again, or what has caused it
            raise self._error or error from None  # a job that leaves a scope open breaks the group as well
        if self._error is not None:
            raise self._error
        if not self._token.stop_requested:
            raise ServiceCancelledError(service_context.get().name)  # its group was cancelled from inside

    async def _run(self) -> None:
        async with anyio.create_task_group() as group:
            self._group = group
            self._executor.open(group)
            try:
                reading = self.read()
                for job in list(self._jobs.values()):
                    self.schedule(job, reading)
                while not self._token.stop_requested and self._error is None:
                    self._wakeup = anyio.Event()
                    wake_at = await self._run_due()
                    with self._token.cancel_on_stop() as scope:
                        scope.deadline = wake_at
                        await self._wakeup.wait()
            except Exception as error:  # noqa: BLE001  # the user's clock; raised below, outside the group
                self._end_with(error)
            finally:
                self._close()
                self._pool.close()
            if self._error is not None:
                group.cancel_scope.cancel()

    # What the scheduler asks for, in the event loop.

    @property
    def in_loop(self) -> bool:
        """Whether this is called in the engine's event loop."""
        return self._loop.in_loop

    def read(self) -> Reading:
        """Read the clocks.

        Raises:
            TypeError: The wall clock does not show a datetime.
            ValueError: It is naive, or UTC has no date for what it shows.
        """
        return Reading(in_utc(self._options.now()), self._time())

    def call(self, function: Callable[[], object]) -> bool:
        """Call *function* in the event loop: at once if this is in it, soon if not; return False if it has ended."""
        if self._loop.in_loop:
            function()
            return True

        def posted() -> None:
            try:
                function()
            except Exception as error:  # noqa: BLE001  # the user's clock: the scheduler fails when it is read, as ever
                self._end_with(error)

        return self._loop.call_soon(posted)

    def schedule(self, job: JobEntry, reading: Reading | None = None) -> None:
        """Take in a job; one that is scheduled already, or was removed meanwhile, stays as it is."""
        if job.engine is self or self._jobs.get(job.name) is not job:
            return
        reading = reading or self.read()
        job.begin_lifecycle(self)
        (self._monotonic if job.period else self._wall_clock).schedule(job, reading)
        if job.run_requested:
            job.run_requested = False
            self.run_now(job, reading)
        if job.run_at_start:
            self._take(RunRecord(job, reading.time, reading))
        self._wakeup.set()

    def unschedule(self, job: JobEntry) -> None:
        """Let go a job that was removed."""
        (self._monotonic if job.period else self._wall_clock).unschedule(job)
        self._drop_waiting(job, "removed")

    def run_now(self, job: JobEntry, reading: Reading | None = None) -> None:
        """Have *job* run, as if it were due."""
        reading = reading or self.read()
        self._request(RunRecord(job, reading.time, reading))

    def next_run(self, job: JobEntry) -> datetime | None:
        """Return when *job* is due next; from any thread."""
        if job.due_at is None:
            return None
        return self._monotonic.next_run(job, self.read()) if job.period else job.planned

    # What the executor asks for.

    def begin(self, run: RunRecord, now: float) -> Context | None:
        """Record that *run* begins, unless it was cancelled before, or is too late, or the stop has come."""
        if run.cancel_requested:
            run.end(Outcome.CANCELLED, now)
            self._conclude(run)
            return None
        if now > run.begin_by or self._token.stop_requested:
            run.skip(STOPPING if self._token.stop_requested else run.missed(now))
            self._conclude(run)
            return None
        run.begin(now)
        return self._context.copy()

    def start(self, run: RunRecord) -> Step:
        """Take its first step."""
        job = run.scheduled_job
        # A cast would cost as much as the call, ten thousand times a second.
        coroutine: Coroutine[Any, Any, object]
        coroutine = job.function() if job.is_plain else invoke(run, self._resources)  # type: ignore[assignment]
        first = coroutine.send(None)
        run.coroutine = coroutine
        return coroutine, first

    def end(self, run: RunRecord, value: object, now: float) -> None:
        """Record that a run has returned."""
        del value
        if run.coroutine is not None:
            self._detailed = self._log.detailed  # a listener may have come since it began
        if run.call is not None and run.call.timed_out:
            run.end(Outcome.FAILED, now, run.name_timeout(None))  # it has withstood its cancellation
        else:
            run.reason = None  # it may have ended in spite of its cancellation
            run.end(Outcome.SUCCEEDED, now)
        self._conclude(run)

    def fail(self, run: RunRecord, error: BaseException, now: float, cause: Cause | None) -> None:
        """Record what a run has raised."""
        if isinstance(error, NotBegunError):
            run.skip(str(error))
            self._conclude(run)
            return
        failure, exit_request = classify(error)
        if run.call is not None and run.call.timed_out and exit_request is None:
            failure = run.name_timeout(error)
        outcome, shown = Outcome.FAILED, failure or exit_request
        if exit_request is not None:
            self._end_with(exit_request)
        elif failure is None:
            if cause is Cause.REQUEST:
                outcome = Outcome.CANCELLED
            elif cause is Cause.STOP:
                self._close()  # the scheduler itself is cancelled, and may get to know of it after its runners
                outcome = Outcome.CANCELLED
                stopping = self._token.stop_requested
                run.reason = "not over in time at the stop" if stopping else "the scheduler was cancelled"
            else:
                shown = error
                run.reason = "cancelled, but not by hostkit"
        run.end(outcome, now, shown)
        self._conclude(run)

    def on_open_scope(self, run: RunRecord) -> None:
        """Fail, as *run* has left a cancel scope open."""
        name = run.scheduled_job.name
        self._end_with(RuntimeError(f"job {name!r} has left a cancel scope or a task group open"))

    def on_idle(self) -> None:
        """Note that nothing is ready."""

    # Inside.

    async def _run_due(self) -> float:
        """Run what is due, and return when to look again."""
        reading = self.read()
        self._monotonic.follow_clock(reading)
        self._wall_clock.follow_clock(reading)
        self._detailed = self._log.detailed
        turn_ends = reading.time + TURN
        busy: list[Due[float] | Due[datetime]] = []
        count, submit = 0, self._executor.submit
        for queue in (self._monotonic, self._wall_clock):
            for due in queue.take_due(reading):
                job, first, latest, late = due
                if job.is_idle and first is latest and late <= job.latest_begin and not self.paused:
                    run = RunRecord(job, latest, reading, late)
                    job.add_active(run)
                    submit(run)
                elif job.running:
                    busy.append(due)
                else:
                    self._on_due(due, reading)
                count += 1
                if count % BATCH == 0 and self._time() >= turn_ends:
                    await checkpoint()
                    turn_ends = self._time() + TURN
        if busy:
            # A run that ends at this very instant may have its last step still to do.
            await checkpoint()
            for due in busy:
                if self._jobs.get(due[0].name) is due[0]:  # not removed meanwhile
                    self._on_due(due, reading)
        return self._next_wake(reading)

    def _next_wake(self, reading: Reading) -> float:
        wake_at = math.inf
        first = self._monotonic.first()
        if first is not None:
            wake_at = first
        nearest = self._wall_clock.first()
        if nearest is not None:
            wake_at = min(wake_at, reading.time + (nearest - reading.wall).total_seconds())
        if nearest is not None or self._monotonic.to_revise or self._wall_clock.to_revise:
            wake_at = min(wake_at, reading.time + LONGEST_WAIT)
        return max(wake_at, self._time() + QUANTUM)

    def _on_due(self, due: Due[float] | Due[datetime], reading: Reading) -> None:
        job, first, latest, late = due
        if first is not latest:  # in the hour that comes twice two instants may be equal
            run = RunRecord(job, first, reading)
            missed = seconds_text((reading.wall - run.planned).total_seconds())
            self._skip(run, self._pause_reason(job) or f"missed by {missed}, with all until the next")
        self._take(RunRecord(job, latest, reading, late))

    def _take(self, run: RunRecord) -> None:
        reason = self._pause_reason(run.scheduled_job)
        if reason is not None:
            self._skip(run, reason)
        else:
            self._request(run)

    def _pause_reason(self, job: JobEntry) -> str | None:
        if job.paused:
            return "paused"
        return "the scheduler is paused" if self.paused else None

    def _request(self, run: RunRecord) -> None:
        """Have *run* begin, wait or be left out, as the job's overlap policy says."""
        job = run.scheduled_job
        reason = STOPPING if self._closed else reason_against(run, self._time(), self._token)
        if reason is not None:
            self._skip(run, reason)
        elif job.running < job.concurrency:
            job.add_active(run)
            self._executor.submit(run)
        elif job.overlap is Overlap.SKIP or job.overlap is Overlap.ALLOW:
            self._skip(run, "still running")
        elif job.waiting is not None:
            self._skip(run, "still running, and one waits already")
        else:
            job.waiting = run
            if job.overlap is Overlap.CANCEL_RUNNING:
                running = job.records()[0]
                running.cancel_requested = True
                running.reason = "the next run was due"
                self._executor.cancel(running)

    async def _call_on_failed(self, run: RunRecord) -> None:
        """Hand a run that has failed to the user's hook."""
        assert self._options.on_failed is not None
        try:
            answer = self._options.on_failed(run)
            if isawaitable(answer):
                await answer
        except BaseException as error:  # the user's hook meets the scheduler
            if has_cancellation(error) and await scope_is_cancelled():
                self._log.log_hook_cancelled(run.scheduled_job)
                raise
            self._log.log_hook_error(run.scheduled_job, error)
            exit_request = classify(error)[1]
            if exit_request is not None:
                self._end_with(exit_request)

    def _conclude(self, run: RunRecord) -> None:
        """Keep the record of a run that is over, and begin the one that waits for that."""
        job = run.scheduled_job
        job.record(run, self._options.history)
        # Before the listeners hear of it, who may ask for the next run.
        if job.waiting is not None:
            waiting, job.waiting = job.waiting, None
            try:
                waiting.rebase(self.read())
            except Exception as error:  # noqa: BLE001  # the user's clock
                self._end_with(error)
            job.add_active(waiting)
            self._executor.submit(waiting)
        if run.outcome is not Outcome.SUCCEEDED:
            if run.outcome is Outcome.SKIPPED:
                self._log.log_skipped(run)
            else:
                self._log.log_run(run)
            if run.outcome is Outcome.FAILED and self._options.on_failed is not None:
                self._group.start_soon(self._call_on_failed, run, name=f"on_failed of job {job.name}")
        elif self._detailed or job.skips is not None:
            self._log.log_run(run)

    def _skip(self, run: RunRecord, reason: str) -> None:
        """Leave out a run that has not been submitted."""
        run.skip(reason)
        run.scheduled_job.record(run, self._options.history)
        self._log.log_skipped(run)

    def _drop_waiting(self, job: JobEntry, reason: str) -> None:
        if job.waiting is not None:
            waiting, job.waiting = job.waiting, None
            self._skip(waiting, reason)

    def _end_with(self, error: BaseException) -> None:
        """End the scheduler with *error*, unless it ends with another one already."""
        self._error = self._error or error
        self._wakeup.set()

    def _close(self) -> None:
        """Begin nothing more."""
        self._closed = True
        for job in list(self._jobs.values()):
            self._drop_waiting(job, STOPPING)
        left = list(self._executor.ready)
        self._executor.ready.clear()
        self._executor.close()
        for run in left:
            run.skip(STOPPING)
            self._conclude(run)
