"""How the work grows with the number of jobs: operations are counted, and twice as many jobs take twice of them."""

import sys
from collections.abc import Awaitable, Callable
from types import FrameType
from typing import Any

import anyio
import pytest
from job_hosts import hosted, nothing

from hostkit.jobs import JobQueue, QueueClosedError
from hostkit.jobs._admission import Reservation
from hostkit.jobs._job import JobRecord

FEW = 300


async def fail() -> None:
    """Fail."""
    raise OSError


class Operations:
    """Counts the lines that are run, and the comparisons of jobs and of callers, which C code makes without a line."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        for kind in (JobRecord, Reservation):
            monkeypatch.setattr(kind, "__eq__", self._compare, raising=False)
            monkeypatch.setattr(kind, "__hash__", object.__hash__, raising=False)

    def _compare(self, other: object) -> bool:
        del other
        self.count += 1
        return False  # identity is looked at first

    def _trace(self, frame: FrameType, event: str, argument: object) -> Any:  # noqa: ANN401  # as the interpreter has it
        del frame, argument
        if event == "line":
            self.count += 1
        return self._trace

    async def of(self, measured: Callable[[], Awaitable[object]]) -> int:
        """Return how many operations *measured* takes, in all tasks."""
        self.count = 0
        before = sys.gettrace()
        frame = sys._getframe()
        frame.f_trace = self._trace
        sys.settrace(self._trace)
        try:
            await measured()
            # What runs in other tasks is traced as well, from their next call on.
        finally:
            sys.settrace(before)
        return self.count


async def cancel_before_the_start(operations: Operations, count: int) -> int:
    """Cancel jobs that were enqueued before the start, from the newest on."""
    queue = JobQueue(capacity=count)
    jobs = [queue.enqueue_nowait(nothing) for _ in range(count)]

    async def measured() -> None:
        for job in reversed(jobs):
            job.cancel()

    return await operations.of(measured)


async def cancel_waiting_jobs(operations: Operations, count: int) -> int:
    """Cancel jobs that wait for their turn, or for their time."""
    queue = JobQueue(concurrency=1, capacity=2 * count)

    async with hosted(queue):
        queue.pause()
        jobs = [await queue.enqueue(nothing) for _ in range(count)]
        jobs += [await queue.enqueue_in(n + 1, nothing) for n in range(count)]

        async def measured() -> None:
            for job in reversed(jobs):
                job.cancel()

        return await operations.of(measured)


async def cancel_running_jobs(operations: Operations, count: int) -> int:
    """Cancel jobs that run, with a concurrency of as many."""
    queue = JobQueue(concurrency=count, capacity=count)

    async with hosted(queue):
        jobs = [await queue.enqueue(anyio.sleep, 1000) for _ in range(count)]
        await anyio.sleep(1)

        async def measured() -> None:
            for job in reversed(jobs):
                job.cancel()
            await queue.join()

        return await operations.of(measured)


async def cancel_waiting_callers(operations: Operations, count: int) -> int:
    """Cancel callers that wait for room, from the newest on."""
    queue = JobQueue(concurrency=1, capacity=1)
    scopes: list[anyio.CancelScope] = []

    async def call() -> None:
        with anyio.CancelScope() as scope:
            scopes.append(scope)
            await queue.enqueue(nothing)

    async with hosted(queue):
        queue.pause()
        await queue.enqueue(nothing)
        async with anyio.create_task_group() as group:
            for _ in range(count):
                group.start_soon(call)
            await anyio.sleep(1)

            async def measured() -> None:
                for scope in reversed(scopes):
                    scope.cancel()
                await anyio.sleep(1)

            taken = await operations.of(measured)
    return taken


async def refuse_waiting_callers(operations: Operations, count: int) -> int:
    """Refuse callers that wait for room when the queue closes."""
    queue = JobQueue(concurrency=1, capacity=1)
    refused: list[QueueClosedError] = []

    async def call() -> None:
        try:
            await queue.enqueue(nothing)
        except QueueClosedError as error:
            refused.append(error)

    async with anyio.create_task_group() as group, hosted(queue):
        queue.pause()
        await queue.enqueue(nothing)
        for _ in range(count):
            group.start_soon(call)
        await anyio.sleep(1)

        async def measured() -> None:
            queue._dispatcher.close()
            await anyio.sleep(1)

        taken = await operations.of(measured)
    assert len(refused) == count
    return taken


async def requeue_failed(operations: Operations, count: int) -> int:
    """Requeue failed jobs from the newest on."""
    queue = JobQueue(capacity=count, history=2 * count)

    async with hosted(queue):
        for _ in range(count):
            await queue.enqueue(fail)
        await queue.join()
        queue.pause()

        async def measured() -> None:
            for job in reversed(queue.failed):
                job.requeue()

        return await operations.of(measured)


async def discard_lost(operations: Operations, count: int) -> int:
    """Discard lost jobs from the newest on."""
    queue = JobQueue(capacity=count)

    async with hosted(queue):
        for _ in range(count):
            await queue.enqueue_in(1000, nothing)

    async def measured() -> None:
        for job in reversed(queue.lost):
            job.discard()

    return await operations.of(measured)


@pytest.mark.long
@pytest.mark.parametrize(
    "scenario",
    [
        cancel_before_the_start,
        cancel_waiting_jobs,
        cancel_running_jobs,
        cancel_waiting_callers,
        refuse_waiting_callers,
        requeue_failed,
        discard_lost,
    ],
)
async def test_grows_as_the_number_of_jobs_does(
    scenario: Callable[[Operations, int], Awaitable[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twice as many jobs take about twice the operations, and not four times."""
    operations = Operations(monkeypatch)

    few = await scenario(operations, FEW)
    many = await scenario(operations, 2 * FEW)

    assert few > FEW
    assert many < 2.6 * few
