"""The job queue beside a bare ``asyncio.Queue`` with workers, an anyio stream, ``run_in_executor``, and peers.

All run the same function that does nothing but count: all at once, awaited one after the other, one by one with idle
workers, on threads, and, to see what a waiting job takes, behind jobs that do not end.
"""

import asyncio
import gc
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from statistics import median

import anyio

from benchmarks._measure import HOSTKIT, Budget, Contestant, Figure, Figures, Measure
from benchmarks._work import Jobs, blocking_job, job, resident_bytes
from hostkit import HostBuilder, HostOptions
from hostkit.jobs import JobQueue

WORKERS = 100
FEW_WORKERS = 10
ROOM = 1_000
PAUSE = 0.0005
"""Seconds between two single jobs: enough for a worker to be idle again."""
BARE, STREAM, EXECUTOR, AIOJOBS = "asyncio.Queue", "anyio stream", "run_in_executor", "aiojobs"

Job = Callable[[], Awaitable[None]]


@asynccontextmanager
async def hosted(workers: int, room: int) -> AsyncIterator[JobQueue]:
    """Run a `JobQueue` in a host."""
    builder = HostBuilder(HostOptions(log_level="CRITICAL", shutdown_timeout=0))
    queue = builder.add_service(JobQueue(concurrency=workers, capacity=room))
    host = builder.build()
    await host.start()
    try:
        yield queue
    finally:
        with suppress(ExceptionGroup):  # of the jobs that do not end
            await host.stop()


@asynccontextmanager
async def bare(workers: int, room: int) -> AsyncIterator[asyncio.Queue[Job]]:
    """Run workers over an ``asyncio.Queue``."""
    queue: asyncio.Queue[Job] = asyncio.Queue(room)

    async def work() -> None:
        while True:
            job = await queue.get()
            await job()

    tasks = [asyncio.create_task(work()) for _ in range(workers)]
    try:
        yield queue
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


def at_once_hostkit(count: int) -> Figures:
    """Enqueue without waiting."""

    async def main() -> Figures:
        jobs = Jobs(count)
        async with hosted(WORKERS, count) as queue:
            jobs.begin()
            for _ in range(count):
                queue.enqueue_nowait(job)
            return await jobs.figures()

    return asyncio.run(main())


def at_once_bare(count: int) -> Figures:
    """Do the same with an ``asyncio.Queue``."""

    async def main() -> Figures:
        jobs = Jobs(count)
        async with bare(WORKERS, count) as queue:
            jobs.begin()
            for _ in range(count):
                queue.put_nowait(job)
            return await jobs.figures()

    return asyncio.run(main())


def at_once_stream(count: int) -> Figures:
    """Do the same with a memory object stream of anyio."""

    async def main() -> Figures:
        jobs = Jobs(count)
        send, receive = anyio.create_memory_object_stream[Job](count)

        async def work() -> None:
            async for received in receive:
                await received()

        async with send, receive, anyio.create_task_group() as group:
            for _ in range(WORKERS):
                group.start_soon(work)
            jobs.begin()
            for _ in range(count):
                send.send_nowait(job)
            figures = await jobs.figures()
            group.cancel_scope.cancel()
        return figures

    return asyncio.run(main())


def blocking_hostkit(count: int) -> Figures:
    """Enqueue blocking jobs without waiting."""

    async def main() -> Figures:
        jobs = Jobs(count)
        async with hosted(WORKERS, count) as queue:
            jobs.begin()
            for _ in range(count):
                queue.enqueue_nowait(blocking_job)
            figures = await jobs.figures()
            await queue.join()
            return figures

    return asyncio.run(main())


def blocking_executor(count: int) -> Figures:
    """Hand blocking jobs to a pool of threads."""

    async def main() -> Figures:
        jobs = Jobs(count)
        loop = asyncio.get_running_loop()
        with ThreadPoolExecutor(WORKERS) as pool:
            jobs.begin()
            futures = [loop.run_in_executor(pool, blocking_job) for _ in range(count)]
            figures = await jobs.figures()
            await asyncio.gather(*futures)
        return figures

    return asyncio.run(main())


