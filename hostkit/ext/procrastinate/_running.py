"""The jobs that run: how the engine calls them, how the stop cuts them, and what their ends mean."""

import asyncio
import threading
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from functools import partial
from typing import Any

import anyio
from loguru import logger
from procrastinate import App
from procrastinate.exceptions import JobAborted
from procrastinate.job_context import AbortReason, JobContext
from procrastinate.jobs import Job
from procrastinate.worker import Worker

from hostkit import StoppingToken
from hostkit._execution.stack import coroutine_line, thread_line
from hostkit._values.text import text_of
from hostkit.ext.procrastinate import _statements
from hostkit.ext.procrastinate._errors import JobCutError
from hostkit.ext.procrastinate._retry import RunCutError, count_failures_alone, failures_before
from hostkit.jobs import JobCancelledError

COUNT_TIMEOUT = 10.0
"""Seconds for which a job that runs again waits until its failures are counted; a connection may fall silent."""


class RunningJob:
    """A job from the call of its function until its outcome is written down.

    Attributes:
        job: The row, as it was fetched.
        began: When, on the event loop's clock.
        aborted: Whether the stop has aborted it.
        ended: Whether its function has ended.
    """

    def __init__(self, context: JobContext, task: asyncio.Task[Any], began: float) -> None:
        """Begin."""
        self.job = context.job
        self.began = began
        self.aborted = self.ended = False
        self.thread: int | None = None
        self.thread_ended = asyncio.Event()
        self._engine_reason = context.abort_reason
        self._task = task
        # Frozen, but the job and the engine have this very object. The engine sets its own reason late, and cannot be
        # brought to do so for a worker that has ended by itself.
        object.__setattr__(context, "abort_reason", self.abort_reason)

    @property
    def name(self) -> str:
        """Its task and its number."""
        return name_of(self.job)

    def abort_reason(self) -> AbortReason | None:
        """Return why it should abort, if it should."""
        return self._engine_reason() or (AbortReason.SHUTDOWN if self.aborted else None)

    def end_soon(self) -> bool:
        """Abort it: cancel it, unless that would leave its thread behind; return False if that was done, or it ended.

        A blocking function hears of it by ``should_abort()``. Were its task cancelled, the job would go back to the
        queue, and run there a second time beside the first.
        """
        if self.aborted or self.ended:
            return False
        aborts_already = self._engine_reason() is not None
        self.aborted = True
        if not aborts_already and self.thread is None:
            self._task.cancel()
        return True

    def line(self) -> str | None:
        """Return the line of its own code where it is, if known."""
        return coroutine_line(self._task.get_coro()) if self.thread is None else thread_line(self.thread)


