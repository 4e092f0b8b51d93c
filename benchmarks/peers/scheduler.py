"""Jobs of the package scheduler, on asyncio."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, timedelta

from scheduler.asyncio import Scheduler

from benchmarks._measure import Figures
from benchmarks._work import DueAtOnce, Sleeping, Ticking


async def nothing() -> None:
    """Be the job."""


def _run(work: Callable[[Scheduler], Awaitable[Figures]]) -> Figures:
    async def main() -> Figures:
        scheduler = Scheduler(loop=asyncio.get_running_loop(), tzinfo=UTC)
        figures = await work(scheduler)
        scheduler.delete_jobs()
        return figures

    return asyncio.run(main())


def sleeping(count: int) -> Figures:
    """Add jobs."""

    async def work(scheduler: Scheduler) -> Figures:
        sleeping = Sleeping(count)
        for _ in range(count):
            scheduler.cyclic(timedelta(hours=1), nothing)
        return await sleeping.figures()

    return _run(work)


def due_at_once(count: int) -> Figures:
    """Have all jobs due at one instant."""

    async def work(scheduler: Scheduler) -> Figures:
        due = DueAtOnce(count)
        for _ in range(count):
            scheduler.cyclic(due.PERIOD, due.job, start=due.instant, delay=False)
        return await due.figures()

    return _run(work)


def ticks(count: int) -> Figures:
    """Have all jobs due every second."""

    async def work(scheduler: Scheduler) -> Figures:
        ticking = Ticking(count)
        for number in range(count):
            scheduler.cyclic(timedelta(seconds=ticking.PERIOD), ticking.job(number))
        return await ticking.figures()

    return _run(work)
