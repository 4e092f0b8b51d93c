"""Scheduled jobs: to add them and have them wait, many at one instant, and many every second.

By hand: a task for each job, which sleeps.
"""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta

import anyio

from benchmarks._measure import HOSTKIT, RAW, Budget, Contestant, Figure, Figures, Measure
from benchmarks._work import DueAtOnce, Sleeping, Ticking
from hostkit import HostBuilder, HostOptions
from hostkit.scheduling import Daily, Every, Outcome, Schedule, Scheduler

HOUR = 3600.0
DAILY = "hostkit, daily"
QUIET = HostOptions(log_level="ERROR")


async def nothing() -> None:
    """Be the job."""


def sleeping_hostkit(count: int, schedule: str = "every") -> Figures:
    """Add jobs to a `Scheduler` that runs."""

    def made() -> Schedule:
        return Every(timedelta(hours=1)) if schedule == "every" else Daily("03:00", tz="Europe/Berlin")

    async def main() -> Figures:
        made()  # the zone is loaded once
        builder = HostBuilder(QUIET)
        scheduler = builder.add_service(Scheduler())
        async with builder.build():
            sleeping = Sleeping(count)
            for _ in range(count):
                scheduler.add(nothing, made())
            return await sleeping.figures()

    return anyio.run(main)


def sleeping_raw(count: int) -> Figures:
    """Start a task for each job."""

    async def loop() -> None:
        while True:
            await anyio.sleep(HOUR)
            await nothing()

    async def main() -> Figures:
        async with anyio.create_task_group() as group:
            sleeping = Sleeping(count)
            for _ in range(count):
                group.start_soon(loop)
            figures = await sleeping.figures()
            group.cancel_scope.cancel()
        return figures

    return anyio.run(main)


def due_hostkit(count: int) -> Figures:
    """Have all jobs of a `Scheduler` due when its first interval is over."""

    async def main() -> Figures:
        builder = HostBuilder(QUIET)
        scheduler = builder.add_service(Scheduler())
        due = DueAtOnce(count)
        every = Every(due.seconds_left())
        jobs = [scheduler.add(due.job, every) for _ in range(count)]
        async with builder.build():
            return await due.figures(lambda: jobs[0].history[0].planned)

    return anyio.run(main)


def due_daily(count: int) -> Figures:
    """Have all jobs of a `Scheduler` due at one time of day."""

    async def main() -> Figures:
        builder = HostBuilder(QUIET)
        scheduler = builder.add_service(Scheduler())
        async with builder.build():
            due = DueAtOnce(count)
            for _ in range(count):
                scheduler.add(due.job, Daily(due.instant.time(), tz="UTC"))
            return await due.figures()

    return anyio.run(main)


def due_raw(count: int, library: str = "anyio") -> Figures:
    """Let a task for each job sleep until the same instant."""
    sleep: Callable[[float], Awaitable[None]] = anyio.sleep if library == "anyio" else asyncio.sleep

    async def loop(due: DueAtOnce) -> None:
        await sleep(due.seconds_left())
        while True:
            await due.job()
            await sleep(HOUR)

    async def main() -> Figures:
        due = DueAtOnce(count)
        async with anyio.create_task_group() as group:
            for _ in range(count):
                group.start_soon(loop, due)
            figures = await due.figures()
            group.cancel_scope.cancel()
        return figures

    return anyio.run(main)


def ticks_hostkit(count: int) -> Figures:
    """Have all jobs of a `Scheduler` due every second."""

    async def main() -> Figures:
        ticking = Ticking(count)
        builder = HostBuilder(QUIET)
        scheduler = builder.add_service(Scheduler())
        for number in range(count):
            scheduler.add(ticking.job(number), Every(ticking.PERIOD))
        async with builder.build():
            figures = await ticking.figures()
        # What is left out when the machine is late is told by the figure of what was not done.
        runs = [run for job in scheduler.jobs.values() for run in job.history if run.outcome is not Outcome.SKIPPED]
        assert {run.outcome for run in runs} == {Outcome.SUCCEEDED}, runs
        return figures

    return anyio.run(main)


def ticks_raw(count: int) -> Figures:
    """Let a task for each job sleep from tick to tick."""

    async def loop(job: Callable[[], Awaitable[None]]) -> None:
        due = anyio.current_time() + Ticking.PERIOD
        while True:
            await anyio.sleep(max(0.0, due - anyio.current_time()))
            await job()
            due += Ticking.PERIOD

    async def main() -> Figures:
        ticking = Ticking(count)
        async with anyio.create_task_group() as group:
            for number in range(count):
                group.start_soon(loop, ticking.job(number))
            figures = await ticking.figures()
            group.cancel_scope.cancel()
        return figures

    return anyio.run(main)


def peers(function: str) -> tuple[Contestant, ...]:
    """Return the schedulers of others."""
    return (
        Contestant("APScheduler", f"benchmarks.peers.apscheduler:{function}", environment="apscheduler"),
        Contestant("scheduler", f"benchmarks.peers.scheduler:{function}", environment="scheduler"),
    )


MANY = 10_000
SIZES = (20, 200, 1_000, 2_000, MANY, 100_000)
"""What people have, and ten and a hundred times that; the last are more than one core adds and runs in seconds."""

MEASURES = (
    Measure(
        "sleeping",
        "{size} scheduled jobs that wait",
        (Figure("to add", "µs each"), Figure("memory", "KB each"), Figure("idle", "ms a second", per_item=False)),
        SIZES,
        (
            Contestant(RAW, sleeping_raw),
            Contestant(HOSTKIT, sleeping_hostkit),
            Contestant(DAILY, sleeping_hostkit, ("daily",)),
            *peers("sleeping"),
        ),
        budgets=(
            Budget("to add", MANY, 10.0, to=None),
            Budget("memory", MANY, 1.6, to=None),
            Budget("memory", MANY, 0.3),
            Budget("idle", MANY, 1.0, to=None),
            Budget("idle", MANY, 1.0, to=None, contestant=DAILY),
        ),
    ),
    Measure(
        "due_at_once",
        "{size} jobs due at one instant",
        (Figure("p50 lateness", "ms", per_item=False), Figure("p99 lateness", "ms", per_item=False)),
        SIZES[:-1],
        (
            Contestant(RAW, due_raw),
            Contestant("raw asyncio", due_raw, ("asyncio",)),
            Contestant(HOSTKIT, due_hostkit),
            Contestant(DAILY, due_daily),
            *peers("due_at_once"),
        ),
        budgets=(Budget("p99 lateness", MANY, 15.0, to=None),),
    ),
    Measure(
        "ticks",
        "{size} jobs, each every second",
        (Figure("CPU per run", "µs"), Figure("memory", "KB each"), Figure("not done", "%", per_item=False)),
        SIZES[:-1],
        (Contestant(RAW, ticks_raw), Contestant(HOSTKIT, ticks_hostkit), *peers("ticks")),
        budgets=(
            Budget("CPU per run", MANY, 0.6),
            Budget("memory", MANY, 1.6, to=None),
            Budget("not done", MANY, 0.0, to=None),
        ),
    ),
)
