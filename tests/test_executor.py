"""The executor: work on tasks that are used again, with a limit, and whose cancellation it was."""

import gc
import time
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from contextvars import Context, copy_context

import anyio
import pytest
from anyio import current_time
from job_hosts import hosted, own_task, tally, until

from hostkit._execution.daemon_thread import DaemonThread
from hostkit._execution.executor import BATCH, MAX_IDLE, Cause, Executor, Step
from hostkit.jobs import JobQueue, JobState


class Work:
    """Something to be done."""

    def __init__(self, function: Callable[[], object]) -> None:
        self.function = function
        self.value: object = None
        self.error: BaseException | None = None
        self.cause: Cause | None = None
        self.ended = False


class Recorder:
    """The owner of an executor: runs functions, and keeps how they ended."""

    def __init__(self) -> None:
        self.unwanted: set[Work] = set()
        self.ended: list[Work] = []
        self.idle = 0
        self.open_scopes: list[Work] = []

    def begin(self, work: Work, now: float) -> Context | None:
        assert now <= current_time()
        return None if work in self.unwanted else copy_context()

    def start(self, work: Work) -> Step:
        coroutine = work.function()
        return coroutine, coroutine.send(None)  # type: ignore[attr-defined, return-value]  # of an async function

    def end(self, work: Work, value: object, now: float) -> None:
        assert now <= current_time()
        work.value, work.ended = value, True
        self.ended.append(work)

    def fail(self, work: Work, error: BaseException, now: float, cause: Cause) -> None:
        assert now <= current_time()
        work.error, work.cause, work.ended = error, cause, True
        self.ended.append(work)

    def on_idle(self) -> None:
        self.idle += 1

    def on_open_scope(self, work: Work) -> None:
        self.open_scopes.append(work)


@asynccontextmanager
async def opened(limit: float = 10) -> AsyncIterator[tuple[Executor[Work], Recorder]]:
    """Run an executor, and close it in the end."""
    recorder = Recorder()
    executor = Executor(recorder, current_time, limit)
    async with anyio.create_task_group() as group:
        executor.open(group)
        yield executor, recorder
        executor.close()


async def nothing() -> int:
    """Return at once."""
    return 7


async def rest() -> None:
    """Take a while."""
    await anyio.sleep(10)


async def test_most_work_ends_with_its_first_step() -> None:
    """Work that does not wait is done by one task, in order, with a turn for others in between."""
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await anyio.lowlevel.checkpoint()

    works = [Work(nothing) for _ in range(3 * BATCH)]
    async with opened() as (executor, recorder), anyio.create_task_group() as group:
        group.start_soon(count)
        for work in works:
            executor.submit(work)
        while len(recorder.ended) < len(works):
            await anyio.lowlevel.checkpoint()
        group.cancel_scope.cancel()

    assert recorder.ended == works
    assert {work.value for work in works} == {7}
    assert turns >= 2  # one between two batches
    assert recorder.idle


async def test_as_much_runs_at_a_time_as_the_limit_says() -> None:
    """Work beyond the limit waits for its turn."""
    works = [Work(rest) for _ in range(7)]

    async with opened(3) as (executor, _):
        for work in works:
            executor.submit(work)
        await anyio.sleep(5)
        assert executor.running() == works[:3]
        assert executor.running_count == 3
        assert list(executor.ready) == works[3:]
        await anyio.sleep(10)
        assert executor.running() == works[3:6]
    assert all(work.ended for work in works)
    assert current_time() == 30


async def test_idle_tasks_wait_for_the_next_burst_and_no_more_than_some() -> None:
    """After a burst some tasks are kept, and the next burst needs no others."""
    async with opened(1000) as (executor, _):
        for _ in range(2):
            for _ in range(3 * MAX_IDLE):
                executor.submit(Work(rest))
            await anyio.sleep(20)
            assert len(executor._idle) == len(executor._runners) <= MAX_IDLE


async def test_unwanted_work_is_left_out() -> None:
    """Work that is not wanted when its turn comes is not begun."""
    first, second = Work(nothing), Work(nothing)

    async with opened() as (executor, recorder):
        recorder.unwanted.add(first)
        executor.submit(first)
        executor.submit(second)

    assert recorder.ended == [second]


async def test_knows_the_work_whose_task_asks() -> None:
    """`current` is the work in whose task, or in a task of which, it is called; outside there is none."""
    seen: list[Work | None] = []

    async with opened() as (executor, _):

        async def look() -> None:
            seen.append(executor.current())

        async def ask() -> None:
            await look()
            await anyio.sleep(1)
            await look()
            async with anyio.create_task_group() as group:
                group.start_soon(look)

        work = Work(ask)
        executor.submit(work)
        await anyio.sleep(0.5)
        assert executor.coroutine_of(work) is not None
        await look()
    assert seen == [work, None, work, work]
    assert executor.coroutine_of(work) is None


