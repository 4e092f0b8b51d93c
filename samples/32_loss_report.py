"""What the stop could not wait for: named in the log, and handed to something that lasts.

What was to run later is given to `on_lost`, which writes it to a file here, with the time that is left of its delay.
The next start takes it up again, once: the file goes when the queue has it.

Output:
    reminded cart 1
    ^C
    kept for the next start: remind [2], in ... s
    kept for the next start: tidy-up [], in ... s
"""

import json
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import anyio

from hostkit import BackgroundService, HostBuilder, StoppingToken
from hostkit.cli import run
from hostkit.jobs import Job, JobQueue

FILE = Path("lost-jobs.json")


async def remind(cart: int) -> None:
    print("reminded cart", cart)


async def tidy_up() -> None:
    print("tidied up")


JOBS: dict[str, Callable[..., Awaitable[None]]] = {"remind": remind, "tidy-up": tidy_up}


def keep(jobs: Sequence[Job[object]]) -> None:
    now, rows = anyio.current_time(), []
    for job in jobs:
        left = max(0.0, (job.due_at or now) - now)
        rows.append({"name": job.name, "args": list(job.args), "at": time.time() + left})
        print(f"kept for the next start: {job.name} {list(job.args)}, in {left:.0f} s")
    FILE.write_text(json.dumps(rows))


def take_kept() -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads(FILE.read_text()) if FILE.exists() else []
    FILE.unlink(missing_ok=True)
    return rows


class Shop(BackgroundService):
    def __init__(self, queue: JobQueue) -> None:
        self.queue = queue

    async def start(self) -> None:
        for row in take_kept():
            await self.queue.enqueue_at(datetime.fromtimestamp(row["at"], UTC), JOBS[row["name"]], *row["args"])

    async def execute(self, stopping_token: StoppingToken) -> None:
        await self.queue.enqueue(remind, 1)
        await self.queue.enqueue_in(timedelta(minutes=15), remind, 2)
        await self.queue.enqueue_in(timedelta(hours=1), tidy_up)
        await stopping_token.wait()


builder = HostBuilder()
builder.add_service(Shop(builder.add_service(JobQueue(on_lost=keep))))
host = builder.build()

if __name__ == "__main__":
    run(host)
