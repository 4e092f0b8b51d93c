"""Jobs of APScheduler 3 on asyncio."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from apscheduler.schedulers.asyncio import AsyncIOScheduler

from benchmarks._measure import Figures
from benchmarks._work import DueAtOnce, Sleeping, Ticking


async def nothing() -> None:
    """Be the job."""


def _run(work: Callable[[AsyncIOScheduler], Awaitable[Figures]]) -> Figures:
    async def main() -> Figures:
        scheduler = AsyncIOScheduler(timezone="UTC")
        scheduler.start()
        figures = await work(scheduler)
        scheduler.shutdown()
        return figures

    logging.disable()
    return asyncio.run(main())


def sleeping(count: int) -> Figures:
    """Add jobs."""

    async def work(scheduler: AsyncIOScheduler) -> Figures:
        sleeping = Sleeping(count)
        for _ in range(count):
            scheduler.add_job(nothing, "interval", hours=1)
        return await sleeping.figures()

    return _run(work)


def due_at_once(count: int) -> Figures:
    """Have all jobs due at one instant."""

    async def work(scheduler: AsyncIOScheduler) -> Figures:
        due = DueAtOnce(count)
        for _ in range(count):
            scheduler.add_job(due.job, "interval", hours=1, start_date=due.instant, misfire_grace_time=None)
        return await due.figures()

    return _run(work)


def ticks(count: int) -> Figures:
    """Have all jobs due every second."""

    async def work(scheduler: AsyncIOScheduler) -> Figures:
        ticking = Ticking(count)
        scheduler.pause()
        for number in range(count):
            scheduler.add_job(ticking.job(number), "interval", seconds=ticking.PERIOD)
        scheduler.resume()
        return await ticking.figures()

    return _run(work)
