"""Every kind of service at every kind of stop, on every backend: the exit code, the order, and who is named."""

import signal
from contextlib import ExitStack

import pytest
from children import Running
from process_child import BACKENDS, ForkServer

pytest_plugins = ["process_fixtures"]

WAYS = ("SIGTERM", "SIGINT", "request", "second", "third")
# Of a service that does so: the exit code after one request, after a second signal, and whether it is to be named.
SITUATIONS = {
    "clean": (0, 1, False),
    "start-fails": (1, 1, False),
    "execute-fails": (1, 1, False),
    "stop-fails": (1, 1, False),
    "overruns": (1, 1, True),
    "swallows": (3, 3, True),
    "shielded": (3, 3, True),
    "in-thread": (3, 3, True),
    "blocks-in-python": (1, 1, True),
    "blocks-in-c": (1, 1, True),
}
BLOCKED = ("blocks-in-python", "blocks-in-c")


def tell(running: list[tuple[str, Running]], situation: str) -> None:
    """Ask children to stop, once or more often; side by side, as each has to wait between two signals."""
    for way, child in running:
        child.reads("ready")
        if way != "request":
            child.send(signal.SIGINT if way == "SIGINT" else signal.SIGTERM)
    third = [child for way, child in running if way == "third"]
    # The start that fails has ended before a second signal would count as one.
    second = [child for way, child in running if way == "second" and situation != "start-fails"]
    for child in second + third:
        child.reads("heard")
        child.settle()
    for child in second + third:
        child.send(signal.SIGINT)
    for child in third:
        child.settle()
    for child in third:
        child.send_until_it_ends(signal.SIGTERM)


def expected(situation: str, way: str, *, first: bool) -> set[int]:
    """Return the exit codes that are right."""
    after_one, after_second, _ = SITUATIONS[situation]
    # No signal handler runs while C code keeps the interpreter: only the dead-man, armed at the stop, ends that.
    if way == "third" and situation != "blocks-in-c":
        # Of two signals at one instant, either is the third.
        return {128 + signal.SIGTERM, 128 + signal.SIGINT} if first else {-signal.SIGTERM, -signal.SIGINT}
    return {after_second if way == "second" else after_one}


@pytest.mark.parametrize("first", [False, True], ids=["plain", "pid-1"])
@pytest.mark.parametrize("situation", SITUATIONS)
def test_ends_rightly_however_it_is_stopped(fast_fork_server: ForkServer, situation: str, *, first: bool) -> None:
    """Whatever a service does at the stop, the exit code is right, as PID 1 too, and who is stuck is named."""
    running: list[tuple[str, Running]] = []

    with ExitStack() as children:
        for way in WAYS:
            kind = way if way in ("request", "second", "third") else "signal"
            for backend in BACKENDS:
                try:
                    child = fast_fork_server.run("suspect", backend, situation, kind, first=first)
                    running.append((way, children.enter_context(child)))
                except PermissionError as error:
                    pytest.skip(f"NOT TESTED AS PID 1: this machine permits no namespace of processes ({error})")
        tell(running, situation)
        outcomes = [(way, started.ends()) for way, started in running]

    for way, outcome in outcomes:
        assert outcome.code in expected(situation, way, first=first), outcome
        if way != "third" or situation == "blocks-in-c":
            # The dump of a process in which no Python code runs any more tells the line, not the service.
            words = [] if situation == "blocks-in-c" else ["suspect"]
            assert outcome.tells_where(*words) is SITUATIONS[situation][2], outcome
            stops = [line for line in outcome.output if line.endswith(" stop")]
            complete = ["first stop"] if situation == "start-fails" else ["last stop", "first stop"]
            assert stops == (complete[: len(stops)] if situation in BLOCKED else complete), outcome
