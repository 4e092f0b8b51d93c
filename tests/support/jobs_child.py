"""A host under load, for `tests/test_jobs_process.py`: what it accepts, does and loses, counted by the jobs."""

import random
import sys
from collections import Counter
from collections.abc import Sequence
from contextvars import ContextVar

import anyio
from job_hosts import again

from hostkit import BackgroundService, HostBuilder, HostOptions, StoppingToken
from hostkit.jobs import Job, JobQueue, JobState, QueueFullError

BACKEND, TIMEOUT = sys.argv[1], float(sys.argv[2])
REQUEST: ContextVar[int] = ContextVar("request")
accepted = done = failed = 0
reported = Counter[str]()


async def short() -> None:
    """Take no time."""
    count_done(1)


async def long(seconds: float) -> None:
    """Take some time, in the context of the request."""
    request = REQUEST.get()
    with anyio.move_on_after(30):
        async with anyio.create_task_group() as group:
            group.start_soon(anyio.sleep, seconds)
    assert REQUEST.get() == request
    count_done(1)


async def broken() -> None:
    """Fail."""
    global failed  # noqa: PLW0603  # as a counter for everybody
    failed += 1
    raise OSError


def count_done(number: int) -> None:
    """Count a job that has run to its end."""
    global done  # noqa: PLW0603  # likewise
    done += number


def on_lost(jobs: Sequence[Job[object]]) -> None:
    """Count what was lost."""
    reported.update(job.name for job in jobs)


class Producer(BackgroundService):
    """Enqueues as fast as there is room, in every way there is."""

    async def execute(self, stopping_token: StoppingToken) -> None:
        """Enqueue until the stop."""
        global accepted  # noqa: PLW0603  # likewise
        chance = random.Random(1)  # noqa: S311  # the same load each time
        number = 0
        said = False
        while not stopping_token.stop_requested:
            number += 1
            REQUEST.set(number)
            kind = chance.randrange(7)
            match kind:
                case 0:
                    await queue.enqueue(long, chance.random() / 10)
                case 1:
                    await queue.enqueue_in(chance.random(), short)
                case 2:
                    await queue.enqueue(broken)
                case 3:
                    await queue.with_options(timeout=0.01).enqueue(long, 1)
                case 4:
                    job = await queue.enqueue(long, 1)
                case _:
                    try:
                        queue.enqueue_nowait(short)
                    except QueueFullError:
                        await queue.enqueue(short)
            accepted += 1
            counts = queue.counts
            if not said and accepted > 200 and done and counts[JobState.FAILED] and counts[JobState.CANCELLED]:
                said = True
                sys.stdout.write("everything has happened\n")
                sys.stdout.flush()
            if kind == 4:  # the one to be cancelled
                await anyio.sleep(0.001)
                job.cancel()


builder = HostBuilder(HostOptions(shutdown_timeout=TIMEOUT, backend=BACKEND, log_level="CRITICAL"))  # type: ignore[arg-type]
retry = again(2, 0.2)
queue = builder.add_service(JobQueue(concurrency=20, capacity=1000, retry=retry, on_lost=on_lost))
builder.add_service(Producer())
try:
    builder.build().run()
finally:
    counts = {state.value: count for state, count in queue.counts.items()}
    sys.stdout.write(
        f"accepted {accepted} done {done} lost {reported.total()} listed {len(queue.lost)} counts {counts}\n"
    )
