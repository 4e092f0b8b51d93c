"""What the manual on jobs shows works."""

import re
from datetime import UTC, datetime, timedelta
from inspect import isawaitable
from pathlib import Path

import pytest
from job_hosts import hosted

from hostkit.jobs import Job, JobQueue, Retry

MANUAL = (Path(__file__).parent.parent / "docs" / "jobs.md").read_text(encoding="utf-8")
CALLS = re.findall(r"^\| `(queue\.[^`]+)` \|", MANUAL, re.MULTILINE)


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


def test_the_calls_are_found() -> None:
    """The table is found, so that none is left untested in silence."""
    assert len(CALLS) == MANUAL.count("| `queue.") > 3
