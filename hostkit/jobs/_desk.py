"""What becomes of a job between the door and its end: it waits for its turn or its time, fails, is lost."""

import math
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime

import anyio

from hostkit._execution.event_loop import RootTask
from hostkit._values.text import add_note, repr_of
from hostkit.jobs._crew import Crew
from hostkit.jobs._errors import JobStateError, QueueFullError
from hostkit.jobs._intake import Intake, When
from hostkit.jobs._job import ENDED, Job, JobState
from hostkit.jobs._later import Later
from hostkit.jobs._ledger import Ledger
from hostkit.jobs._log import JobLog

AnyJob = Job[object]

FEW = 64


class Desk:
    """The jobs of a queue.

    Attributes:
        intake: The door.
        ready: What can run, the next one first, with those that were cancelled meanwhile.
        gone: How many of these there are.
        later: What waits for its time.
        ledger: What has ended.
        crew: Who runs it.
        log: Who tells of it.
        time: The event loop's clock, once there is one.
    """

    def __init__(self, concurrency: int, capacity: int, history: int, clock: Callable[[], datetime]) -> None:
        """Prepare; it is for `JobQueue` to start everything."""
        self.intake = Intake(self, capacity)
        self.ready: deque[AnyJob] = deque()
        self.gone = 0
        self.later = Later(clock)
        self.ledger = Ledger(history)
        self.crew = Crew(self, concurrency)
        self.log = JobLog()
        self.time: Callable[[], float] = anyio.current_time
        self._bell: anyio.Event | None = None
        self._look_at = -math.inf
        self._calm: anyio.Event | None = None

    def open(self) -> None:
        """Begin a life in the running event loop."""
        root = RootTask()
        self.time = root.time
        self.log = JobLog()
        self.ledger.open()
        self.intake.open(root.post)

    # Waiting for a turn or a time.

    def place(self, job: AnyJob, when: When) -> None:
        """Put a job that was accepted where it belongs."""
        now = job.enqueued_at = self.time()
        if when is None:
            self.ready.append(job)
            if not self.crew.active:
                self.crew.wake_one()
        elif self.later.is_due(when) if isinstance(when, datetime) else not when:
            self.make_ready(job)
        else:
            job._state = JobState.DELAYED
            if isinstance(when, datetime):
                self.later.add_dated(job, when, now)
            else:
                self.later.add(job, now + when)
            self._ring(self.later.next_look(now))

    def make_ready(self, job: AnyJob) -> None:
        """Let a job that has waited for its time run as soon as its turn comes."""
        job._state = JobState.WAITING
        self.ready.append(job)
        if not self.crew.active:
            self.crew.wake_one()

    async def watch_later(self) -> None:
        """Make jobs ready when their time comes, until the door is closed."""
        now = self.time()
        while not self.intake.closed:
            for job in self.later.take_due(now):
                self.make_ready(job)
            self._bell = anyio.Event()
            self._look_at = self.later.next_look(now)
            with anyio.move_on_at(self._look_at) as scope:
                await self._bell.wait()
            # A timer may come a hair too early, but it has come: looking again and again until then would be a spin.
            now = max(self.time(), self._look_at) if scope.cancelled_caught else self.time()

    def close(self, *, drain: bool) -> None:
        """Let nothing more in, and the crew go when nothing is ready; without *drain*, nothing is."""
        self.intake.close()
        self._ring(-math.inf)
        if not drain:
            self._lose_ready()
        self.crew.wake_all()

    async def wait_until_calm(self) -> None:
        """Wait until nothing is ready and nothing runs."""
        while self._count_ready() or self.crew.running():
            if self._calm is None:
                self._calm = anyio.Event()
            await self._calm.wait()

    def look_for_calm(self) -> None:
        """Wake those who wait in `wait_until_calm`, to look for themselves."""
        if self._calm is not None:
            self._calm.set()
            self._calm = None

    # The end of a run, or of a job.

    def fail(self, job: AnyJob, error: Exception) -> None:
        """Take note that a run has failed: the job is tried again later, or has failed."""
        job.error = without_our_lines(error)
        job._outcome = error.__traceback__
        try:
            delay = job._options.retry.delay(job.attempts, error)
        except BaseException as broken:  # noqa: BLE001  # the user's backoff
            add_note(error, f"not retried, as its backoff failed: {repr_of(broken)}")
            delay = None
        if delay is None:
            self.end(job, JobState.FAILED)
            self.log.tell_failure(job)
            return
        self.log.tell_retry(job, None if self.intake.closed else delay)
        due = self.time() + delay
        job._state = JobState.RETRYING
        self.intake.pending += 1
        self.later.add(job, due)
        self._ring(due)

    def end(self, job: AnyJob, state: JobState) -> None:
        """Take note that a job has ended, and not well."""
        job._state = state
        job._context = None
        if self.intake.thread is not None:
            job.ended_at = self.time()
        self.ledger.enter(job)
        self.settle(job)
        self.look_for_calm()

    def settle(self, job: AnyJob) -> None:
        """Let the key of a job that has ended be used again, and tell those who wait for its end."""
        if job._options.key is not None:
            self.intake.forget(job)
        if job._event is not None:
            job._event.set()

    def exit(self, job: AnyJob, request: BaseException) -> None:
        """Take note that a job has asked for the end of everything."""
        job.error = request
        self.end(job, JobState.FAILED)
        self.crew.exit(request)

    def cancel(self, job: AnyJob) -> bool:
        """Cancel a job, wherever it is; return False if it has ended already."""
        self.intake.require_loop("Job.cancel()")
        state = job._state
        if state in ENDED:
            return False
        if state is JobState.RUNNING:
            self.crew.cancel(job)
            return True
        in_tray = self.intake.take_out(job)
        self.end(job, JobState.CANCELLED)
        if not in_tray:
            self.intake.pending -= 1
            if state is JobState.WAITING:
                self._note_gone()
            else:
                self.later.note_cancelled(state)
        self.intake.pass_on()
        return True

    def requeue(self, job: AnyJob) -> AnyJob:
        """Enqueue a failed or lost job once more."""
        if job._state not in (JobState.FAILED, JobState.LOST):
            raise JobStateError(job.name, job._state, "only a failed or lost job can be enqueued once more")
        again = self.intake.put(job._options, None, job.function, job.args, job._kwargs or {})
        if again is None:
            raise QueueFullError(self.intake.capacity)
        self.ledger.strike(job)
        return again

    def lose_rest(self) -> None:
        """Lose every job that has not begun."""
        self._lose_ready()
        self._lose(list(self.later.take_all()))

    def lost(self) -> Sequence[AnyJob]:
        """Return what this life has lost, or the last one, in the order in which it was accepted."""
        return tuple(sorted(self.ledger.lost, key=lambda job: job.id))

    def report_losses(self) -> None:
        """Say what was lost, unless that was said already."""
        lost, known = self.ledger.lost, self.ledger.reported
        if len(lost) > known:
            self.ledger.reported = len(lost)
            self.log.tell_losses(lost[known:])

    def report_stuck(self, jobs: Sequence[AnyJob]) -> None:
        """Say which jobs ignore their cancellation, and what is lost in any case."""
        self.log.tell_stuck(jobs)
        self.lose_rest()
        self.report_losses()

    # Figures.

    def counts(self) -> dict[JobState, int]:
        """Return how many jobs are in each state, since the queue was made."""
        intake, later, ended = self.intake, self.later.counts, self.ledger.counts
        delayed_before_start = sum(job._state is JobState.DELAYED for job, _ in intake.tray)
        counts = {
            JobState.WAITING: self._count_ready() - delayed_before_start,
            JobState.DELAYED: later[JobState.DELAYED] + delayed_before_start,
            JobState.RUNNING: len(self.crew.running()),
            JobState.RETRYING: later[JobState.RETRYING],
            JobState.FAILED: ended[JobState.FAILED],
            JobState.CANCELLED: ended[JobState.CANCELLED],
            JobState.LOST: ended[JobState.LOST],
        }
        counts[JobState.SUCCEEDED] = intake.accepted - sum(counts.values())
        return {state: counts[state] for state in JobState}

    def oldest_age(self) -> float:
        """Return for how many seconds the next job has been ready, 0 if there is none."""
        for job in self.ready:
            if job._state is JobState.WAITING:
                since = job.enqueued_at if job.due_at is None else job.due_at
                return 0.0 if since is None else self.time() - since
        return 0.0

    def _count_ready(self) -> int:
        return self.intake.pending - self.intake.promised - self.later.counts.total() + len(self.intake.tray)

    def _note_gone(self) -> None:
        """Take note that a ready job was cancelled; many of them are thrown out."""
        self.gone += 1
        if self.gone > FEW and self.gone * 2 > len(self.ready):
            self.gone = 0
            waiting = [job for job in self.ready if job._state is JobState.WAITING]
            self.ready.clear()
            self.ready.extend(waiting)

    def _lose_ready(self) -> None:
        self._lose([job for job in self.ready if job._state is JobState.WAITING])
        self.ready.clear()
        self.gone = 0

    def _lose(self, jobs: Iterable[AnyJob]) -> None:
        for job in jobs:
            self.intake.pending -= 1
            self.end(job, JobState.LOST)

    def _ring(self, due: float) -> None:
        """Wake the timer, if it would come too late."""
        if self._bell is not None and due < self._look_at:
            self._bell.set()


def without_our_lines(error: Exception) -> Exception:
    """Return *error* with a traceback that begins in the job's own code; our frames would hold other jobs as well."""
    traceback = error.__traceback__
    while traceback is not None and str(traceback.tb_frame.f_globals.get("__name__")).startswith("hostkit."):
        traceback = traceback.tb_next
    return error.with_traceback(traceback)
