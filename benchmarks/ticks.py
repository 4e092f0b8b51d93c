"""Ten thousand async jobs, each due every second: what one run costs, and how much of what was due was done."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta

import anyio

from benchmarks._measure import RAW, Figures, Row, in_child, installed, interleave

JOBS = 10_000
PERIOD = 1.0
WARM_UP = 2.5
"""Seconds before it counts: half a period after a tick, so that no burst is cut in two."""

SECONDS = 4
COST, DONE = "CPU per run", "done of what was due"


def measure(rounds: int) -> list[Row]:
    """Let each contestant run its jobs in a process of its own."""
    contestants = {RAW: raw, "hostkit": hosted}
    if installed("apscheduler"):
        contestants["APScheduler"] = apscheduler
    if installed("scheduler"):
        contestants["scheduler"] = scheduler
    return interleave(
        f"{JOBS:,} async jobs, each every second",
        {name: lambda function=function: in_child(function) for name, function in contestants.items()},  # type: ignore[misc]
        rounds,
        units={COST: "us", DONE: "%"},
        budgets={("hostkit", COST): 0.6},
    )


class Counter:
    """The job: it counts its runs, by job."""

    def __init__(self) -> None:
        """Begin at nothing."""
        self.runs = [0] * JOBS

    def job(self, number: int) -> Callable[[], Awaitable[None]]:
        """Return the job of this number."""
        runs = self.runs

        async def job() -> None:
            runs[number] += 1

        return job

    async def figures(self) -> Figures:
        """Wait, and return what the jobs have cost meanwhile."""
        await anyio.sleep(WARM_UP)
        before = self.runs.copy()
        began = time.process_time()
        await anyio.sleep(SECONDS)
        cost = time.process_time() - began
        done = sum(self.runs) - sum(before)
        return {COST: cost / max(1, done) * 1e6, DONE: done / (JOBS * SECONDS / PERIOD) * 100}


def raw() -> Figures:
    """One anyio task for each job."""
    counter = Counter()

    async def loop(job: Callable[[], Awaitable[None]]) -> None:
        due = anyio.current_time() + PERIOD
        while True:
            await anyio.sleep(max(0.0, due - anyio.current_time()))
            await job()
            due += PERIOD

    async def main() -> Figures:
        async with anyio.create_task_group() as group:
            for number in range(JOBS):
                group.start_soon(loop, counter.job(number))
            figures = await counter.figures()
            group.cancel_scope.cancel()
        return figures

    return anyio.run(main)


def hosted() -> Figures:
    """A `Scheduler` in a host."""
    from hostkit import HostBuilder, HostOptions
    from hostkit.scheduling import Every, Scheduler

    counter = Counter()
    builder = HostBuilder(HostOptions(log_level="ERROR"))
    jobs = builder.add_service(Scheduler())
    for number in range(JOBS):
        jobs.add(counter.job(number), Every(seconds=PERIOD), name=f"job-{number}")

    async def main() -> Figures:
        async with builder.build():
            figures = await counter.figures()
        outcomes = {run.outcome for job in jobs.jobs.values() for run in job.history}
        assert outcomes == {"succeeded"}, outcomes
        return figures

    return anyio.run(main)


def apscheduler() -> Figures:
    """APScheduler 3 on asyncio."""
    from apscheduler.schedulers.asyncio import AsyncIOScheduler  # type: ignore[import-not-found, import-untyped, unused-ignore]

    logging.disable()
    counter = Counter()

    async def main() -> Figures:
        jobs = AsyncIOScheduler(timezone="UTC")
        for number in range(JOBS):
            jobs.add_job(counter.job(number), "interval", seconds=PERIOD)
        jobs.start()
        figures = await counter.figures()
        jobs.shutdown()
        return figures

    return asyncio.run(main())


def scheduler() -> Figures:
    """The package scheduler, on asyncio."""
    from scheduler.asyncio import Scheduler  # type: ignore[import-not-found, import-untyped, unused-ignore]

    counter = Counter()

    async def main() -> Figures:
        jobs = Scheduler(loop=asyncio.get_running_loop())
        for number in range(JOBS):
            jobs.cyclic(timedelta(seconds=PERIOD), counter.job(number))
        figures = await counter.figures()
        jobs.delete_jobs()
        return figures

    return asyncio.run(main())
