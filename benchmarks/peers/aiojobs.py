"""Jobs of aiojobs."""

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from statistics import median

from aiojobs import Scheduler

from benchmarks._measure import Figures
from benchmarks._work import Jobs, blocking_job, job

WORKERS = 100
FEW_WORKERS = 10
ROOM = 1_000
PAUSE = 0.0005
UNLIMITED = 0


def at_once(count: int) -> Figures:
    """Spawn jobs; any number of them may wait."""
    return asyncio.run(_spawn(count, WORKERS, UNLIMITED))


def awaited(count: int) -> Figures:
    """Spawn jobs, and wait while there is no room."""
    return asyncio.run(_spawn(count, FEW_WORKERS, ROOM))


async def _spawn(count: int, workers: int, room: int) -> Figures:
    jobs = Jobs(count)
    async with Scheduler(limit=workers, pending_limit=room) as scheduler:
        jobs.begin()
        for _ in range(count):
            await scheduler.spawn(job())
        return await jobs.figures()


def blocking(count: int) -> Figures:
    """Spawn jobs that hand the blocking function to a pool of threads."""

    async def main() -> Figures:
        jobs = Jobs(count)
        loop = asyncio.get_running_loop()

        async def on_thread() -> None:
            await loop.run_in_executor(pool, blocking_job)

        with ThreadPoolExecutor(WORKERS) as pool:
            async with Scheduler(limit=WORKERS, pending_limit=UNLIMITED) as scheduler:
                jobs.begin()
                for _ in range(count):
                    await scheduler.spawn(on_thread())
                return await jobs.figures()

    return asyncio.run(main())


def single(count: int) -> Figures:
    """Run a job at a time, when nothing else is to be done."""

    async def main() -> Figures:
        delays: list[float] = []
        enqueued = 0.0

        async def timed() -> None:
            delays.append(time.perf_counter() - enqueued)

        async with Scheduler(limit=FEW_WORKERS, pending_limit=ROOM) as scheduler:
            for _ in range(count):
                enqueued = time.perf_counter()
                await scheduler.spawn(timed())
                await asyncio.sleep(PAUSE)
        assert len(delays) == count
        return {"enqueue to run, p50": median(delays) * 1e6}

    return asyncio.run(main())
