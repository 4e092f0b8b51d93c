"""The job queue beside a bare ``asyncio.Queue`` with workers, an anyio stream with workers, and aiojobs.

Everybody runs the same async function that does nothing but count, with as many workers and as much room: all of them
at once, one by one with idle workers, and, to see what a waiting one takes, behind one that does not end.
"""

import asyncio
import gc
import resource
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from statistics import median
from typing import TYPE_CHECKING

import anyio

from benchmarks._measure import Contestant, Figures, Row, in_child, installed, interleave
from hostkit import HostBuilder, HostOptions
from hostkit.jobs import JobQueue

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

WORKERS = 10
ROOM = 1_000
JOBS = 100_000
SINGLE_JOBS = 500
PAUSE = 0.0005
"""Seconds between two single jobs: enough for a worker to be idle again."""
WAITING_JOBS = 100_000
BARE = "asyncio.Queue"

Job = Callable[[float], Awaitable[None]]
Put = Callable[[Job, float], Awaitable[object]]
Side = Callable[[int], AbstractAsyncContextManager[Put]]
"""Starts a queue with so much room, gives the function that enqueues, and ends it."""


def measure(rounds: int) -> list[Row]:
    """Measure each in a process of its own."""
    sides = ["hostkit", BARE, "anyio stream"]
    if installed("aiojobs"):
        sides.append("aiojobs")
    rows = interleave(
        "queue, all at once",
        contestants(run_jobs, sides),
        rounds,
        units={"a job": "µs"},
        baseline=BARE,
        budgets={("hostkit", "a job"): 1 / 0.3},
    )
    if "aiojobs" in sides:
        rows += interleave(
            "queue, all at once",
            contestants(run_jobs, ["hostkit", "aiojobs"]),
            rounds,
            units={"a job": "µs"},
            baseline="aiojobs",
            budgets={("hostkit", "a job"): 1 / 3},
        )
    rows += interleave(
        "queue, one by one",
        contestants(run_single_jobs, sides),
        rounds,
        units={"enqueue to run, p50": "µs"},
        baseline=BARE,
        budgets={("hostkit", "enqueue to run, p50"): 2.0},
    )
    rows += interleave(
        f"queue, {WAITING_JOBS:,} wait",
        contestants(run_waiting_jobs, ["hostkit", BARE]),
        rounds,
        units={"memory of a job": "bytes"},
        baseline=BARE,
    )
    return rows


def contestants(run: Callable[[str], Figures], sides: list[str]) -> dict[str, Contestant]:
    """Return what runs each side in a child process."""
    return {side: lambda side=side: in_child(run, side) for side in sides}  # type: ignore[misc]


class Counter:
    """How many jobs have run."""

    now: "Counter"

    def __init__(self) -> None:
        """Begin, in an event loop."""
        self.done = 0
        self.all_done = anyio.Event()


async def count(_: float) -> None:
    """Be a job that does nothing; a module's function, as jobs are."""
    counter = Counter.now
    counter.done += 1
    if counter.done == JOBS:
        counter.all_done.set()


def run_jobs(side: str) -> Figures:
    """Run many jobs, as fast as they can be enqueued."""

    async def main() -> Figures:
        counter = Counter.now = Counter()
        async with SIDES[side](ROOM) as put:
            # All of it is computing: the processor's time, as others may use the machine too.
            began = time.process_time()
            for _ in range(JOBS):
                await put(count, 0.0)
            await counter.all_done.wait()
            seconds = time.process_time() - began
        assert counter.done == JOBS
        return {"a job": seconds / JOBS * 1e6}

    return asyncio.run(main())


def run_single_jobs(side: str) -> Figures:
    """Run a job at a time, when nothing else is to be done."""

    async def main() -> Figures:
        delays: list[float] = []

        async def job(enqueued: float) -> None:
            delays.append(time.perf_counter() - enqueued)

        async with SIDES[side](ROOM) as put:
            for _ in range(SINGLE_JOBS):
                await put(job, time.perf_counter())
                await asyncio.sleep(PAUSE)
        assert len(delays) == SINGLE_JOBS
        return {"enqueue to run, p50": median(delays) * 1e6}

    return asyncio.run(main())


def run_waiting_jobs(side: str) -> Figures:
    """Enqueue many jobs behind others that do not end."""

    async def main() -> Figures:
        async def block(_: float) -> None:
            await asyncio.sleep(3600)

        async def job(_: float) -> None:
            pass

        async with SIDES[side](WAITING_JOBS) as put:
            for _ in range(WORKERS):
                await put(block, 0.0)
            await asyncio.sleep(0)
            gc.collect()
            before = resident_bytes()
            for _ in range(WAITING_JOBS):
                await put(job, 0.0)
            return {"memory of a job": (resident_bytes() - before) / WAITING_JOBS}

    return asyncio.run(main())


def resident_bytes() -> int:
    """Return the memory that the process holds, or has held at most where the platform tells no more."""
    with suppress(OSError), open("/proc/self/statm", encoding="ascii") as statm:  # noqa: PTH123  # one short read
        return int(statm.read().split()[1]) * resource.getpagesize()
    scale = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale


@asynccontextmanager
async def hostkit_queue(room: int) -> "AsyncIterator[Put]":
    """Enqueue into a `JobQueue` in a host."""
    builder = HostBuilder(HostOptions(log_level="CRITICAL", shutdown_timeout=0))
    queue = builder.add_service(JobQueue(concurrency=WORKERS, capacity=room))
    host = builder.build()
    await host.start()
    try:
        yield queue.enqueue
    finally:
        with suppress(ExceptionGroup):  # of the jobs that do not end
            await host.stop()


@asynccontextmanager
async def bare_queue(room: int) -> "AsyncIterator[Put]":
    """Enqueue into an ``asyncio.Queue``."""
    queue: asyncio.Queue[tuple[Job, float]] = asyncio.Queue(room)

    async def work() -> None:
        while True:
            job, argument = await queue.get()
            await job(argument)

    def put(job: Job, argument: float) -> Awaitable[None]:
        return queue.put((job, argument))

    workers = [asyncio.create_task(work()) for _ in range(WORKERS)]
    try:
        yield put
    finally:
        for worker in workers:
            worker.cancel()
        await asyncio.wait(workers)


@asynccontextmanager
async def anyio_stream(room: int) -> "AsyncIterator[Put]":
    """Enqueue into a memory object stream of anyio."""
    send, receive = anyio.create_memory_object_stream[tuple[Job, float]](room)

    async def work() -> None:
        async for job, argument in receive:
            await job(argument)

    def put(job: Job, argument: float) -> Awaitable[None]:
        return send.send((job, argument))

    async with send, receive, anyio.create_task_group() as group:
        for _ in range(WORKERS):
            group.start_soon(work)
        yield put
        group.cancel_scope.cancel()


@asynccontextmanager
async def aiojobs_scheduler(room: int) -> "AsyncIterator[Put]":
    """Enqueue into a scheduler of aiojobs."""
    import aiojobs  # type: ignore[import-not-found, unused-ignore]  # a peer that may be installed

    scheduler = aiojobs.Scheduler(limit=WORKERS, pending_limit=room)

    def put(job: Job, argument: float) -> Awaitable[object]:
        spawned: Awaitable[object] = scheduler.spawn(job(argument))
        return spawned

    try:
        yield put
    finally:
        await scheduler.close()


SIDES: dict[str, Side] = {
    "hostkit": hostkit_queue,
    BARE: bare_queue,
    "anyio stream": anyio_stream,
    "aiojobs": aiojobs_scheduler,
}
