"""What happens when a job takes longer than its interval.

Each of these takes 0.3 s and is due every 0.1 s. Left alone, a job is never started a second time while it runs; and
whatever did not happen is told, with the reason.

Output:
    job patient skipped: still running
    job queued skipped: still running, and one waits already
    job several skipped: still running
    job eager cancelled after ... ms: the next run was due
"""

from anyio import sleep

from hostkit import HostBuilder
from hostkit.cli import run
from hostkit.scheduling import Every, Overlap, Scheduler

TENTH = Every(seconds=0.1)

builder = HostBuilder()
scheduler = builder.add_service(Scheduler())


@scheduler.job(TENTH)
async def patient() -> None:
    await sleep(0.3)


@scheduler.job(TENTH, overlap=Overlap.QUEUE)
async def queued() -> None:
    await sleep(0.3)


@scheduler.job(TENTH, overlap=Overlap.ALLOW, concurrency=2)
async def several() -> None:
    await sleep(0.3)


@scheduler.job(TENTH, overlap=Overlap.CANCEL_RUNNING)
async def eager() -> None:
    await sleep(0.3)


host = builder.build()

if __name__ == "__main__":
    run(host)
