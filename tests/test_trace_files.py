"""How many files a reader passes through to follow what happens."""

import asyncio

from trace_files import Trace, start_and_stop

MOST_CHANGES = 40


def words(trace: Trace) -> str:
    """Return the way through the files, for a message."""
    return f"{trace.changes} changes: {' '.join(trace.files)}"


def test_a_start_and_a_stop_stay_within_few_files() -> None:
    """To follow one service's start, and its stop, a reader changes file at most forty times each."""
    start, stop = asyncio.run(start_and_stop())

    assert start.changes <= MOST_CHANGES, words(start)
    assert stop.changes <= MOST_CHANGES, words(stop)
