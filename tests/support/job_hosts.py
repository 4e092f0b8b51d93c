"""A queue in a host, and jobs that tell of themselves, for tests of the job queue."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import anyio
from anyio import current_time
from loguru import logger

from hostkit import Backoff, Host, HostBuilder, HostedService, HostOptions
from hostkit.jobs import Job, JobQueue, JobState, Retry
from hostkit.jobs._retry import Errors

if TYPE_CHECKING:
    import asyncio

    import pytest
    from loguru import Record

ENDED = frozenset({JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED, JobState.LOST})


def again(attempts: int, wait: float, on: Errors = Exception, not_on: Errors = ()) -> Retry:
    """Return a policy that has a job wait always equally long."""
    return Retry(attempts, Backoff(initial=wait, factor=1, maximum=wait, jitter=0), on, not_on)


async def until(condition: Callable[[], object], within: float = 10.0) -> None:
    """Wait, in real time, until something holds that tells nobody."""
    with anyio.fail_after(within):
        while not condition():  # threads and log sinks have no event
            await anyio.sleep(0.001)


def hosted(queue: JobQueue, *later: HostedService, **options: object) -> Host:
    """Return a host with the queue and what is to start after it, which logs nothing if not told to."""
    complete: dict[str, Any] = {"log_level": "CRITICAL", **options}
    builder = HostBuilder(HostOptions(**complete))
    for service in (queue, *later):
        builder.add_service(service)
    return builder.build()


async def run_one(queue: JobQueue, function: Callable[..., object], *args: object) -> Job[object]:
    """Return a job of a host's queue when it has ended, and the host as well."""
    async with hosted(queue):
        job = await queue.enqueue(function, *args)
        await job.wait()
    return job


def of_a_queue(record: "Record") -> bool:
    """Return whether a line of the log is a queue's."""
    return "queue" in record["extra"]


def log_lines(
    request: "pytest.FixtureRequest", line: str, of: Callable[["Record"], bool] | None = of_a_queue
) -> list[str]:
    """Return the list that the log lines of queues go to, or all, until the test has ended."""
    lines: list[str] = []
    sink = logger.add(lambda text: lines.append(text.rstrip()), format=line, filter=of, backtrace=False)
    request.addfinalizer(lambda: logger.remove(sink))
    return lines


async def nothing() -> None:
    """Be a job that does nothing."""


def own_task() -> "asyncio.Task[object]":
    """Return the task of asyncio in which the caller runs."""
    import asyncio

    task = asyncio.current_task()
    assert task is not None
    return task


class Diary:
    """Jobs that write down when they ran."""

    def __init__(self) -> None:
        self.entries: list[tuple[object, float]] = []
        self.running = 0
        self.most_running = 0

    @property
    def names(self) -> list[object]:
        """Which jobs began, in order."""
        return [name for name, _ in self.entries]

    @property
    def times(self) -> list[float]:
        """When jobs began."""
        return [time for _, time in self.entries]

    async def note(self, name: object = None) -> None:
        """Be a job that takes no time."""
        self.entries.append((name, current_time()))

    async def work(self, name: object, seconds: float) -> object:
        """Be a job that takes its time."""
        self.entries.append((name, current_time()))
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        try:
            await anyio.sleep(seconds)
        finally:
            self.running -= 1
        return name

    async def fail(self, name: object = None, seconds: float = 0) -> None:
        """Be a job that fails."""
        await self.work(name, seconds)
        raise OSError(name)


async def clumsy(seconds: float = 1000) -> None:
    """Be a job that fails when it is cancelled."""
    try:
        await anyio.sleep(seconds)
    finally:
        raise ClumsyError


class ClumsyError(Exception):
    """What the clean-up of a job fails with."""


def total(queue: JobQueue) -> int:
    """Return how many jobs the queue has accepted."""
    return sum(queue.counts.values())


def tally(queue: JobQueue) -> dict[str, int]:
    """Return the states in which there are jobs."""
    return {state.value: count for state, count in queue.counts.items() if count}


def states(*jobs: Job[object]) -> list[str]:
    """Return the states of jobs."""
    return [job.state.value for job in jobs]
