"""What the stop could not wait for: counted in the log, and handed to something that lasts.

What was to run later is given to `on_lost`, which writes it to a file here; the next start takes it up again.

Output:
    reminded cart 1
    ^C
    2 jobs were lost at the stop: 1 x remind, 1 x tidy-up
    kept for the next start: remind 2
    kept for the next start: tidy-up
"""

import json
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from pathlib import Path

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
    FILE.write_text(json.dumps([(job.name, job.args) for job in jobs]))
    for job in jobs:
        print("kept for the next start:", job.name, *job.args)


builder = HostBuilder()
queue = builder.add_service(JobQueue(on_lost=keep))
for name, args in json.loads(FILE.read_text()) if FILE.exists() else ():
    queue.enqueue_nowait(JOBS[name], *args)


@builder.service()
async def shop(stopping_token: StoppingToken) -> None:
    await queue.enqueue(remind, 1)
    await queue.enqueue_in(timedelta(minutes=15), remind, 2)
    await queue.enqueue_in(timedelta(hours=1), tidy_up)
    await stopping_token.wait()


host = builder.build()

if __name__ == "__main__":
    run(host)
