"""Schedulers for tests: in a host, with a wall clock that is set by hand, and what they say."""

import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import anyio
from loguru import logger

from hostkit import Host, HostBuilder, HostOptions
from hostkit.scheduling import Run, Scheduler
from hostkit.testing import FakeWallClock

if TYPE_CHECKING:
    from loguru import Message

START = datetime(2026, 11, 2, 9, 0, tzinfo=UTC)
"""A Monday."""

MINUTE, HOUR, DAY = 60.0, 3600.0, 86_400.0


class Timed:
    """A scheduler on a wall clock of its own, and the minutes since its start."""

    def __init__(
        self, *, threads: int = 4, history: int = 1000, on_failed: Callable[[Run], object] | None = None
    ) -> None:
        self.clock = FakeWallClock(START)
        self.scheduler = Scheduler(threads=threads, history=history, on_failed=on_failed, now=self.clock.now)
        self._began = 0.0

    def minutes(self) -> float:
        """Return how many minutes have passed."""
        return (anyio.current_time() - self._began) / MINUTE

    @asynccontextmanager
    async def running(self, **options: object) -> AsyncIterator[Host]:
        """Run it in a host."""
        host = hosted(self.scheduler, **options)
        self._began = anyio.current_time()
        async with host:
            yield host

    async def run_for(self, seconds: float, **options: object) -> None:
        """Run it in a host for so long, and stop it."""
        async with self.running(**options):
            await anyio.sleep(seconds)


def hosted(scheduler: Scheduler, **options: object) -> Host:
    """Return a host with nothing but *scheduler*."""
    complete: dict[str, Any] = {"shutdown_timeout": HOUR, **options}
    builder = HostBuilder(HostOptions(**complete))
    builder.add_service(scheduler)
    return builder.build()


def block(seconds: float) -> None:
    """Let *seconds* pass in which the event loop does not turn, on virtual time."""
    trio = sys.modules.get("trio")
    if trio is not None and trio.lowlevel.in_trio_run():
        trio.lowlevel.current_clock().jump(seconds)
    else:
        loop: Any = asyncio.get_running_loop()
        loop._now += seconds  # the virtual loop's


async def leap(seconds: float) -> None:
    """Let *seconds* pass, at one go but for the last ten minutes: where the clock is watched, it takes its time."""
    block(seconds - 10 * MINUTE)
    await anyio.sleep(10 * MINUTE)


async def nothing() -> None:
    """Be a job that does nothing."""


def at(run: Run) -> float:
    """Return for which minute after `START` a run was planned."""
    return (run.planned - START).total_seconds() / MINUTE


def told(runs: Iterator[Run] | tuple[Run, ...]) -> list[tuple[float, str, str | None]]:
    """Return the minute, the outcome and the reason of each run, by the minute."""
    return sorted((at(run), str(run.outcome), run.reason) for run in runs)


@contextmanager
def log_lines(level: str = "INFO") -> Iterator[list[str]]:
    """Collect the log lines of jobs."""
    lines: list[str] = []

    def keep(message: "Message") -> None:
        record = message.record
        if record["message"].startswith(("job ", "on_stop callback of job", "on_failed of job")):
            lines.append(f"{record['level'].name} {record['extra'].get('service')}: {record['message']}")

    sink = logger.add(keep, level=level)
    try:
        yield lines
    finally:
        logger.remove(sink)
