"""What comes out of a host that owns its process: exit codes, order, errors."""

import importlib.util
import signal

import pytest
from process_child import BACKENDS, ForkServer

from hostkit import HostBuilder, HostOptions, HostStateError

pytest_plugins = ["process_fixtures"]

CRASHES = {
    "start": ["first start", "first told", "first stop"],
    # What comes after it may have been started by then, or not.
    "execute": ["first start", "suspect start", "suspect stop", "first told", "first stop"],
    "stop": [
        "first start",
        "suspect start",
        "suspect execute",
        "last start",
        "last told",
        "last stop",
        "first told",
        "first stop",
    ],
}


@pytest.mark.parametrize("hook", CRASHES)
def test_a_crash_stops_the_others(fork_server: ForkServer, hook: str) -> None:
    """A service that fails, in any hook, is told with its traceback; the others stop in order, the exit code is 1."""
    outcomes = fork_server.outcomes("crash", hook, ready="started 3 services" if hook == "stop" else None)

    for outcome in outcomes:
        assert outcome.code == 1
        others = [line for line in outcome.output if hook != "execute" or not line.startswith("last")]
        assert others == CRASHES[hook]
        assert f"service crasher failed: OSError('{hook} failed')\n    Traceback" in outcome.errors
        assert outcome.errors.count("Traceback") == 1
        assert "exit code 1" in outcome.errors


def test_shows_no_values_in_tracebacks(fork_server: ForkServer) -> None:
    """A traceback in the log shows no arguments and variables, which may be secrets."""
    outcomes = fork_server.outcomes("talkative", "text", ready=None) + fork_server.outcomes(
        "talkative", "json", ready=None
    )

    for outcome in outcomes:
        secret = outcome.output[1]
        assert secret.startswith("hunter")
        assert "self.sign_in(password)" in outcome.errors
        assert secret not in outcome.errors


EXITS = {
    "execute": ["first start", "ready", "first told", "first stop"],
    "start": ["first start", "first told", "first stop"],
    "thread": ["first start", "ready", "first told", "first stop"],
}


@pytest.mark.parametrize(
    ("what", "code", "error"),
    [
        ("7", {7}, "SystemExit(7)"),
        ("none", {0}, None),
        ("words", {1}, "SystemExit('no way')"),
        # The interpreter ends itself by the signal, and PID 1 with 130.
        ("interrupt", {-signal.SIGINT, 130}, "KeyboardInterrupt()"),
    ],
)
@pytest.mark.parametrize("where", EXITS)
def test_an_exit_is_an_ordered_stop(
    fork_server: ForkServer, where: str, what: str, code: set[int], error: str | None
) -> None:
    """`SystemExit` and `KeyboardInterrupt` out of a service stop the host in order, and then come out of ``run()``."""
    outcomes = fork_server.outcomes("exits", what, where, ready=None)

    for outcome in outcomes:
        assert outcome.code in code
        came_out = [] if error is None else [f"came out: {error} because of None"]
        assert outcome.output == EXITS[where] + came_out
        assert ("no way" in outcome.errors.splitlines()) is (what == "words")


def test_an_exit_while_stopping_counts_as_well(fork_server: ForkServer) -> None:
    """`SystemExit` out of a ``stop()`` gives its code, too."""
    outcomes = fork_server.outcomes("exits", "7", "stop", ready="started 3 services")

    for outcome in outcomes:
        assert outcome.code == 7
        assert outcome.output[-1] == "came out: SystemExit(7) because of None"


def test_an_exit_in_a_task_keeps_its_code(fork_server: ForkServer) -> None:
    """`SystemExit` in a task of a service's own gives its code; asyncio ends the loop over it, and all is cancelled."""
    outcomes = fork_server.outcomes("exits", "7", "task", ready=None)

    for outcome in outcomes:
        assert outcome.code == 7
        assert outcome.output[-2:] == ["first stop", "came out: SystemExit(7) because of None"]


def test_a_failure_wins_over_an_exit(fork_server: ForkServer) -> None:
    """When a service fails besides, the exit code is 1, and the cause is the failure."""
    outcomes = fork_server.outcomes("exits", "7", "execute-and-failure", ready=None)

    for outcome in outcomes:
        assert outcome.code == 1
        assert outcome.output[-1].startswith("came out: SystemExit(1) because of HostFailedError(")


def test_a_request_can_give_the_exit_code(fork_server: ForkServer) -> None:
    """``request_stop(exit_code=5)`` is the exit code of a host in which nothing failed."""
    outcomes = fork_server.outcomes("exits", "5", "nowhere", ready=None)

    for outcome in outcomes:
        assert outcome.code == 5
        assert outcome.output[-1] == "came out: SystemExit(5) because of None"
        assert "stopping: asked" in outcome.errors


# Where nothing was said of logging, the host has set it up: loguru's own lines look different.
OWN_LINE = "| hostkit | stopped in "


