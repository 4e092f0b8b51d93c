"""What the manual on jobs shows works."""

import re
from datetime import UTC, datetime, timedelta
from inspect import isawaitable
from pathlib import Path

import pytest
from documents import run
from job_hosts import hosted

from hostkit.jobs import Job, JobQueue, Retry

MANUAL = (Path(__file__).parent.parent / "docs" / "jobs.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```$", MANUAL, re.MULTILINE | re.DOTALL)
ENQUEUING, WATCHING = MANUAL.split("## Watching and steering")
CALLS = re.findall(r"^\| `(queue\.[^`]+)` \|", ENQUEUING, re.MULTILINE)
ROWS = re.findall(r"^\| (`(?:await )?(?:queue|job)\..*?) \| ", WATCHING, re.MULTILINE)
STEPS = [step for row in ROWS for step in re.findall(r"`([^`]+)`", row)]


async def job(number: int) -> int:
    """Return the number."""
    return number


@pytest.mark.parametrize("call", CALLS)
async def test_every_call_that_is_shown_works(call: str) -> None:
    """Each way to enqueue that the manual shows gives a job."""
    queue = JobQueue()
    names = {"queue": queue, "job": job, "timedelta": timedelta, "datetime": datetime, "UTC": UTC, "Retry": Retry}

    async with hosted(queue):
        made = eval(call, names)  # noqa: S307  # our own manual
        given = await made if isawaitable(made) else made

    assert isinstance(given, Job)


@pytest.mark.parametrize("step", STEPS)
async def test_every_step_that_is_shown_works(step: str) -> None:
    """What the manual shows for watching and steering exists, and does not fail."""
    queue = JobQueue()

    async def fail() -> None:
        raise OSError

    async with hosted(queue):
        failed = await queue.enqueue(fail)
        await failed.wait()
        found = eval(step.removeprefix("await "), {"queue": queue, "job": failed})  # noqa: S307  # our own manual
        if isawaitable(found):
            await found

    assert (found is None) == (step.endswith(("(7)", "discard()", "pause()", "resume()")))


async def test_the_job_that_may_run_twice_does() -> None:
    """The example on idempotency charges once, however often it runs, and from whichever point it begins again."""
    names = run(next(block for block in BLOCKS if "idempotency_key" in block))
    queue, bank, orders = names["queue"], names["bank"], names["orders"]
    assert isinstance(queue, JobQueue)

    async with hosted(queue):
        for _ in range(2):
            await names["check_out"](123, 9.5)
        await queue.join()
        await names["check_out"](123, 9.5)
        await queue.join()
        orders.paid.clear()  # as if it had died before the last line
        await names["check_out"](123, 9.5)
        await queue.join()

    assert bank.payments == {"order-123": 9.5}
    assert sum(queue.counts.values()) == 3


def test_hangfires_delays_are_those_that_are_known() -> None:
    """The formula gives the delays that Hangfire's source gives: 15 to 44 s at first, nearly two hours at last."""
    delay = run(next(block for block in BLOCKS if "as_in_hangfire" in block))["as_in_hangfire"]
    bounds = [(15, 44), (16, 74), (31, 118), (96, 212), (271, 416), (640, 814), (1311, 1514), (2416, 2648)]
    bounds += [(4111, 4372), (6576, 6866)]

    assert callable(delay)
    for attempt, (least, most) in enumerate(bounds, 1):
        assert all(least <= delay(attempt) <= most for _ in range(50))


def test_the_tables_are_found() -> None:
    """The tables are found, so that nothing in them is left untested in silence."""
    assert len(CALLS) == ENQUEUING.count("| `queue.")
    assert len(STEPS) == 14
