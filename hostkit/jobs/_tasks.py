"""The tasks of a queue: how long they run, and what ends them."""

from collections.abc import Callable

import anyio
from anyio.abc import TaskGroup

from hostkit import StoppingToken
from hostkit._config.service_context import ServiceContext, service_context
from hostkit._values.exceptions import classify

GRACE = 1.0
"""Seconds for jobs that were cancelled to end in; then losses are reported, as `JobQueue.stop` may never be called.

Half the host's ``cancellation_timeout`` if that is less: after it the queue is abandoned.
"""


class QueueTasks:
    """Runs the tasks of a queue until its stop, and ends them for an exit that a job has asked for."""

    _workers: TaskGroup
    _service: ServiceContext

    def __init__(self, on_stuck: Callable[[], None]) -> None:
        """Call *on_stuck* when tasks that were cancelled have not ended after a while."""
        self._on_stuck = on_stuck
        self._exit: BaseException | None = None

    def request_exit(self, error: BaseException) -> None:
        """Cancel the tasks, and have `run` raise *error*; of several, the first."""
        self._exit = self._exit or error
        self._workers.cancel_scope.cancel()
        exit_request = classify(error)[1]
        if isinstance(exit_request, SystemExit):  # at once, as other jobs may withstand their cancellation for long
            self._service.request_exit(exit_request, f"service {self._service.name!r}")

    async def run(self, token: StoppingToken, begin: Callable[[TaskGroup], None]) -> None:
        """Have *begin* start the tasks, and wait for their end, and for the stop.

        Raises:
            BaseException: What `request_exit` was called with.
        """
        try:
            await self._run(token, begin)
        except BaseExceptionGroup as broken:
            raise self._exit or broken from None  # a scope that a job has left open breaks the group as well
        if self._exit is not None:
            raise self._exit

    async def _run(self, token: StoppingToken, begin: Callable[[TaskGroup], None]) -> None:
        self._exit = None
        self._service = service_context.get()
        ended = anyio.Event()
        async with anyio.create_task_group() as group:
            try:
                async with anyio.create_task_group() as workers:
                    self._workers = workers
                    begin(workers)
                    group.start_soon(self._watch_end, workers, ended, name="hostkit jobs: end")
                    await token.wait()  # a queue that has nothing to do is idle, not stalled
            finally:
                ended.set()

    async def _watch_end(self, workers: TaskGroup, ended: anyio.Event) -> None:
        """Notice that tasks ignore their cancellation."""
        try:
            await ended.wait()
        except anyio.get_cancelled_exc_class():
            # Nothing else does this when asyncio ends its loop and cancels each task by itself.
            workers.cancel_scope.cancel()
            grace = min(GRACE, self._service.cancellation_timeout / 2)
            with anyio.CancelScope(shield=True), anyio.move_on_after(grace) as scope:
                await ended.wait()
            if scope.cancelled_caught:
                self._on_stuck()
            raise