@pytest.mark.parametrize(
    ("end", "code"), [("clean", 0), ("fails", 1), ("stuck", 3)], ids=["stopped", "failed", "abandoned"]
)
def test_runs_in_a_loop_that_is_there(fork_server: ForkServer, end: str, code: int) -> None:
    """`Host.run_async` under ``asyncio.run`` or ``trio.run`` takes the signals, and returns the exit code or leaves."""
    outcomes = fork_server.outcomes("run-async", end, ready=None if end == "fails" else "started 2 services")

    for outcome in outcomes:
        assert outcome.code == code
        assert OWN_LINE in outcome.errors
        assert outcome.output[-1 if end == "stuck" else -3] == "first stop"
        if end == "stuck":
            assert outcome.tells_where("'deaf'", "leaving the process with exit code 3")
        else:
            assert outcome.output[-2] == "handlers restored: True"
            assert outcome.output[-1].startswith(f"returned {code}, failure {'HostFailedError' if code else 'None'}")


def test_refuses_to_run_elsewhere(fork_server: ForkServer) -> None:
    """`Host.run` is refused in another thread, in a running event loop and for a started host, and says what to do."""
    outcomes = fork_server.outcomes("misuse", ready=None)

    for outcome in outcomes:
        assert outcome.code == 0
        refusals = [line for line in outcome.output if ": " in line]
        assert [line.partition(";")[0] for line in refusals] == [
            "in a thread: run() has to be called in the main thread",
            "in a loop: run() cannot be called in a running event loop",
            "in a callback: run() cannot be called in a running event loop",
            "started: the host is started: it can be started when it is new or has stopped",
        ]
        assert outcome.output[-1] == "first stop"


def test_waits_in_its_loop_with_nothing_to_do(fork_server: ForkServer) -> None:
    """The loop is the backend's; a host without a loop of its services' own says that it waits to be stopped."""
    outcomes = fork_server.outcomes(
        "resources", ready="no service has anything left to do; the host waits to be stopped"
    )

    assert [outcome.code for outcome in outcomes] == [0] * len(BACKENDS)
    assert [outcome.output for outcome in outcomes] == [[f"a loop of {backend}'s"] for backend in BACKENDS]
    assert all(OWN_LINE in outcome.errors for outcome in outcomes)


def test_a_process_has_one_owner_at_a_time(fork_server: ForkServer) -> None:
    """A second `Host.run` or `run_async` is refused: its signals would be the first one's. A fork has no owner."""
    outcomes = fork_server.outcomes("two-owners", ready=None)

    for outcome in outcomes:
        assert outcome.code == 0
        said = [line for line in outcome.output if not line.startswith("first")]
        assert said[0].startswith("refused: another host owns this process already")
        assert said[1:] == ["started", "fork ended with 0", "again"]


def test_runs_once(fork_server: ForkServer) -> None:
    """`Host.run` is for once."""
    outcomes = fork_server.outcomes("twice")

    for outcome in outcomes:
        assert outcome.code == 0
        assert outcome.output[-1].startswith("again: the host was run already")


def test_takes_no_signals_in_another_thread(fork_server: ForkServer) -> None:
    """`Host.run_async` in another thread says that it takes no signals, and can be stopped all the same."""
    outcomes = fork_server.outcomes("run-async-in-thread")

    for outcome in outcomes:
        assert outcome.code == 0
        assert outcome.output == ["first start", "ready", "first told", "first stop", "returned [0]"]
        assert "not in the main thread: the host takes no signals" in outcome.errors
        assert "stopping: the app's own handler" in outcome.errors


def test_names_the_extra_of_a_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    """A backend that is not installed is named with the extra that installs it, before anything is begun."""
    builder = HostBuilder(HostOptions(backend="trio"))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)

    with pytest.raises(HostStateError, match=r"backend 'trio' is not installed; install hostkit-py\[trio\]"):
        builder.build().run()


def test_leaves_nothing_after_many_runs(fast_fork_server: ForkServer) -> None:
    """A hundred hosts run in one process, one after the other, leave no thread, descriptor or handler behind."""
    outcomes = fast_fork_server.outcomes("many-runs", ready=None)

    for outcome in outcomes:
        assert outcome.code == 0
        assert outcome.output == ["nothing left: True"]


def test_does_not_wake_up_when_idle(fork_server: ForkServer) -> None:
    """In two seconds no thread of an idle host is woken up: not for timers, signals or services."""
    outcomes = fork_server.outcomes("idle", ready=None)

    for outcome in outcomes:
        assert outcome.code == 0
        assert outcome.output == ["wake-ups: 0"]


def test_the_first_exit_code_that_was_asked_for_wins(fork_server: ForkServer) -> None:
    """The process ends with the code that the log names, also where a service exits with another one later."""
    for outcome in fork_server.outcomes("two-exits", ready=None):
        assert outcome.code == 5
        assert "exit code 5" in outcome.errors
