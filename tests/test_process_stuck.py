"""Nobody hangs the process: services, threads and C code that do not end, on real processes."""

import signal

import pytest
from process_child import BACKENDS, ForkServer

pytest_plugins = ["process_fixtures"]

# Those whose threads hold the interpreter's exit; trio's are daemons.
HOLDING = [backend for backend in BACKENDS if backend != "trio"]


def test_leaves_a_blocking_service_behind(fork_server: ForkServer) -> None:
    """A `ThreadService` that goes on past the budgets is named, and the process left with exit code 3."""
    outcomes = fork_server.outcomes("thread-service")

    for outcome in outcomes:
        assert outcome.code == 3
        assert outcome.tells_where("'deaf'", "abandoned", "leaving the process with exit code 3")
        assert outcome.output[-1] == "first stop"


@pytest.mark.parametrize(("case", "service"), [("time-sleep", "sleeper"), ("spin", "spinner")])
def test_leaves_a_blocked_loop(fork_server: ForkServer, case: str, service: str) -> None:
    """A service that sleeps or computes in the event loop is named, and the process left with exit code 1."""
    outcomes = fork_server.outcomes(case, ready="settled")

    for outcome in outcomes:
        assert outcome.code == 1
        assert outcome.tells_where(f"service {service!r} blocks the event loop", "leaving the process with exit code 1")


def test_leaves_a_blocked_loop_whose_stop_was_announced(fork_server: ForkServer) -> None:
    """With a ``stop_delay`` the time for the stop begins after it, also where the loop never hears of either."""
    outcomes = fork_server.outcomes("delayed-sleep", ready="settled")

    for outcome in outcomes:
        assert outcome.code == 1
        assert outcome.tells_where("service 'sleeper' blocks the event loop", "leaving the process with exit code 1")


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_second_signal_leaves_a_blocked_loop(fork_server: ForkServer, backend: str) -> None:
    """Of the time for a stop, a second signal leaves the cancellation timeout; what was written is not lost."""
    with fork_server.run("patient-sleep", backend) as child:
        child.reads("settled")
        child.send(signal.SIGTERM, signal.SIGINT)
        outcome = child.ends()

    assert outcome.code == 1
    assert outcome.tells_where("service 'sleeper' blocks the event loop", "leaving the process with exit code 1")
    assert outcome.output == ["first start", "settled", "not flushed"]


@pytest.mark.parametrize("case", ["long-c-call", "long-c-calls"])
def test_leaves_a_long_call_in_c(fork_server: ForkServer, case: str) -> None:
    """Calls in C that let Python run never again, or now and then, are ended with exit code 1, and named."""
    outcomes = fork_server.outcomes(case)

    for outcome in outcomes:
        assert outcome.code == 1
        assert outcome.tells_where("process_stuck.py", "computer")


def test_waits_for_a_loop_that_frees_itself(fork_server: ForkServer) -> None:
    """A loop that is blocked for a part of the budget costs nobody anything."""
    outcomes = fork_server.outcomes("blocked-for-a-while")

    for outcome in outcomes:
        assert outcome.code == 0
        assert outcome.output == ["first start", "ready", "heard", "free again", "first told", "first stop"]


@pytest.mark.parametrize("kind", ["in-python", "in-c"])
def test_leaves_a_loop_that_hangs(fork_server: ForkServer, kind: str) -> None:
    """With ``hang_timeout`` a loop that stands still for that long ends the process, though nobody asked for a stop."""
    outcomes = fork_server.outcomes("hang", kind, ready=None)

    for outcome in outcomes:
        assert outcome.code == 1
        assert outcome.output == ["first start", "ready"]
        assert outcome.tells_where(*["service 'blocker' blocks the event loop"] if kind == "in-python" else ["blocker"])


def test_a_hang_timeout_lets_a_healthy_host_be(fork_server: ForkServer) -> None:
    """A loop that turns is left alone for several times the ``hang_timeout``, and so is a thread after its end."""
    outcomes = fork_server.outcomes("hang", "not")

    for outcome in outcomes:
        assert outcome.code == 0
        assert outcome.output == ["first start", "ready", "first told", "first stop", "late thread", "returned"]


