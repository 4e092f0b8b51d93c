"""Ten thousand jobs that are due once an hour, or once a day: what each takes while it waits.

By hand: a task for each, which sleeps.
"""

import asyncio
import gc
import logging
import time
from collections.abc import Callable
from datetime import timedelta
from functools import partial

import anyio
import psutil

from benchmarks._measure import RAW, Figures, Row, in_child, installed, interleave
from hostkit import HostBuilder, HostOptions
from hostkit.scheduling import Daily, Every, Schedule, Scheduler

JOBS = 10_000
SETTLE = 0.5
SECONDS = 3.0
MEMORY, IDLE = "memory", "CPU while idle"
MOST_IDLE = 1.0
"""Milliseconds a second: nothing that wakes up gets by with it."""


def measure(rounds: int) -> list[Row]:
    """Let each contestant wait in a process of its own."""
    contestants: dict[str, Callable[[], Figures]] = {
        RAW: partial(in_child, run_raw),
        "hostkit": partial(in_child, run_intervals),
        "hostkit, daily": partial(in_child, run_daily),
    }
    if installed("apscheduler"):
        contestants["APScheduler"] = partial(in_child, run_apscheduler)
    if installed("scheduler"):
        contestants["scheduler"] = partial(in_child, run_scheduler)
    return interleave(
        f"{JOBS:,} sleeping jobs",
        contestants,
        rounds,
        units={MEMORY: "KB each", IDLE: "ms a second"},
        budgets={("hostkit", MEMORY): 0.3},
        limits={(name, IDLE): MOST_IDLE for name in ("hostkit", "hostkit, daily")},
    )


async def nothing() -> None:
    """Be the job."""


class Memory:
    """What the process holds, since this was made."""

    def __init__(self) -> None:
        """Note what there is before the jobs."""
        gc.collect()
        self._before = psutil.Process().memory_info().rss

    async def figures(self) -> Figures:
        """Wait, and return what the jobs have taken."""
        await anyio.sleep(SETTLE)
        gc.collect()
        memory = psutil.Process().memory_info().rss - self._before
        began = time.process_time()
        await anyio.sleep(SECONDS)
        cost = time.process_time() - began
        return {MEMORY: memory / JOBS / 1024, IDLE: cost / SECONDS * 1000}


def run_raw() -> Figures:
    """One anyio task for each job."""

    async def loop() -> None:
        while True:
            await anyio.sleep(3600)
            await nothing()

    async def main() -> Figures:
        memory = Memory()
        async with anyio.create_task_group() as group:
            for _ in range(JOBS):
                group.start_soon(loop)
            figures = await memory.figures()
            group.cancel_scope.cancel()
        return figures

    return anyio.run(main)


def run_intervals() -> Figures:
    """A `Scheduler` with intervals."""
    return anyio.run(_hosted, lambda: Every(hours=1))


def run_daily() -> Figures:
    """A `Scheduler` with times of day."""
    return anyio.run(_hosted, lambda: Daily("03:00", tz="Europe/Berlin"))


async def _hosted(schedule: Callable[[], Schedule]) -> Figures:
    schedule()  # the zone is loaded once
    builder = HostBuilder(HostOptions(log_level="ERROR"))
    scheduler = builder.add_service(Scheduler())
    async with builder.build():
        memory = Memory()
        for number in range(JOBS):
            scheduler.add(nothing, schedule(), name=f"job {number}")
        return await memory.figures()


def run_apscheduler() -> Figures:
    """APScheduler 3 on asyncio."""
    from apscheduler.schedulers.asyncio import AsyncIOScheduler  # type: ignore[import-not-found, import-untyped, unused-ignore]

    logging.disable()

    async def main() -> Figures:
        jobs = AsyncIOScheduler(timezone="UTC")
        jobs.start()
        memory = Memory()
        for _ in range(JOBS):
            jobs.add_job(nothing, "interval", hours=1)
        figures = await memory.figures()
        jobs.shutdown()
        return figures

    return asyncio.run(main())


def run_scheduler() -> Figures:
    """The package scheduler, on asyncio."""
    from scheduler.asyncio import Scheduler as Peer  # type: ignore[import-not-found, import-untyped, unused-ignore]

    async def main() -> Figures:
        jobs = Peer(loop=asyncio.get_running_loop())
        memory = Memory()
        for _ in range(JOBS):
            jobs.cyclic(timedelta(hours=1), nothing)
        figures = await memory.figures()
        jobs.delete_jobs()
        return figures

    return asyncio.run(main())
