"""What becomes of a job between its admission and its end: it waits for its turn or its time, runs, fails, is lost."""

from collections.abc import Callable, Iterable, Sequence
from contextvars import Context, copy_context
from datetime import datetime
from functools import partial
from threading import get_ident

from anyio.abc import TaskGroup

from hostkit import StoppingToken
from hostkit._execution.call import Call
from hostkit._execution.daemon_thread import DaemonThreadPool
from hostkit._execution.event_loop import forget_library
from hostkit._execution.executor import Cause, Executor, Step
from hostkit._execution.inbox import Inbox
from hostkit._values.exceptions import classify
from hostkit._values.text import add_note, repr_of
from hostkit.jobs._admission import Admission, Reservation
from hostkit.jobs._delayed import DelayedJobs, When
from hostkit.jobs._errors import JobCancelledError, JobStateError, QueueFullError
from hostkit.jobs._failures import FailureHook, without_cancellations
from hostkit.jobs._history import History
from hostkit.jobs._job import ENDED, RUNNING, SUCCEEDED, WAITING, JobRecord, JobState
from hostkit.jobs._log import JobLog, JobRun
from hostkit.jobs._tasks import QueueTasks
from hostkit.jobs._waits import Waits

MAX_ENDED_IN_READY = 64


class Dispatcher:
    """The jobs of a queue; they belong to the event loop that runs it, and to any thread while none does."""

    log: JobLog
    token: StoppingToken
    pool: DaemonThreadPool

    def __init__(  # noqa: PLR0913  # one for each option
        self,
        *,
        concurrency: int,
        capacity: int,
        drain: bool,
        history: int,
        on_failed: Callable[[JobRecord], object] | None,
        now: Callable[[], datetime],
    ) -> None:
        """Prepare; `open` and `run` begin a lifecycle."""
        self.concurrency = concurrency
        self._drain = drain
        self.inbox = Inbox()
        self.admission = Admission(capacity, self.inbox.lock)
        self.history = History(history, self.inbox.lock)
        self.recent = self.history.recent
        self.delayed = DelayedJobs(now, self.inbox.lock, partial(self._on_user_error, "the wall clock"))
        self.time: Callable[[], float] = lambda: 0.0  # no event loop has run yet
        self.executor = Executor(self, self.time, concurrency)
        self.waits = Waits(self.executor, self.inbox, self._on_blocked)
        self.paused = False
        self._on_failed = FailureHook(on_failed, partial(self._on_user_error, "on_failed"))
        self._unreported: list[JobRecord] = []
        self._tasks = QueueTasks(self._on_stuck)

    # The service.

    def open(self) -> None:
        """Begin a lifecycle in the running event loop."""
        self.log = JobLog()
        self.pool = DaemonThreadPool("hostkit jobs")
        self.history.forget_losses()
        self._unreported.clear()
        with self.inbox.lock:
            self.time = self.executor.clock = self.inbox.open().time
            self.admission.open()
            now = self.time()
            for job in self.executor.ready:
                job.enqueued_at = now
            early = self.delayed.open()
        for job, when in early:
            self._place(job, when)

    async def run(self, token: StoppingToken) -> None:
        """Run jobs until the stop closes the queue and nothing is ready.

        Raises:
            BaseException: A ``SystemExit`` or the like that a job has raised.
        """
        self.token = token
        await self._tasks.run(token, self._begin_tasks)

    def close(self) -> None:
        """Accept nothing more, and end when nothing is ready; without ``drain``, or while paused, nothing is.

        What is delayed is lost at once: a job that is let finish may wait for it.
        """
        self.admission.close()
        self.inbox.take_in()
        self.delayed.close()
        self._lose(self.delayed)
        if not self._drain or self.paused:
            self._lose(self.executor.ready)
        self.executor.close()

    def leave(self) -> None:
        """Close, and end a lifecycle: what has not begun is lost."""
        self.close()
        self._lose(self.executor.ready)
        self.executor.ready.clear()
        self.pool.close()
        self.report_losses()
        self.waits.notify_idle()  # also of a queue that has failed
        self.inbox.close()

    def report_losses(self) -> None:
        """Report what was lost, and which failures were not, unless that was done already."""
        if self._unreported:
            lost, self._unreported = self._unreported, []
            self.log.log_losses(sorted(lost, key=lambda job: job.id), self.time())
        untold = self._on_failed.take_untold()
        if untold:
            self.log.log_untold(untold)

    # Admission, from any thread.

    def put(self, job: JobRecord, when: When | None, reservation: Reservation | None = None) -> JobRecord | None:
        """Accept *job*, or return the one that has its key; None if there is no room.

        Raises:
            QueueClosedError: Nothing is accepted any more.
        """
        if get_ident() != self.inbox.thread:
            return self._put_from_outside(job, when, reservation)
        if self.inbox.actions:
            self.inbox.take_in()  # first come, first served
        admitted = self.admission.admit(job, reservation)
        if admitted is job:
            if when is None:
                job.enqueued_at = self.time()
                self.executor.submit(job)
            else:
                self._place(job, when)
        return admitted

    # What the executor asks for.

    def begin(self, job: JobRecord, now: float) -> Context | None:
        """Begin *job*, unless it was cancelled meanwhile."""
        if job.state is not WAITING:
            return None
        admission = self.admission
        admission.begun += 1
        if admission.waiters:
            admission.grant()
        job.state = RUNNING
        job.attempts += 1
        job.started_at = now
        if job.options.runs_again:
            job.error = None
            assert job.context is not None
            return job.context.copy()  # what one run sets is not there in the next
        return job.context

    def start(self, job: JobRecord) -> Step:
        """Take its first step."""
        if job.is_plain:
            return job.plain_step()
        run = JobRun(job, self.log, self.token)
        call = job.call = Call(job.work(), job.name, job.kind, job.options.timeout, self.token, run, self.pool)
        coroutine = call.make()
        return coroutine, coroutine.send(None)

    def end(self, job: JobRecord, value: object, now: float) -> None:
        """Record that *job* has returned."""
        call = job.call
        if call is not None and call.cancelled and job.kind.takes_token:
            self._end(job, JobState.CANCELLED)
            return
        # As `JobRecord.end` does, without a call: most jobs end here.
        job.outcome = value
        job.ended_at = now
        job.state = SUCCEEDED
        job.context = job.call = None
        if job.ended is not None:
            job.ended.set()
        self.recent.append(job)
        if job.key is not None:
            self.admission.release_key(job)

    def fail(self, job: JobRecord, error: BaseException, now: float, cause: Cause | None) -> None:
        """Record what *job* has raised."""
        own = without_cancellations(error)
        if job.call is not None and job.call.cancelled:
            cause = Cause.REQUEST
        job.error = own
        if own is not None and not isinstance(own, Exception | GeneratorExit):
            self._end(job, JobState.FAILED)
            self._tasks.request_exit(own)
        elif cause is Cause.REQUEST:
            self._end(job, JobState.CANCELLED)
        elif cause is Cause.STOP:
            job.attempts -= 1
            self._end(job, JobState.LOST)
        elif isinstance(own, Exception):
            self._fail(job, own, now)
        else:
            foreign = JobCancelledError(job.name)
            foreign.__cause__ = error
            self._fail(job, foreign, now)

    def on_idle(self) -> None:
        """Have those who wait in `join` look again."""
        self.waits.notify_idle()

    def on_open_scope(self, job: JobRecord) -> None:
        """Fail, as *job* has left a cancel scope open: what its task is part of cannot go on."""
        what = f"job {job.name!r} (number {job.id}) has left a cancel scope or a task group open"
        self._tasks.request_exit(RuntimeError(f"{what}: use it in a with statement"))

    # What jobs and users ask for, from any thread.

    def cancel(self, job: JobRecord) -> bool:
        """Cancel a job, wherever it is; return False if it has ended already."""
        if job.state in ENDED:
            return False
        self.inbox.do(partial(self._cancel, job))
        return True

    def requeue(self, job: JobRecord) -> JobRecord:
        """Enqueue a failed or lost job once more."""
        job.require_kept("only a failed or lost job can be enqueued once more")
        again = JobRecord(self, job.function, job.args, dict(job.kwargs), job.options, job.kind, copy_context())
        admitted = self.put(again, None)
        if admitted is None:
            raise QueueFullError(self.admission.capacity)
        if admitted is not again:
            raise JobStateError(job.name, job.state, f"it is not enqueued once more, as job {admitted.id} has its key")
        self.history.remove(job)
        return again

    def discard(self, job: JobRecord) -> None:
        """Forget a failed or lost job."""
        job.require_kept("only a failed or lost job can be discarded")
        self.history.remove(job)

    async def wait_for(self, job: JobRecord) -> None:
        """Wait until *job* has ended."""
        await self.waits.wait_for(job)

    def is_idle(self) -> bool:
        """Return whether no job is ready and none runs."""
        return not (self.inbox.actions or self.executor.running_count or self.ready_count())

    def pause(self) -> None:
        """Begin no job until `resume`."""
        self.paused = True
        self.inbox.do(self._follow_pause)

    def resume(self) -> None:
        """Begin jobs again."""
        self.paused = False
        self.inbox.do(self._follow_pause)

    def ready_count(self) -> int:
        """Return how many jobs are ready."""
        return self.admission.waiting - sum(self.delayed.counts.values())

    # Inside.

    def _begin_tasks(self, group: TaskGroup) -> None:
        self._follow_pause()
        self.executor.open(group)
        self._on_failed.open(group)
        group.start_soon(self.delayed.run, self.time, self._submit, name="hostkit jobs: timer")
        self.token.on_stop(self.close)  # last: the stop may have come already

    def _put_from_outside(self, job: JobRecord, when: When | None, reservation: Reservation | None) -> JobRecord | None:
        assert job.context is not None
        forget_library(job.context)
        with self.inbox.lock:
            admitted = self.admission.admit(job, reservation)
            if admitted is job:
                if when is not None:
                    self.delayed.set_state(job, JobState.DELAYED)
                self.inbox.do(partial(self._place if self.inbox.is_open else self._place_early, job, when))
        return admitted

    def _place_early(self, job: JobRecord, when: When | None) -> None:
        if when is None:
            self.executor.submit(job)
        else:
            self.delayed.add_early(job, when)

    def _place(self, job: JobRecord, when: When | None) -> None:
        """Have *job* wait for its turn or its time."""
        now = job.enqueued_at = self.time()
        seconds = 0.0 if when is None else self.delayed.seconds_until(when)
        if seconds > 0:
            self.delayed.set_state(job, JobState.DELAYED)
            self.delayed.add(job, now, seconds, when if isinstance(when, datetime) else None)
        else:
            self._submit(job)

    def _submit(self, job: JobRecord) -> None:
        """Have *job* wait for its turn."""
        self.delayed.set_state(job, WAITING)
        self.executor.submit(job)

    def _follow_pause(self) -> None:
        if not self.paused:
            self.executor.resume()
        elif self.admission.closed:
            self._lose(self.executor.ready)
        else:
            self.executor.pause()

    def _cancel(self, job: JobRecord) -> None:
        if job.state is RUNNING:
            in_thread = job.call is not None and job.call.cancel_thread()
            if not in_thread and not self.executor.cancel(job):
                self._end(job, JobState.CANCELLED)  # its run has failed, and its backoff is being asked
        elif job.state not in ENDED:
            self._drop(job, JobState.CANCELLED)
            ready = self.executor.ready
            if len(ready) > MAX_ENDED_IN_READY + 2 * self.ready_count():
                # Taking out each at once would be quadratic.
                waiting = [other for other in ready if other.state is WAITING]
                ready.clear()
                ready.extend(waiting)

    def _fail(self, job: JobRecord, error: Exception, now: float) -> None:
        job.error = error
        try:
            delay = job.options.retry.delay(job.attempts, error)
        except BaseException as broken:  # noqa: BLE001  # the user's backoff
            add_note(error, f"not retried, as its backoff failed: {repr_of(broken)}")
            delay = None
        if job.state is not RUNNING:  # its backoff has cancelled it
            return
        if delay is None:
            self._end(job, JobState.FAILED, error.__traceback__)
            self.log.log_failure(job, now)
            self._on_failed.submit(job)
            return
        closed = self.admission.closed
        self.log.log_retry(job, None if closed else delay, now)
        if closed:
            self._end(job, JobState.LOST)
            return
        job.call = None
        self.admission.begun -= 1  # it waits again, and is never refused
        if delay > 0:
            self.delayed.set_state(job, JobState.RETRYING)
            self.delayed.add(job, now, delay)
        else:
            job.due_at = now
            self._submit(job)

    def _drop(self, job: JobRecord, state: JobState) -> None:
        """End a job that waits."""
        self.delayed.discard(job)
        self.delayed.set_state(job, WAITING)
        self.admission.leave()
        self._end(job, state)

    def _end(self, job: JobRecord, state: JobState, outcome: object = None) -> None:
        job.end(state, self.time() if self.inbox.is_open else None, outcome)
        self.history.add(job)
        if state is JobState.LOST:
            self._unreported.append(job)
        if job.key is not None:
            self.admission.release_key(job)
        self.waits.notify_idle()

    def _lose(self, jobs: Iterable[JobRecord]) -> None:
        for job in list(jobs):
            if job.state not in ENDED:
                self._drop(job, JobState.LOST)

    def _on_user_error(self, what: str, error: BaseException, job: JobRecord | None = None) -> None:
        self.log.log_hook_error(what, error, job)
        exit_request = classify(error)[1]
        if not isinstance(exit_request, GeneratorExit | None):
            self._tasks.request_exit(exit_request)

    def _on_blocked(self, jobs: Sequence[JobRecord]) -> None:
        self.log.log_blocked(jobs)

    def _on_stuck(self) -> None:
        """Report the losses, as some jobs ignore that they were cancelled."""
        self.log.log_stuck(self.executor.running())
        self._lose([*self.executor.ready, *self.delayed])
        self.report_losses()
