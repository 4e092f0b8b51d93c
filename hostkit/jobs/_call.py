"""One run of a job whose call is more than a coroutine: with a token, a timeout, or a thread."""

import math
from collections.abc import Awaitable, Callable, Coroutine
from contextvars import Context
from functools import partial
from inspect import isawaitable, iscoroutine
from typing import TYPE_CHECKING, Any

import anyio

from hostkit import StoppingToken, ThreadStoppingToken
from hostkit._execution.context import OwnContext
from hostkit.jobs._job import Job
from hostkit.jobs._kinds import kind_of
from hostkit.jobs._log import Notes

if TYPE_CHECKING:
    from hostkit._execution.daemon_thread import ThreadCall
    from hostkit.jobs._desk import Desk

AnyJob = Job[object]


class HeardCancellationError(Exception):
    """What stands for the end of a blocking function that was cancelled: its error, or its return if it could hear."""


class Call:
    """The call, in the job's own context.

    Its token is its own, set together with the service's: waits in the service's would be waits of the queue, and jobs
    that share a task would be taken for one that goes on after the stop.
    """

    def __init__(self, job: AnyJob, context: Context, desk: "Desk") -> None:
        """Prepare to call the function of *job*."""
        self._job = job
        self._kind = kind_of(job.function)
        self._context = context
        self._desk = desk
        self._token: StoppingToken | ThreadStoppingToken | None = None
        self._thread: ThreadCall[object] | None = None
        self._cancelled = False

    def cancel_in_thread(self) -> bool:
        """Cancel what runs in a thread, as far as that is possible; return False if nothing does."""
        if self._thread is None or self._thread.returned.is_set():
            return False
        self._cancelled = True
        self._tell()
        return True

    async def make(self) -> object:
        """Make the call, and return what the function returns.

        Raises:
            TimeoutError: It took longer than the job's timeout.
            HeardCancellationError: It was cancelled in its thread, and has returned.
        """
        job = self._job
        if not self._kind.takes_token:
            return await self._make(partial(job.function, *job.args, **job.kwargs))
        notes = Notes(job)
        self._token = StoppingToken(notes) if self._kind.asynchronous else ThreadStoppingToken(notes.note_ignored_stop)
        undo = self._desk.crew.token.on_stop(self._token._set)
        try:
            return await self._make(partial(job.function, self._token, *job.args, **job.kwargs))
        finally:
            undo()

    async def _make(self, work: Callable[[], object]) -> object:
        if self._kind.asynchronous:
            made = self._context.run(work)
            assert isawaitable(made)  # as an async function has it
            return await self._within(self._deadline(), made)
        thread = self._thread = await self._desk.crew.threads.start(self._context.run, work)
        deadline = self._deadline()  # the wait for a thread is none of the job's time
        late = False
        try:
            with anyio.move_on_at(deadline):
                await thread.returned.wait()
            if not thread.returned.is_set():
                # It cannot be ended, only told; another run beside it would be worse than to wait for it.
                late = True
                self._desk.log.tell_late(self._job)
                self._tell()
            result = await thread.wait()
        except Exception as error:
            if self._cancelled:
                raise HeardCancellationError from error
            raise
        finally:
            if not thread.returned.is_set():
                self._desk.log.tell_abandoned(self._job, thread.line())
                thread.abandon()
        if isawaitable(result):
            result = await self._within(deadline, result)
        if late:
            raise self._timeout()
        if self._cancelled and self._token is not None:
            raise HeardCancellationError
        return result

    async def _within(self, deadline: float, made: Awaitable[object]) -> object:
        coroutine = made if iscoroutine(made) else _awaited(made)
        if deadline == math.inf:
            return await self._in_context(coroutine)
        with anyio.CancelScope(deadline=deadline):
            return await self._in_context(coroutine)
        raise self._timeout()

    async def _in_context(self, coroutine: Coroutine[Any, Any, object]) -> object:
        try:
            first = self._context.run(coroutine.send, None)
        except StopIteration as stop:
            result: object = stop.value
            return result
        return await OwnContext(coroutine, self._context, first)

    def _deadline(self) -> float:
        timeout = self._job._options.timeout
        return math.inf if timeout is None else self._desk.time() + timeout

    def _timeout(self) -> TimeoutError:
        return TimeoutError(f"job {self._job.name!r} took longer than {self._job._options.timeout:g} s")

    def _tell(self) -> None:
        if self._token is not None:
            self._token._set()


async def _awaited(awaitable: Awaitable[object]) -> object:
    return await awaitable
