"""How many files a reader passes through to follow what happens."""

import asyncio

from trace_files import Trace, measure

MOST_CHANGES = 40
MOST_CHANGES_OF_A_JOB = 30


def words(trace: Trace) -> str:
    """Return the way through the files, for a message."""
    return f"{trace.changes} changes: {' '.join(trace.files)}"


def test_what_happens_stays_within_few_files() -> None:
    """To follow one service's start, and its stop, a reader changes file at most forty times each; a job, thirty."""
    traces = asyncio.run(measure())

    assert traces["start"].changes <= MOST_CHANGES, words(traces["start"])
    assert traces["stop"].changes <= MOST_CHANGES, words(traces["stop"])
    assert traces["job"].changes <= MOST_CHANGES_OF_A_JOB, words(traces["job"])
