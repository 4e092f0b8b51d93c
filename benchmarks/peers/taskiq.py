"""Jobs of taskiq, in memory, where it has no limit on running async tasks: each begins at once."""

import asyncio

from taskiq import InMemoryBroker

from benchmarks._measure import Figures
from benchmarks._work import Jobs, blocking_job, job

WORKERS = 100


def at_once(count: int) -> Figures:
    """Send async tasks."""
    return asyncio.run(_send(count, blocking=False))


def blocking(count: int) -> Figures:
    """Send blocking tasks."""
    return asyncio.run(_send(count, blocking=True))


async def _send(count: int, *, blocking: bool) -> Figures:
    jobs = Jobs(count)
    broker = InMemoryBroker(sync_tasks_pool_size=WORKERS)
    task = broker.register_task(blocking_job if blocking else job, task_name="job")
    await broker.startup()
    jobs.begin()
    for _ in range(count):
        await task.kiq()
    figures = await jobs.figures()
    await broker.wait_all()
    await broker.shutdown()
    return figures
