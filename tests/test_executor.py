"""The executor: work on tasks that are used again. What it does for a queue or a scheduler, their tests ask for."""

import gc
import time
import weakref
from collections.abc import Awaitable, Callable

import anyio
from anyio import current_time
from job_hosts import hosted, own_task, tally, until

from hostkit._execution.daemon_thread import DaemonThread
from hostkit.jobs import JobQueue, JobState


async def rest() -> None:
    """Take a while."""
    await anyio.sleep(10)


def foreign_cancellations(backend: str, kept: list[object]) -> list[Callable[[], Awaitable[None]]]:
    """Return jobs that are cancelled by something else than their queue, and one that keeps its task in *kept*."""
    if backend == "trio":
        return []  # it has none
    import asyncio

    async def keep_the_task() -> None:
        kept.append(own_task())
        await anyio.lowlevel.checkpoint()

    async def await_a_cancelled_future() -> None:
        future = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_later(0.1, future.cancel)
        await future

    async def cancelled_natively() -> None:
        own_task().cancel()
        await anyio.sleep(1)

    return [keep_the_task, await_a_cancelled_future, cancelled_natively]


class TestTasks:
    """Whatever work does to its task, `limit` of it runs at a time afterwards."""

    async def test_none_is_lost(self, anyio_backend_name: str) -> None:
        """After timeouts, cancellations, failures and foreign cancellations the queue runs as much as before."""
        queue = JobQueue(concurrency=4)
        kept: list[object] = []

        async def fail() -> None:
            raise OSError

        async with hosted(queue):
            for _ in range(5):
                for function in (rest, fail, *foreign_cancellations(anyio_backend_name, kept)):
                    await queue.with_options(timeout=1).enqueue(function)
                    job = await queue.enqueue(function)
                    await anyio.sleep(0.05)
                    job.cancel()
            await queue.join()
            for task in kept:
                task.cancel()  # type: ignore[attr-defined]
            jobs = [await queue.enqueue(rest) for _ in range(8)]
            await anyio.sleep(5)
            states = [job.state for job in jobs]
            await queue.join()

        assert states == [JobState.RUNNING] * 4 + [JobState.WAITING] * 4
        assert tally(queue)["succeeded"] >= 8

    async def test_idle_ones_keep_nothing_alive(self) -> None:
        """A task that has nothing to do has forgotten what it has done."""

        class Upload:
            """Something large."""

        references: list[weakref.ref[Upload]] = []

        async def work(upload: Upload) -> Upload:
            await anyio.sleep(1)
            return upload

        async def fail(upload: Upload) -> None:
            await anyio.sleep(1)
            raise OSError(upload)

        queue = JobQueue(concurrency=8, history=0)
        async with hosted(queue):
            for function in (work, fail):
                for _ in range(20):
                    upload = Upload()
                    references.append(weakref.ref(upload))
                    await queue.enqueue(function, upload)
            del upload
            await queue.join()
            await anyio.sleep(1)
            gc.collect()
            alive = [reference for reference in references if reference() is not None]

        assert alive == []


async def test_virtual_time_stands_still_for_a_call_on_a_thread() -> None:
    """While a call on a thread is waited for, virtual time does not pass: the call takes no time."""
    began = current_time()

    with anyio.fail_after(60):
        await DaemonThread(lambda: time.sleep(0.05), "pump").run_to_end()
    now = current_time()
    await until(lambda: True)

    assert now == began
