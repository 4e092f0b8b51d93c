"""One worker of the engine, run to its end."""

import asyncio
import sys
from collections.abc import Iterable
from contextlib import AbstractContextManager
from typing import Any

import anyio
from loguru import logger
from procrastinate import App, RetryDecision
from procrastinate.jobs import Job, Status
from procrastinate.manager import JobManager
from procrastinate.worker import Worker

from hostkit.ext.procrastinate import _statements
from hostkit.ext.procrastinate._retry import ABORTED_MARK

HEARTBEAT_LIMIT = 2
"""After how many times their interval a heartbeat that is on its way counts as lost."""
OUTCOME_TIMEOUT = 30.0
"""Seconds in which the outcome of a job must be written down; it takes milliseconds, or never ends."""
ANSWER_TIMEOUT = 30.0
"""The same for what a worker asks otherwise."""


class WorkersManager(JobManager):
    """The engine's, but what only its workers ask, and would wait for without an end, is bounded.

    One connection alone may fall silent: heartbeats, which go by the others, do not find that out.
    """

    async def prune_stalled_workers(self, seconds_since_heartbeat: float) -> list[int]:
        """Have the workers be forgotten that have gone."""
        with _in_time():
            return await super().prune_stalled_workers(seconds_since_heartbeat)

    async def register_worker(self) -> int:
        """Have a worker be known."""
        with _in_time():
            return await super().register_worker()

    async def fetch_job(self, queues: Iterable[str] | None, worker_id: int) -> Job | None:
        """Fetch a job."""
        with _in_time():
            return await super().fetch_job(queues, worker_id)

    async def defer_periodic_job(self, job: Job, periodic_id: str, defer_timestamp: int) -> int | None:
        """Make the job of an instant."""
        with _in_time():
            return await super().defer_periodic_job(job, periodic_id, defer_timestamp)

    async def list_jobs_to_abort_async(self, queue: str | None = None) -> Iterable[int]:
        """Return which jobs that run are to be cancelled."""
        with _in_time():
            return await super().list_jobs_to_abort_async(queue)

    async def unregister_worker(self, worker_id: int) -> None:
        """Have a worker be forgotten."""
        with _in_time():
            await super().unregister_worker(worker_id)


def _in_time() -> AbstractContextManager[object]:
    """Bound what is asked in the block."""
    return anyio.fail_after(ANSWER_TIMEOUT, reason=f"the database has not answered for {ANSWER_TIMEOUT:g} s")


def bound_answers(app: App) -> None:
    """Bound what the workers of *app* ask the database; a second call changes nothing."""
    app.job_manager = WorkersManager(app.connector)


class EngineWorker(Worker):
    """A worker of the engine that says how far it is.

    Attributes:
        registered: Set when the database knows it.
        ending: Set when it fetches no more, for whatever reason; it may still run jobs.
        silent: Whether a heartbeat has not got through.
        error: What its loop has ended with, if it has failed.
    """

    def __init__(self, app: App, **options: Any) -> None:  # noqa: ANN401  # of the engine
        """Make a worker, in the event loop."""
        self.registered = asyncio.Event()
        self.ending = asyncio.Event()
        self.silent = False
        self.error: BaseException | None = None
        self._id: int | None = None
        super().__init__(app, **options)

    @property
    def worker_id(self) -> int | None:
        """Its number, while the database knows it; the engine sets it."""
        return self._id

    @worker_id.setter
    def worker_id(self, number: int | None) -> None:
        self._id = number
        if number is not None:
            self.registered.set()

    def stop(self) -> None:
        """Begin to end; the engine calls it as well, when its listener has died."""
        super().stop()  # type: ignore[no-untyped-call]
        self.ending.set()  # its loop may wait for the pool, long after that

    @property
    def has_jobs(self) -> bool:
        """Whether it runs jobs, or writes down their outcome."""
        return bool(self._running_jobs)

    async def look_after_jobs(self) -> None:
        """Do once what the engine does only while it fetches: send a heartbeat, and abort what was to be cancelled."""
        assert self.worker_id is not None
        await self.app.job_manager.update_heartbeat(self.worker_id)
        self._handle_abort_jobs_requested(await self.app.job_manager.list_jobs_to_abort_async())

    async def _update_heartbeat(self) -> None:
        """Send heartbeats; one that takes too long is an error: a connection may fall silent without an end."""
        limit = HEARTBEAT_LIMIT * self.update_heartbeat_interval
        while True:
            await asyncio.sleep(self.update_heartbeat_interval)
            assert self.worker_id is not None
            with anyio.move_on_after(limit):
                await self.app.job_manager.update_heartbeat(self.worker_id)
                continue
            self.silent = True
            message = f"no heartbeat gets through, for {limit:g} s"
            raise TimeoutError(message)

    async def _persist_job_status(  # type: ignore[override]  # as the engine calls it
        self,
        job: Job,
        *,
        status: Status,
        retry_decision: RetryDecision | None,
        **outcome: Any,  # noqa: ANN401  # likewise
    ) -> None:
        """Write down what has become of a job; other than a success, only if no other worker has it by now."""
        with anyio.fail_after(OUTCOME_TIMEOUT):  # the connection may have fallen silent
            if retry_decision is not None and retry_decision.retry_at == ABORTED_MARK:
                await _statements.give_back(self.app, job, ABORTED_MARK)
            elif status is Status.SUCCEEDED or not await _statements.is_elsewhere(self.app, job):
                await super()._persist_job_status(job=job, status=status, retry_decision=retry_decision, **outcome)

    async def _shutdown(self, side_tasks: list[asyncio.Task[Any]]) -> None:
        """Begin to end, after an error in its loop: there is no other sign of it before the last job has ended."""
        self.error = sys.exception()
        self.ending.set()
        await super()._shutdown(side_tasks)


class EngineRun:
    """A worker of the engine and the task that runs it.

    The task is none of a task group's: the repeated cancellation of one would have jobs forgotten in the middle of
    being written down.
    """

    def __init__(self, worker: EngineWorker) -> None:
        """Begin to run *worker*."""
        self.worker = worker
        self.task = asyncio.ensure_future(worker.run())  # type: ignore[no-untyped-call]
        self.task.add_done_callback(self._on_done)

    @property
    def is_done(self) -> bool:
        """Whether it has ended, and runs no job any more."""
        return self.task.done()

    async def started(self) -> None:
        """Wait until it is registered.

        Raises:
            Exception: What it has ended with before that.
        """
        await self.worker.registered.wait()
        if self.worker.worker_id is None:
            self.task.result()

    def _on_done(self, task: asyncio.Task[None]) -> None:
        self.worker.ending.set()
        self.worker.registered.set()
        if not task.cancelled() and task.exception() is not None:  # asyncio complains of one that is never looked at
            logger.debug("a worker has ended: {!r}", task.exception())
