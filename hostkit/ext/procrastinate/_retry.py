"""Whether and when a failed job runs again: hostkit's `Retry` in the engine's words, and what counts as a failure."""

import asyncio
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any

from procrastinate import BaseRetryStrategy, RetryDecision
from procrastinate.jobs import Job
from procrastinate.tasks import Task

from hostkit.jobs import Retry

ABORTED_MARK = datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC)
SWEPT_MARK = datetime(1970, 1, 1, 0, 0, 2, tzinfo=UTC)
"""When a job that was aborted or swept up is due: at once, and the engine's events keep the instant.

The engine counts every run as an attempt, and has no place to say that one was no failure. But it writes down for when
a job was scheduled: by these two instants, which no other job has, the runs that were no failures are found again.
"""

failures_before: ContextVar[int | None] = ContextVar("failures_before", default=None)
"""How often the job of this task has failed before; None where that is what the engine has counted."""


class RunCutError(asyncio.CancelledError):
    """A run was aborted by the stop, and is no failure: its job goes back to the queue.

    A cancellation, so that the engine's log says "aborted".
    """


class HostkitRetryStrategy(BaseRetryStrategy):
    """A `Retry`, for the engine."""

    def __init__(self, retry: Retry) -> None:
        """Decide by *retry*."""
        self.retry = retry

    def get_retry_decision(self, *, exception: BaseException, job: Job) -> RetryDecision | None:
        """Return when the job runs again, if it does."""
        if not isinstance(exception, Exception):
            return None
        delay = self.retry.delay(job.attempts + 1, exception)
        if delay is None:
            return None
        wait: Any = {"seconds": delay}  # it takes parts of seconds, whatever its types say
        return RetryDecision(retry_in=wait)


class CountedStrategy(BaseRetryStrategy):
    """A task's own strategy, asked about real failures alone; a run that was aborted goes back to the queue."""

    def __init__(self, own: BaseRetryStrategy | None) -> None:
        """Pass on to *own*, if the task has one."""
        self.own = own

    def get_retry_decision(self, *, exception: BaseException, job: Job) -> RetryDecision | None:
        """Return when the job runs again, if it does."""
        if isinstance(exception, RunCutError):
            return RetryDecision(retry_at=ABORTED_MARK)
        if self.own is None or not isinstance(exception, Exception):
            return None
        before = failures_before.get()
        counted = job if before is None else job.evolve(attempts=before)
        retry = self.own.get_retry_exception(exception=exception, job=counted)
        return None if retry is None else retry.retry_decision


def retry_strategy(retry: Retry) -> BaseRetryStrategy:
    """Return *retry* as a strategy for ``@app.task(retry=...)``.

    Attempts, backoff, ``on``, ``not_on`` and `hostkit.jobs.RetryAfterError` hold as in a `hostkit.jobs.JobQueue`. Under
    a `ProcrastinateWorker` only failures are attempts: a run that a stop has aborted is none, nor is one whose
    process has died, and `ProcrastinateWorker.retry` begins anew; other workers of procrastinate count every run. A
    job whose delay is over begins when a worker looks next, within ``poll_every``.

    Raises:
        TypeError: *retry* is no `hostkit.jobs.Retry`.
    """
    if not isinstance(retry, Retry):
        message = f"retry_strategy() takes a hostkit.jobs.Retry, got {retry!r}"
        raise TypeError(message)
    return HostkitRetryStrategy(retry)


def count_failures_alone(task: Task[Any, Any, Any]) -> None:
    """Have the strategy of *task* asked about real failures alone; a second call changes nothing."""
    if not isinstance(task.retry_strategy, CountedStrategy):
        task.retry_strategy = CountedStrategy(task.retry_strategy)
