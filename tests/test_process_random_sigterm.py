"""SIGTERM at random instants of a host's lifecycle: nothing is lost, and nothing is left half done.

``SIGTERM_TRIALS=10000 pytest tests/test_process_random_sigterm.py`` does more of it.
"""

import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack

import pytest
from children import Outcome, Running
from process_child import BACKENDS, ForkServer

pytestmark = pytest.mark.long

pytest_plugins = ["process_fixtures"]

TRIALS = int(os.environ.get("SIGTERM_TRIALS", "1000"))
# At a time; so many forks that the processors have something to do while some of the children wait.
BATCH = 8
# From the fork on; a child takes about a tenth of that until it is idle.
LATEST = 0.1


def is_complete(lines: list[str]) -> bool:
    """Tell whether a trace of ``traced`` is that of an ordered stop, however far the start had come."""
    if lines[-1:] != ["returned"]:
        return False
    events = [tuple(line.split()) for line in lines[:-1]]
    starts = [name for name, what in events if what == "start"]
    stops = [name for name, what in events if what == "stop"]
    # The last start may have been cut; who has been cut is not told and not stopped.
    started = starts if starts == stops[::-1] else starts[:-1]
    executed = {name for name, what in events if what == "execute"}
    told = [name for name, what in events if what == "told"]
    return (
        starts == list("abc")[: len(starts)] and stops == started[::-1] and told == [n for n in stops if n in executed]
    )


def judge(outcome: Outcome) -> str:
    """Return what came of a trial, or fail."""
    if outcome.code == -signal.SIGTERM and not outcome.output:
        return "died before it was there"
    if outcome.code == 0 and is_complete(outcome.output):
        return f"stopped in order after {sum(line.endswith('start') for line in outcome.output)} starts"
    pytest.fail(f"lost: {outcome}", pytrace=False)


@pytest.mark.parametrize("backend", BACKENDS)
def test_loses_nothing(fast_fork_server: ForkServer, backend: str, figure: Callable[[str], None]) -> None:
    """Whenever SIGTERM comes, the process dies of it with nothing begun, or stops all that has begun, in order."""
    seed = os.urandom(4).hex()
    chance = random.Random(seed)  # noqa: S311  # not for secrets
    found: Counter[str] = Counter()

    for _ in range(0, TRIALS // len(BACKENDS), BATCH):
        with ExitStack() as ends:
            due: list[tuple[float, Running]] = []
            for _ in range(BATCH):
                child = ends.enter_context(fast_fork_server.run("traced", backend))
                # Most trials where most happens.
                due.append((time.monotonic() + LATEST * chance.random() ** 2, child))
            for instant, child in sorted(due, key=lambda pair: pair[0]):
                time.sleep(max(0.0, instant - time.monotonic()))
                child.send(signal.SIGTERM)
            found.update(judge(child.ends()) for _, child in due)

    figure(f"{found.total()} trials: {', '.join(f'{count} {what}' for what, count in sorted(found.items()))}")
    # Each kind of instant was hit, or this would prove little.
    assert {"stopped in order after 0 starts", "stopped in order after 3 starts"} <= found.keys(), (seed, found)