def single(count: int, side: str) -> Figures:
    """Run a job at a time, when nothing else is to be done."""

    async def main() -> Figures:
        delays: list[float] = []
        enqueued = 0.0

        async def timed() -> None:
            delays.append(time.perf_counter() - enqueued)

        async with SIDES[side](FEW_WORKERS, ROOM) as queue:
            put = queue.enqueue if isinstance(queue, JobQueue) else queue.put
            for _ in range(count):
                enqueued = time.perf_counter()
                await put(timed)
                await asyncio.sleep(PAUSE)
        assert len(delays) == count
        return {"enqueue to run, p50": median(delays) * 1e6}

    return asyncio.run(main())


def awaited(count: int, side: str) -> Figures:
    """Enqueue jobs with ``await``, which waits while there is no room."""

    async def main() -> Figures:
        jobs = Jobs(count)
        async with SIDES[side](FEW_WORKERS, ROOM) as queue:
            put = queue.enqueue if isinstance(queue, JobQueue) else queue.put
            jobs.begin()
            for _ in range(count):
                await put(job)
            return await jobs.figures()

    return asyncio.run(main())


def waiting(count: int, side: str) -> Figures:
    """Enqueue jobs behind others that do not end."""

    async def main() -> Figures:
        async def block() -> None:
            await asyncio.sleep(3600)

        async def nothing() -> None:
            pass

        async with SIDES[side](FEW_WORKERS, count + FEW_WORKERS) as queue:
            put = queue.enqueue_nowait if isinstance(queue, JobQueue) else queue.put_nowait
            for _ in range(FEW_WORKERS):
                put(block)
            await asyncio.sleep(0)
            gc.collect()
            before = resident_bytes()
            for _ in range(count):
                put(nothing)
            return {"memory of a job": (resident_bytes() - before) / count}

    return asyncio.run(main())


Side = Callable[[int, int], AbstractAsyncContextManager[JobQueue | asyncio.Queue[Job]]]
SIDES: dict[str, Side] = {BARE: bare, HOSTKIT: hosted}


def peer(name: str, function: str) -> Contestant:
    """Return the queue of others."""
    return Contestant(name, f"benchmarks.peers.{name}:{function}", environment=name)


MANY = 100_000
SIZES = (1_000, 10_000, MANY)
A_JOB = (Figure("a job", "µs"), Figure("CPU of a job", "µs"))

MEASURES = (
    Measure(
        "queue",
        "{size} async jobs at once, 100 workers",
        A_JOB,
        SIZES,
        (
            Contestant(BARE, at_once_bare),
            Contestant(STREAM, at_once_stream),
            Contestant(HOSTKIT, at_once_hostkit),
            peer(AIOJOBS, "at_once"),
            peer("taskiq", "at_once"),
        ),
        baseline=BARE,
        budgets=(Budget("a job", MANY, 1 / 0.35, BARE), Budget("a job", MANY, 1 / 3, AIOJOBS)),
    ),
    Measure(
        "queue_blocking",
        "{size} blocking jobs at once, 100 workers",
        A_JOB,
        SIZES,
        (
            Contestant(EXECUTOR, blocking_executor),
            Contestant(HOSTKIT, blocking_hostkit),
            peer(AIOJOBS, "blocking"),
            peer("taskiq", "blocking"),
        ),
        baseline=EXECUTOR,
        budgets=(Budget("a job", 10_000, 1 / 0.8, EXECUTOR), Budget("a job", 10_000, 1.0, AIOJOBS)),
    ),
    Measure(
        "queue_awaited",
        "{size} async jobs, each enqueued with await, 10 workers",
        A_JOB,
        SIZES,
        (
            *(Contestant(side, awaited, (side,)) for side in SIDES),
            peer(AIOJOBS, "awaited"),
        ),
        baseline=BARE,
        budgets=(Budget("a job", MANY, 1 / 0.3, BARE), Budget("a job", MANY, 1 / 3, AIOJOBS)),
    ),
    Measure(
        "queue_single",
        "{size} async jobs, one by one",
        (Figure("enqueue to run, p50", "µs", per_item=False),),
        (50, 500, 5_000),
        (
            *(Contestant(side, single, (side,)) for side in SIDES),
            peer(AIOJOBS, "single"),
        ),
        baseline=BARE,
        budgets=(Budget("enqueue to run, p50", 500, 2.0, BARE),),
    ),
    Measure(
        "queue_waiting",
        "{size} jobs that wait in the queue",
        (Figure("memory of a job", "bytes"),),
        SIZES,
        tuple(Contestant(side, waiting, (side,)) for side in SIDES),
        baseline=BARE,
    ),
)
