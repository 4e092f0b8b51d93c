"""What the stop could not wait for: named in the log, and handed to something that lasts.

What was to run later is given to `on_lost`, which writes it to a file here, with the instant at which it was due; the
next start takes it up again, once.

Output:
    reminded cart 1
    ^C
    2 jobs were lost at the stop: 1 x remind (number 2), 1 x tidy-up (number 3)
    kept for the next start: remind 2
    kept for the next start: tidy-up
"""

import json
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import anyio

from hostkit import HostBuilder, StoppingToken
from hostkit.cli import run
from hostkit.jobs import Job, JobQueue

FILE = Path("lost-jobs.json")


async def remind(cart: int) -> None:
    print("reminded cart", cart)


async def tidy_up() -> None:
    print("tidied up")


JOBS: dict[str, Callable[..., Awaitable[None]]] = {"remind": remind, "tidy-up": tidy_up}


def keep(jobs: Sequence[Job[object]]) -> None:
    now = anyio.current_time()
    due = [datetime.now(UTC) + timedelta(seconds=max(0, (job.due_at or now) - now)) for job in jobs]
    FILE.write_text(json.dumps([(job.name, at.isoformat(), job.args) for job, at in zip(jobs, due, strict=True)]))
    for job in jobs:
        print("kept for the next start:", job.name, *job.args)


def take_up() -> list[tuple[str, str, list[int]]]:
    kept: list[tuple[str, str, list[int]]] = json.loads(FILE.read_text()) if FILE.exists() else []
    FILE.unlink(missing_ok=True)
    return kept


builder = HostBuilder()
queue = builder.add_service(JobQueue(on_lost=keep))


@builder.service
async def shop(stopping_token: StoppingToken) -> None:
    for name, at, args in take_up():
        await queue.enqueue_at(datetime.fromisoformat(at), JOBS[name], *args)
    await queue.enqueue(remind, 1)
    await queue.enqueue_in(timedelta(minutes=15), remind, 2)
    await queue.enqueue_in(timedelta(hours=1), tidy_up)
    await stopping_token.wait()


host = builder.build()

if __name__ == "__main__":
    run(host)