class RunningJobs:
    """The jobs that the workers of one service run, these one after another."""

    def __init__(self, app: App, token: StoppingToken, concurrency: int, errors: "Errors") -> None:
        """Prepare, in the event loop."""
        self._app = app
        self._token = token
        self._errors = errors
        self._loop = asyncio.get_running_loop()
        # A worker that has ended by itself may still run jobs beside the one that came after it.
        self._slots = asyncio.Semaphore(concurrency)
        self._all: dict[int, RunningJob] = {}
        self.returned: list[Job] = []
        """Those that were aborted, and are given back as far as the database is there."""
        self.unwritten: list[Job] = []
        """Those whose outcome could not be written down, and that are still to be given back."""

    def __iter__(self) -> Iterator[RunningJob]:
        """Iterate over them in the order in which they began."""
        return iter(tuple(self._all.values()))

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._all)

    def end_soon(self) -> bool:
        """Abort all of them; return whether there was one that had not been aborted yet."""
        aborted = [running.end_soon() for running in self]
        return any(aborted)

    async def call(self, call_next: Callable[[], Awaitable[Any]], context: JobContext, worker: Worker) -> None:  # noqa: ARG002  # a worker middleware
        """Call a job, and say what its end means to the engine."""
        task = asyncio.current_task()
        assert task is not None
        running = RunningJob(context, task, self._loop.time())
        self._all[id(context)] = running
        task.add_done_callback(partial(self._on_written, id(context)))
        context.additional_context["stopping_token"] = self._token
        count_failures_alone(context.task)
        try:
            async with self._slots:
                await self._count_failures(context.job)
                # Not returned: the engine asks a result for its truth value, and not every object has one.
                await call_next()
        except BaseException as error:
            if running.thread is not None:
                # Cancelled with its loop, while the thread goes on: until it has ended, nothing may run the job again.
                await running.thread_ended.wait()
            await self._sort_out(running, error)
            raise
        finally:
            running.ended = True

    def call_in_thread(self, call_next: Callable[[], Any], context: JobContext, worker: Worker) -> Any:  # noqa: ANN401, ARG002  # a task middleware
        """Call the function of a job that blocks, on its thread."""
        running = self._all[id(context)]
        running.thread = threading.get_ident()
        try:
            # Looked at after the thread is known: end_soon() has cancelled the task, or the job hears of it here.
            if running.aborted:
                raise JobAborted  # pragma: no cover  # aborted between its thread's start and this line
            return call_next()
        except StopIteration as error:  # a future takes none, and would never be done
            message = "the job raised StopIteration"
            raise RuntimeError(message) from error
        finally:
            running.thread = None
            with suppress(RuntimeError):  # the loop has been closed over it
                self._loop.call_soon_threadsafe(running.thread_ended.set)

    async def _sort_out(self, running: RunningJob, error: BaseException) -> None:
        """Raise what stands for *error*, where that is not itself."""
        reason = running.abort_reason()
        cancelled = isinstance(error, asyncio.CancelledError)
        if reason is AbortReason.USER_REQUEST and cancelled:
            # Otherwise the engine asks the retry strategy.
            raise JobAborted from None
        stopping = reason is AbortReason.SHUTDOWN or self._token.stop_requested
        gives_up = cancelled or isinstance(error, JobAborted | JobCutError)
        if gives_up and stopping and reason is not AbortReason.USER_REQUEST:
            self.returned.append(running.job)
            message = "aborted by the stop"
            raise RunCutError(message) from None
        failure = JobCancelledError(running.job.task_name) if cancelled else error
        if isinstance(failure, Exception) and not isinstance(failure, JobAborted):
            self._errors.add(running.job, failure)
        if failure is not error:
            raise failure from error

    async def _count_failures(self, job: Job) -> None:
        """Count them before the run, while the database answers: at its end it may be away, or silent."""
        assert job.id is not None
        if job.attempts:
            with anyio.move_on_after(COUNT_TIMEOUT), suppress(Exception):
                failures_before.set((await _statements.earlier_runs(self._app, job.id)).failures)

    def _on_written(self, key: int, task: asyncio.Task[Any]) -> None:
        """Take the job off, and the error that the engine leaves in its task: its outcome was not written down."""
        job = self._all.pop(key).job
        if not task.cancelled() and task.exception() is not None:
            self.unwritten.append(job)
            logger.debug("the outcome of job {} could not be written down: {!r}", name_of(job), task.exception())


class Errors:
    """The last errors of jobs: the engine writes none down."""

    def __init__(self, limit: int) -> None:
        """Keep *limit* of them."""
        self._limit = limit
        self._all: OrderedDict[int, str] = OrderedDict()

    def add(self, job: Job, error: Exception) -> None:
        """Keep what a job has raised."""
        assert job.id is not None
        self._all[job.id] = text_of(error)
        self._all.move_to_end(job.id)
        while len(self._all) > self._limit:
            self._all.popitem(last=False)

    def of(self, job_id: int) -> str | None:
        """Return the last error of a job, if it is known."""
        return self._all.get(job_id)

    def last(self) -> str | None:
        """Return the last one of all."""
        return next(reversed(self._all.values()), None)


def name_of(job: Job) -> str:
    """Return task and number of a job."""
    return f"{job.task_name}[{job.id}]"
