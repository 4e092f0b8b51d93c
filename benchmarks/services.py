"""Many background services without hooks: their start, their stop, and the memory each of them takes.

By hand: one task each in a group, and one event that all of them wait for.
"""

import asyncio
import gc
import os
import time
from collections.abc import Callable, Coroutine
from functools import partial
from pathlib import Path
from statistics import median

import anyio
from anyio.lowlevel import checkpoint
from loguru import logger

from benchmarks._measure import RAW, Figures, Row, in_child, installed, interleave
from hostkit import BackgroundService, HostBuilder, HostOptions, StoppingToken

LIVES = {1: 300, 100: 30, 1_000: 5, 10_000: 1}
"""How many lives, one after the other, give the times of one run: few services take no time to speak of."""

LARGE = 1_000
"""From how many services on their memory can be told from that of everything else."""

Live = Callable[[int, int], Coroutine[object, object, Figures]]

STATM = Path("/proc/self/statm")
"""Where Linux tells how much memory a process holds; elsewhere that figure is left out."""

UNITS = {"start": "µs each", "stop": "µs each", "memory": "KB each"}
BUDGETS = {("hostkit", "start"): 1.6, ("hostkit", "stop"): 1.5, ("hostkit", "memory"): 1.5}


def measure(rounds: int) -> list[Row]:
    """Run each count on asyncio, and the largest on trio and uvloop as well."""
    rows = []
    for count in LIVES:
        contestants = {
            RAW: partial(in_child, run_anyio, count, "asyncio"),
            "raw asyncio": partial(in_child, run_asyncio, count),
            "hostkit": partial(in_child, run_hostkit, count, "asyncio"),
        }
        budgets = BUDGETS if count == max(LIVES) else {}
        rows += interleave(f"{count:,} services", contestants, rounds, units=UNITS, budgets=budgets)
    for backend in filter(installed, ("trio", "uvloop")):
        contestants = {
            RAW: partial(in_child, run_anyio, max(LIVES), backend),
            "hostkit": partial(in_child, run_hostkit, max(LIVES), backend),
        }
        rows += interleave(f"{max(LIVES):,} services, {backend}", contestants, rounds, units=UNITS)
    return rows


class Waiting(BackgroundService):
    """A service that waits for the stop."""

    def __init__(self, tally: "Tally") -> None:
        """Count in *tally*."""
        self.tally = tally

    async def execute(self, stopping_token: StoppingToken) -> None:
        """Wait."""
        self.tally.running += 1
        await stopping_token.wait()
        self.tally.running -= 1


class RawWaiting:
    """The same by hand."""

    def __init__(self, tally: "Tally") -> None:
        """Count in *tally*."""
        self.tally = tally

    async def execute(self, stop: anyio.Event | asyncio.Event) -> None:
        """Wait."""
        self.tally.running += 1
        await stop.wait()
        self.tally.running -= 1


def resident() -> int:
    """Return the memory that this process holds, in bytes; 0 if that is not known."""
    return int(STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") if STATM.exists() else 0


class Tally:
    """How many services run, and what their lives have taken."""

    def __init__(self, count: int) -> None:
        """Expect *count* services."""
        self.count = count
        self.running = 0
        self.lives: list[Figures] = []

    def begin(self) -> None:
        """Note what there is before the services."""
        gc.collect()
        self._memory = resident()
        self._began = time.perf_counter()

    def started(self) -> None:
        """Note that all services run."""
        self._started = time.perf_counter()
        assert self.running == self.count, self.running
        self._memory = resident() - self._memory

    def told(self) -> None:
        """Note that the services are about to be told."""
        self._told = time.perf_counter()

    def stopped(self) -> None:
        """Note that all services have ended."""
        stopped = time.perf_counter()
        assert self.running == 0, self.running
        life = {
            "start": (self._started - self._began) / self.count * 1e6,
            "stop": (stopped - self._told) / self.count * 1e6,
        }
        if self.count >= LARGE and STATM.exists():
            life["memory"] = self._memory / self.count / 1024
        self.lives.append(life)

    def figures(self) -> Figures:
        """Return the medians of the times, and the memory of the first life."""
        times = {name: median(life[name] for life in self.lives) for name in ("start", "stop")}
        return {**self.lives[0], **times}


async def live_hostkit(count: int, lives: int) -> Figures:
    """Live some lives of a host."""
    tally = Tally(count)
    for _ in range(lives):
        services = [Waiting(tally) for _ in range(count)]
        builder = HostBuilder(HostOptions())
        for service in services:
            builder.add_service(service)
        host = builder.build()
        tally.begin()
        await host.start()
        while tally.running < count:
            await checkpoint()
        tally.started()
        await checkpoint()
        tally.told()
        await host.stop()
        tally.stopped()
    return tally.figures()


async def live_anyio(count: int, lives: int) -> Figures:
    """Live the same by hand."""
    tally = Tally(count)
    for _ in range(lives):
        services = [RawWaiting(tally) for _ in range(count)]
        tally.begin()
        async with anyio.create_task_group() as group:
            stop = anyio.Event()
            for service in services:
                group.start_soon(service.execute, stop)
            while tally.running < count:
                await checkpoint()
            tally.started()
            await checkpoint()
            tally.told()
            stop.set()
        tally.stopped()
    return tally.figures()


async def live_asyncio(count: int, lives: int) -> Figures:
    """Live the same by hand, without anyio."""
    tally = Tally(count)
    for _ in range(lives):
        services = [RawWaiting(tally) for _ in range(count)]
        tally.begin()
        async with asyncio.TaskGroup() as group:
            stop = asyncio.Event()
            for service in services:
                group.create_task(service.execute(stop))
            while tally.running < count:  # noqa: ASYNC110  # the turns that the others need as well
                await asyncio.sleep(0)
            tally.started()
            await asyncio.sleep(0)
            tally.told()
            stop.set()
        tally.stopped()
    return tally.figures()


def run_hostkit(count: int, backend: str) -> Figures:
    """Measure hostkit in this process."""
    return _run(live_hostkit, count, backend)


def run_anyio(count: int, backend: str) -> Figures:
    """Measure anyio in this process."""
    return _run(live_anyio, count, backend)


def run_asyncio(count: int) -> Figures:
    """Measure asyncio in this process."""
    return asyncio.run(_warm(live_asyncio, count))


def _run(live: Live, count: int, backend: str) -> Figures:
    return anyio.run(
        _warm,
        live,
        count,
        backend="trio" if backend == "trio" else "asyncio",
        backend_options={"use_uvloop": True} if backend == "uvloop" else {},
    )


async def _warm(live: Live, count: int) -> Figures:
    """Live a small life first, which imports what is imported on use."""
    logger.remove()
    await live(1, 1)
    return await live(count, LIVES[count])