def test_leaves_a_service_that_nobody_reads(fork_server: ForkServer) -> None:
    """Standard error that nobody reads blocks what writes to it, but not the end of the process."""
    outcomes = fork_server.outcomes("floods", unread=True, ready="settled")

    for outcome in outcomes:
        assert outcome.code == 1


@pytest.mark.parametrize("kind", ["abandon", "asyncio"])
def test_leaves_the_threads_of_cancelled_calls(fork_server: ForkServer, kind: str) -> None:
    """A thread whose caller was cancelled holds the interpreter's exit: it is named, and the exit code is 3."""
    outcomes = fork_server.outcomes("leftover", kind, backends=HOLDING)

    for outcome in outcomes:
        assert outcome.code == 3
        assert outcome.output == ["first start", "ready", "first told", "first stop"]
        assert outcome.tells_where("still running after the stop: thread", "leaving the process with exit code 3")


@pytest.mark.needs("trio")
def test_lets_daemon_threads_be(fork_server: ForkServer) -> None:
    """A thread of trio's holds nothing up: the exit code is that of a service that had to be cancelled."""
    with fork_server.run("leftover", "trio", "abandon") as child:
        child.reads("ready")
        child.send(signal.SIGTERM)
        outcome = child.ends()

    assert outcome.code == 1
    assert "still running" not in outcome.errors


def test_leaves_a_busy_pool(fork_server: ForkServer) -> None:
    """A pool of threads that a service has left at work is given the rest of the budget, then named and left."""
    outcomes = fork_server.outcomes("leftover", "busy-pool")

    for outcome in outcomes:
        assert outcome.code == 3
        assert outcome.tells_where("stopped, but waiting for thread 'ThreadPoolExecutor-0_0'")
        assert outcome.tells_where("still running after the stop: thread 'ThreadPoolExecutor-0_0'")


def test_leaves_a_task_of_the_loop_itself(fork_server: ForkServer) -> None:
    """A task that nobody awaits, deaf to its cancellation, holds the end of asyncio's loop: the exit code is 3."""
    outcomes = fork_server.outcomes("leftover", "task", backends=HOLDING)

    for outcome in outcomes:
        assert outcome.code == 3
        assert outcome.output == ["first start", "ready", "first told", "first stop"]
        assert "still running after the stop: the event loop" in outcome.errors


def test_a_second_signal_shortens_the_wait_for_threads(fork_server: ForkServer) -> None:
    """A second signal leaves what a thread needs no longer than the time in which cancelled services may end."""
    with fork_server.run("leftover", "asyncio", "held") as child:
        child.reads("ready")
        child.send(signal.SIGTERM)
        child.reads("but waiting for")
        child.send(signal.SIGINT)
        outcome = child.ends()

    assert outcome.code == 3


@pytest.mark.parametrize("kind", ["idle-pool", "before", "finishing"])
def test_waits_for_no_other_thread(fork_server: ForkServer, kind: str) -> None:
    """An idle pool, and a thread from before, are left to the app; a thread that ends in time is waited for."""
    outcomes = fork_server.outcomes("leftover", kind)

    for outcome in outcomes:
        assert outcome.code == 0
        assert outcome.output[4:] == (["finished", "returned"] if kind == "finishing" else ["returned"])
        assert ("waiting for thread 'finishing'" in outcome.errors) is (kind == "finishing")


def test_leaves_threads_to_the_app(fork_server: ForkServer) -> None:
    """Sixty blocking services take none of the threads that anyio keeps for the app's own calls."""
    outcomes = fork_server.outcomes("sixty-threads", ready=None)

    for outcome in outcomes:
        assert outcome.code == 0
        assert outcome.output == ["60", "all done"]


def test_counts_the_budget_from_the_request(fork_server: ForkServer) -> None:
    """A request from another thread, in an event loop that has slept for longer than the budget, has all of it."""
    outcomes = fork_server.outcomes("late-request", ready=None)

    for outcome in outcomes:
        assert outcome.code == 0
        assert outcome.output == ["drained"]


def test_takes_budgets_of_any_length(fork_server: ForkServer) -> None:
    """A budget may be longer than any clock can count."""
    outcomes = fork_server.outcomes("long-budgets")

    for outcome in outcomes:
        assert outcome.code == 0
        assert outcome.output == ["first start", "ready", "first told", "first stop"]
