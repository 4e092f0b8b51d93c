"""The workers of a queue: a fixed number of tasks, and the threads for blocking jobs."""

from typing import TYPE_CHECKING

import anyio

from hostkit import StoppingToken
from hostkit._execution.daemon_thread import DaemonThreads
from hostkit.jobs._job import Job
from hostkit.jobs._worker import Worker

if TYPE_CHECKING:
    from hostkit.jobs._desk import Desk

AnyJob = Job[object]

# Seconds for jobs that were cut to end in. What then still runs ignores its cancellation, and the host will not wait
# for it much longer: so the losses are reported, as `JobQueue.stop` may never be called.
GRACE = 1.0


class Crew:
    """Those who run the jobs.

    Attributes:
        size: How many they are.
        active: How many will look for the next job without being told. One is enough: it tells the next one when its
            job has to wait for something.
        threads: Where blocking functions are called.
        token: The service's stopping token, once they work.
    """

    token: StoppingToken

    def __init__(self, desk: "Desk", size: int) -> None:
        """Prepare *size* workers, who get their jobs from *desk*."""
        self.size = size
        self.threads = DaemonThreads(size, "hostkit job")
        self._desk = desk
        self._workers = [Worker(desk, self) for _ in range(size)]
        self._working = 0
        self.active = 0
        self._idle: list[anyio.Event] = []
        self._group: anyio.abc.TaskGroup | None = None
        self._all_ended = anyio.Event()
        self._exit_request: BaseException | None = None

    def running(self) -> list[AnyJob]:
        """Return the jobs that run."""
        return [worker.job for worker in self._workers if worker.job is not None]

    async def work(self, token: StoppingToken) -> None:
        """Run jobs until the door is closed and nothing is ready.

        Raises:
            BaseException: A ``SystemExit`` or the like that a job has raised.
        """
        self.token = token
        self.active = 0
        self._idle.clear()
        self._all_ended = anyio.Event()
        async with anyio.create_task_group() as self._group:
            for worker in self._workers:
                self.start(worker)
            self._group.start_soon(self._desk.watch_later, name="hostkit jobs: timer")
            try:
                # In the token: a queue that has nothing to do is idle, not stalled.
                await token.wait()
                await self._all_ended.wait()
            except anyio.get_cancelled_exc_class():
                await self._give_grace()
                raise
        request, self._exit_request = self._exit_request, None
        if request is not None:
            raise request

    def start(self, worker: Worker) -> None:
        """Have *worker* run jobs, in a task of its own."""
        assert self._group is not None
        self._working += 1
        self.active += 1
        self._group.start_soon(worker.run, name="hostkit jobs: worker")

    def note_ended(self) -> None:
        """Take note that a worker has ended."""
        self._working -= 1
        self.active -= 1
        if not self._working:
            self._all_ended.set()

    def exit(self, request: BaseException) -> None:
        """Cancel everything, and let *request* out where the host hears it; asyncio would end the loop for it."""
        assert self._group is not None
        self._exit_request = request
        self._group.cancel_scope.cancel()

    def cancel(self, job: AnyJob) -> None:
        """Cancel the run of *job*."""
        for worker in self._workers:
            if worker.job is job:
                worker.cancel_job()

    def step_back(self) -> None:
        """Take note that a worker has to wait for its job; somebody else goes on with what is ready."""
        self.active -= 1
        if not self.active and self._desk.ready:
            self.wake_one()

    async def wait_for_work(self) -> None:
        """Wait, as a worker, until there may be something to do."""
        bell = anyio.Event()
        self._idle.append(bell)
        self.active -= 1
        try:
            await bell.wait()
        except BaseException:
            if bell in self._idle:
                self._idle.remove(bell)
                self.active += 1
            raise

    def wake_one(self) -> None:
        """Tell a worker that has nothing to do, if there is one, that there is something."""
        if self._idle:
            self.active += 1
            self._idle.pop().set()

    def wake_all(self) -> None:
        """Tell every worker that has nothing to do to look again."""
        while self._idle:
            self.wake_one()

    async def _give_grace(self) -> None:
        assert self._group is not None
        # Not done by anybody else when asyncio ends its loop and cancels each task by itself.
        self._group.cancel_scope.cancel()
        with anyio.CancelScope(shield=True, deadline=anyio.current_time() + GRACE):
            await self._all_ended.wait()
        if self._working:
            self._desk.report_stuck(self.running())
