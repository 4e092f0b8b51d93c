"""One of a queue's workers: a task that runs job after job."""

import math
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import anyio

from hostkit._execution.context import OwnContext
from hostkit.jobs._call import Call, HeardCancellationError
from hostkit.jobs._errors import JobCancelledError
from hostkit.jobs._job import Job, JobState

if TYPE_CHECKING:
    from hostkit.jobs._crew import Crew
    from hostkit.jobs._desk import Desk

AnyJob = Job[object]

# After so many seconds, or jobs, others get a turn; not after each job, for a checkpoint costs more than a short one.
TURN = 0.001
BATCH = 256

WAITING, RUNNING, SUCCEEDED = JobState.WAITING, JobState.RUNNING, JobState.SUCCEEDED


class Worker:
    """A task that runs jobs, each in a context of its own: a task for each job would cost many times as much.

    Attributes:
        job: The one that runs.
    """

    __slots__ = ("_call", "_crew", "_desk", "_scope", "_soiled", "_spent", "job")

    def __init__(self, desk: "Desk", crew: "Crew") -> None:
        """Prepare to take jobs from *desk*."""
        self.job: AnyJob | None = None
        self._desk = desk
        self._crew = crew
        self._call: Call | None = None
        self._scope: anyio.CancelScope | None = None
        self._spent = self._soiled = False

    def cancel_job(self) -> None:
        """Cancel the job that runs: by the worker's own scope, so that jobs need none of their own."""
        if self._call is not None and self._call.cancel_in_thread():
            return
        assert self._scope is not None  # a job runs only in it
        self._spent = True
        self._scope.cancel()

    async def run(self) -> None:
        """Run jobs until the door is closed and none is ready."""
        try:
            while not self._soiled and not await self._work_in_scope():
                pass
        except anyio.get_cancelled_exc_class():
            if await _is_cut():
                raise
            # Somebody has kept the task of a former job, and cancels it.
            self._soiled = True
        finally:
            if self._soiled:
                # asyncio counts a native cancellation in the task, where it would confuse the groups of later jobs.
                self._soiled = False
                self._crew.start(self)
            self._crew.note_ended()

    async def _work_in_scope(self) -> bool:
        """Run jobs until one was cancelled; return whether all is done."""
        self._spent = False
        self._call = None
        with anyio.CancelScope() as self._scope:
            if await self._work():
                return True
        return False

    async def _work(self) -> bool:  # noqa: C901, PLR0912, PLR0915  # in one piece, as it is the price of every job
        desk = self._desk
        crew, ready, intake, clock, ended = self._crew, desk.ready, desk.intake, desk.time, desk.ledger.ended
        while True:
            now = clock()
            turn_ends, left = now + TURN, BATCH
            while ready:
                job = ready.popleft()
                if job._state is not WAITING:
                    desk.gone -= 1
                    continue
                intake.pending -= 1
                if intake.waiters:
                    intake.pass_on()
                self.job = job
                job._state = RUNNING
                job.attempts += 1
                job.started_at = now
                context = job._context
                assert context is not None  # until it has ended
                options = job._options
                if options.runs_again:
                    job.error = None
                    context = context.copy()  # what one run sets is not there in the next
                try:
                    if job._quick:
                        kwargs = job._kwargs
                        coroutine: Any = (
                            job.function(*job.args) if kwargs is None else job.function(*job.args, **kwargs)
                        )
                        try:
                            # Most jobs that are quick never wait; their only step needs no awaitable of its own.
                            first = context.run(coroutine.send, None)
                        except StopIteration as stop:
                            job._outcome = stop.value
                        else:
                            crew.step_back()
                            try:
                                job._outcome = await OwnContext(coroutine, context, first)
                            finally:
                                crew.active += 1
                    else:
                        self._call = Call(job, context, desk)
                        crew.step_back()
                        try:
                            job._outcome = await self._call.make()
                        finally:
                            crew.active += 1
                except BaseException as error:  # noqa: BLE001  # where a job meets its queue
                    await self._on_error(job, error)
                    now = clock()
                else:
                    job._state = SUCCEEDED
                    job.ended_at = now = clock()
                    job._context = None
                    ended.append(job)
                    if job._event is not None or options.key is not None:
                        desk.settle(job)
                if self._spent:
                    self.job = None
                    return False
                left -= 1
                if now >= turn_ends or not left:
                    self.job = None
                    await anyio.lowlevel.checkpoint()
                    now = clock()
                    turn_ends, left = now + TURN, BATCH
            self.job = None
            desk.look_for_calm()
            if intake.closed:
                return True
            await crew.wait_for_work()

    async def _on_error(self, job: AnyJob, error: BaseException) -> None:
        """Decide what the error of a run means; not to return is to be cancelled."""
        if isinstance(error, GeneratorExit):
            raise error  # the event loop is gone, and this task with it
        own = without_cancellations(error)
        cut = not self._spent and (await _is_cut() if own is None else _sees_cancellation())
        desk, self.job = self._desk, None
        if own is not None and not isinstance(own, Exception):
            desk.exit(job, own)
            await anyio.sleep_forever()
        elif self._spent or isinstance(own, HeardCancellationError):
            job.error = own.__cause__ if isinstance(own, HeardCancellationError) else own
            desk.end(job, JobState.CANCELLED)
        elif cut:
            job.error = own
            job.attempts -= 1
            desk.end(job, JobState.LOST)
            await anyio.sleep_forever()
        elif own is None:
            self._spent = self._soiled = True
            foreign = JobCancelledError(job.name)
            foreign.__cause__ = error
            desk.fail(job, foreign)
        else:
            desk.fail(job, own)


async def _is_cut() -> bool:
    """Return whether a cancellation that has come is that of the whole queue."""
    if not _sees_cancellation():
        # At the end of its loop asyncio cancels each task by itself, and the crew's group follows at once.
        with suppress(anyio.get_cancelled_exc_class()):
            await anyio.lowlevel.checkpoint()
    return _sees_cancellation()


def _sees_cancellation() -> bool:
    return anyio.current_effective_deadline() == -math.inf


def without_cancellations(error: BaseException) -> BaseException | None:
    """Return *error* without the cancellations in it; None if it is nothing else."""
    cancelled = anyio.get_cancelled_exc_class()
    if isinstance(error, cancelled):
        return None
    if isinstance(error, BaseExceptionGroup):
        return error.split(cancelled)[1]
    return error