class TestCauses:
    async def test_an_error_of_its_own(self) -> None:
        """An error has no cause but the work itself."""

        async def fail() -> None:
            raise OSError

        async def fail_later() -> None:
            await anyio.sleep(1)
            raise OSError

        works = [Work(fail), Work(fail_later)]
        async with opened() as (executor, _):
            for work in works:
                executor.submit(work)

        assert [work.cause for work in works] == [Cause.NONE, Cause.NONE]

    async def test_a_request(self) -> None:
        """`cancel` ends what runs, also what asks for it itself; what does not run is left alone."""
        own: list[Work] = []

        async def cancels_itself() -> None:
            executor.cancel(own[0])
            await anyio.sleep(1)

        own.append(Work(cancels_itself))
        work, never = Work(rest), Work(rest)
        async with opened() as (executor, _):
            executor.submit(work)
            executor.submit(own[0])
            await anyio.sleep(1)
            executor.cancel(never)
            executor.cancel(work)

        assert [work.cause, own[0].cause] == [Cause.REQUEST, Cause.REQUEST]
        assert current_time() == 1

    async def test_the_stop(self) -> None:
        """A cancellation of the service is told from all others, also where work makes an error of it."""

        async def clumsy() -> None:
            try:
                await anyio.sleep(10)
            finally:
                raise OSError

        works = [Work(rest), Work(clumsy)]
        recorder = Recorder()
        executor = Executor(recorder, current_time)
        async with anyio.create_task_group() as group:
            executor.open(group)
            for work in works:
                executor.submit(work)
            await anyio.sleep(1)
            group.cancel_scope.cancel()

        assert [work.cause for work in works] == [Cause.STOP, Cause.STOP]

    @pytest.mark.parametrize("steps", [0, 1])
    async def test_something_foreign(self, anyio_backend_name: str, steps: int) -> None:
        """A cancellation that came from a future or from the work itself is foreign."""
        if anyio_backend_name == "trio":
            return
        import asyncio

        async def cancelled() -> None:
            for _ in range(steps):
                await anyio.lowlevel.checkpoint()
            raise asyncio.CancelledError

        async def in_a_group() -> None:
            message = "group"
            raise BaseExceptionGroup(message, [asyncio.CancelledError(), OSError()])

        works = [Work(cancelled), Work(in_a_group)]
        async with opened() as (executor, _):
            for work in works:
                executor.submit(work)

        assert [work.cause for work in works] == [Cause.FOREIGN, Cause.FOREIGN]

    async def test_something_foreign_that_is_overtaken_by_a_request(self, anyio_backend_name: str) -> None:
        """What is cancelled by request while its foreign cancellation is looked at does not stop the executor."""
        if anyio_backend_name == "trio":
            return
        import asyncio

        future = asyncio.get_running_loop().create_future()

        async def wait() -> None:
            await future

        work, other = Work(wait), Work(rest)
        async with opened() as (executor, _):
            executor.submit(work)
            await anyio.sleep(1)
            future.cancel()
            await anyio.lowlevel.checkpoint()
            executor.cancel(work)
            executor.submit(other)

        assert work.cause is Cause.REQUEST
        assert other.ended


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

    @pytest.mark.parametrize("how", ["waits", "returns", "raises", "raises later"])
    async def test_a_scope_that_is_left_open_is_noticed(self, how: str) -> None:
        """Work that leaves a cancel scope open is named, as its task can be used by nothing else."""
        recorder = Recorder()
        executor = Executor(recorder, current_time)

        async def leave() -> None:
            anyio.CancelScope().__enter__()  # what a library may do by mistake
            if how in ("waits", "raises later"):
                await anyio.sleep(1)
            if how.startswith("raises"):
                raise ValueError

        works = [Work(leave), Work(rest)]
        with pytest.RaisesGroup(RuntimeError):
            async with anyio.create_task_group() as group:
                executor.open(group)
                for work in works:
                    executor.submit(work)
                await anyio.sleep(2)
                group.cancel_scope.cancel()

        assert recorder.open_scopes == works[:1]


async def test_virtual_time_stands_still_for_a_call_on_a_thread() -> None:
    """While a call on a thread is waited for, virtual time does not pass: the call takes no time."""
    began = current_time()

    with anyio.fail_after(60):
        await DaemonThread(lambda: time.sleep(0.05), "pump").run_to_end()
    now = current_time()
    await until(lambda: True)

    assert now == began
