"""Signals on real processes: what the first, second and third do, and when they come too early."""

import os
import shutil
import signal
import sys
import time
from pathlib import Path

import pytest
from children import Child
from process_child import BACKENDS, UNSHARE, ForkServer, app, child_of

pytest_plugins = ["process_fixtures"]

ORDERLY = ["first start", "ready", "first told", "first stop"]
# A module that waits, as if its imports took long, until a signal has been seen; its service must never run.
SLOW_MODULE = """
import os, signal
from hostkit import HostBuilder

reading, writing = os.pipe()
os.set_blocking(writing, False)
signal.set_wakeup_fd(writing)
os.write(1, b"importing\\n")
os.read(reading, 1)
signal.set_wakeup_fd(-1)
builder = HostBuilder()

@builder.service()
async def worker(stopping_token):
    os.write(1, b"started\\n")

host = builder.build()
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("backend", BACKENDS)
def test_stops_an_idle_host(backend: str, number: int) -> None:
    """SIGTERM and SIGINT stop an idle host in order, with exit code 0."""
    with Child(*app("handlers", backend, "none"), apart=True) as child:
        child.reads("ready")
        child.send(number)
        outcome = child.ends()

    assert outcome.code == 0
    assert outcome.output[:4] == ORDERLY
    assert f"stopping: signal {signal.Signals(number).name}" in outcome.errors
    assert "exit code 0" in outcome.errors


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("case", "code"), [("handlers", 0), ("in-thread", 143)])
def test_stops_the_first_process_of_a_container(backend: str, case: str, code: int) -> None:
    """As PID 1, from which the kernel keeps signals that it does not handle, a host stops as well, and can be left."""
    program = shutil.which("unshare")
    if program is None:
        pytest.skip("NOT TESTED AS PID 1: there is no command unshare")
    arguments = [case, backend, "none"] if case == "handlers" else ["suspect", backend, case, "third"]
    with Child(*UNSHARE, *app(arguments[0], *arguments[1:]), apart=True) as outer:
        if not outer.says("ready"):
            pytest.skip(f"NOT TESTED AS PID 1: {outer.ends().errors.strip()}")
        inner = child_of(outer.pid)
        outer.send(signal.SIGTERM, to=inner)
        if case == "in-thread":
            outer.reads("heard")
            outer.send(signal.SIGINT, to=inner)
            outer.reads("cancelled")
            outer.send_until_it_ends(signal.SIGTERM, to=inner)
        outcome = outer.ends()

    assert outcome.code == code


@pytest.mark.parametrize("backend", BACKENDS)
def test_finishes_what_it_does(fork_server: ForkServer, backend: str) -> None:
    """A signal in the middle of an iteration lets it be finished, and there is no further one."""
    with fork_server.run("iteration", backend) as child:
        child.reads("iteration begins")
        child.send(signal.SIGTERM)
        outcome = child.ends()

    assert outcome.code == 0
    assert outcome.output == ["first start", "iteration begins", "iteration ends", "first told", "first stop"]


@pytest.mark.parametrize("backend", BACKENDS)
def test_cuts_a_start_short(fork_server: ForkServer, backend: str) -> None:
    """A signal during a start of 3 s ends it, stops what had started in reverse order, and starts nothing more."""
    with fork_server.run("starting", backend) as child:
        child.reads("slow starting")
        child.send(signal.SIGTERM)
        outcome = child.ends()

    assert outcome.code == 0
    assert outcome.output[:3] == ["first start", "second start", "slow starting"]
    assert outcome.output[3:] == ["second told", "second stop", "first told", "first stop"]


@pytest.mark.parametrize("backend", BACKENDS)
def test_hears_a_signal_that_comes_to_another_thread(fork_server: ForkServer, backend: str) -> None:
    """A signal wakes the event loop even when the kernel gives it to another thread, or just before the loop waits."""
    with fork_server.run("deaf-main-thread", backend) as child:
        child.reads("ready")
        child.send(signal.SIGTERM)
        outcome = child.ends()

    assert outcome.code == 0
    assert outcome.output == ORDERLY


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_forked_child_is_not_the_host(fork_server: ForkServer, backend: str) -> None:
    """A child process that a service has forked ends by its first signal, as if there were no host."""
    with fork_server.run("forks", backend) as child:
        child.reads("forked", "pid ")
        child.send(signal.SIGTERM, to=int(child.line("pid ").split()[1]))
        child.reads("ready")
        child.send(signal.SIGTERM)
        outcome = child.ends()

    assert outcome.code == 0
    assert "child ended with -15" in outcome.output
    assert outcome.output[-1] == "first stop"


@pytest.mark.parametrize("numbers", [[signal.SIGTERM], [signal.SIGINT], [signal.SIGINT, signal.SIGTERM]])
def test_starts_nothing_after_a_signal_during_the_import(tmp_path: Path, numbers: list[int]) -> None:
    """A signal that comes while ``hostkit run`` imports the module starts nothing, and is exit code 0."""
    (tmp_path / "slow.py").write_text(SLOW_MODULE, encoding="utf-8")

    with Child(sys.executable, "-m", "hostkit", "run", "slow", cwd=tmp_path, apart=True) as child:
        child.reads("importing")
        child.send(*numbers)
        outcome = child.ends()

    assert outcome.code == 0
    assert outcome.output == ["importing"]
    assert "stopping: signal" in outcome.errors


def test_a_third_signal_ends_even_the_import(tmp_path: Path) -> None:
    """A module whose import hangs can be ended like anything else: the third signal is not to be survived."""
    source = "import os, time\nos.write(1, b'importing\\n')\nwhile True:\n    time.sleep(0.01)\n"
    (tmp_path / "stuck.py").write_text(source, encoding="utf-8")

    with Child(sys.executable, "-m", "hostkit", "run", "stuck.py", cwd=tmp_path, apart=True) as child:
        child.reads("importing")
        child.send(signal.SIGTERM, signal.SIGINT)
        child.send_until_it_ends(signal.SIGTERM)
        outcome = child.ends()

    assert outcome.code in (-signal.SIGTERM, -signal.SIGINT)


@pytest.mark.parametrize("kind", ["own", "none"])
@pytest.mark.parametrize("backend", BACKENDS)
def test_puts_the_handlers_back(fork_server: ForkServer, backend: str, kind: str) -> None:
    """After `Host.run` the previous signal handlers are back, and no thread of the host's is left."""
    with fork_server.run("handlers", backend, kind) as child:
        child.reads("ready")
        child.send(signal.SIGTERM)
        outcome = child.ends()

    assert outcome.code == 0
    assert outcome.output[4:] == ["restored: [True, True, True]", "taken: False", "threads: 1"]


@pytest.mark.parametrize("backend", BACKENDS)
def test_takes_back_a_signal_that_a_service_has_taken(fork_server: ForkServer, backend: str) -> None:
    """A handler that a service has installed gives way when the service has ended, and the log names the service."""
    with fork_server.run("handlers", backend, "taken") as child:
        child.reads("ready")
        child.send(signal.SIGTERM)
        outcome = child.ends()

    assert outcome.code == 0
    assert outcome.output[4:] == ["restored: [True, True, True]", "taken: False", "threads: 1"]
    (line,) = [line for line in outcome.errors.splitlines() if "SIGUSR1" in line]
    assert line.endswith("taken")
    assert (
        "| WARNING  | taker | the host receives SIGUSR1 again, which went to process_owners.handlers.<locals>" in line
    )


@pytest.mark.parametrize("backend", BACKENDS)
def test_takes_back_a_signal_before_a_restart(fork_server: ForkServer, backend: str) -> None:
    """A handler that a run has installed gives way when the run has failed, before the next one begins."""
    with fork_server.run("takes-and-fails", backend) as child:
        child.reads("ready")
        child.send(signal.SIGTERM)
        outcome = child.ends()

    assert outcome.code == 0
    assert outcome.output == ["taken: False", "ready"]
    assert "| WARNING  | taker | the host receives SIGUSR1 again, which went to" in outcome.errors


@pytest.mark.parametrize("backend", BACKENDS)
def test_shows_its_status(fork_server: ForkServer, backend: str) -> None:
    """SIGUSR1 prints the status and the line of every service to standard error, and changes nothing."""
    with fork_server.run("dump", backend, "SIGUSR1") as child:
        child.reads("settled", "started 3 services")
        child.send(signal.SIGUSR1)
        child.reads("worker    ")
        child.send(signal.SIGTERM)
        outcome = child.ends()

    assert outcome.code == 0
    assert "app: started, ready, healthy\n" in outcome.errors
    assert outcome.tells_where("worker", "started")
    assert outcome.tells_where("blocking", "started")
    assert "in Neighbour.execute" in outcome.errors


def test_shows_where_a_service_blocks(fork_server: ForkServer) -> None:
    """The status shows the line of a service that keeps the event loop from turning, too."""
    with fork_server.run("time-sleep", "asyncio") as child:
        child.reads("settled")
        child.send(signal.SIGUSR1)
        child.reads("sleeper  ")
        child.send(signal.SIGTERM)
        outcome = child.ends()

    assert outcome.tells_where("sleeper", "started")


@pytest.mark.parametrize(("name", "number", "code"), [("SIGQUIT", signal.SIGQUIT, 0), ("none", signal.SIGUSR1, -10)])
def test_takes_another_signal_for_the_status(fork_server: ForkServer, name: str, number: int, code: int) -> None:
    """The option ``dump_signal`` names another signal, or none: then the host leaves it alone."""
    with fork_server.run("dump", "asyncio", name) as child:
        child.reads("settled", "started 3 services")
        child.send(number)
        if not code:
            child.reads("app: started, ready, healthy")
            child.send(signal.SIGTERM)
        outcome = child.ends()

    assert outcome.code == code


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_stop_may_be_delayed(fork_server: ForkServer, backend: str) -> None:
    """With a stop delay the first signal makes the host not ready, the second ends the delay, the third cancels."""
    with fork_server.run("delayed", backend) as child:
        child.reads("ready")
        child.send(signal.SIGTERM)
        child.reads("announced")
        child.send(signal.SIGTERM)
        child.reads("stopping\n")
        child.send(signal.SIGTERM)
        outcome = child.ends()

    assert outcome.code == 1
    assert "announced, ready False, state started" in outcome.output
    assert "stopping in 60 s: signal SIGTERM" in outcome.errors
    assert "stopping: signal SIGTERM" in outcome.errors


@pytest.mark.parametrize("kind", ["loop", "handler"])
@pytest.mark.parametrize("backend", BACKENDS)
def test_takes_back_what_a_library_has_taken(fork_server: ForkServer, backend: str, kind: str) -> None:
    """A library that takes the stop signals inside a service is named when it has ended, and the next signal stops."""
    with fork_server.run("takes-signals", backend, kind) as child:
        child.reads("bot has the signals")
        child.send(signal.SIGTERM)
        child.reads("library got SIGTERM")
        child.send(signal.SIGTERM)
        outcome = child.ends()

    assert outcome.code == 0
    # trio itself puts back what was there before.
    assert ("| WARNING  | bot | the host receives SIG" in outcome.errors) == ((backend, kind) != ("trio", "loop"))
    assert "stopping: signal SIGTERM" in outcome.errors


# trio's own loop is ended by it, and all tasks with it, without a word.
@pytest.mark.parametrize("backend", [backend for backend in BACKENDS if backend != "trio"])
def test_a_loop_that_ends_by_an_exception_has_no_exit_code_of_the_hosts(fork_server: ForkServer, backend: str) -> None:
    """Where Ctrl-C ends the loop itself, the log does not speak of exit code 0."""
    with fork_server.run("interrupted-loop", backend) as child:
        child.reads("ready")
        child.send(signal.SIGINT)
        outcome = child.ends()

    assert outcome.code in (-signal.SIGINT, 130)
    assert "stopped in " in outcome.errors
    assert "exit code 0" not in outcome.errors


@pytest.mark.parametrize("backend", BACKENDS)
def test_an_interrupt_of_a_pool_is_an_echo(backend: str) -> None:
    """One Ctrl-C reaches the processes of a pool as well; what comes back from them is no second request to exit."""
    with Child(*app("pool", backend, "plain"), apart=True) as child:
        child.reads("ready")
        os.killpg(child.pid, signal.SIGINT)
        outcome = child.ends()

    assert outcome.code == 0
    assert "raised KeyboardInterrupt" in outcome.errors


@pytest.mark.parametrize(("protected", "code"), [("plain", 1), ("protected", 0)])
def test_a_pool_that_is_ended_by_the_signal_is_explained(protected: str, code: int) -> None:
    """SIGTERM to the process group breaks a pool, which is said in words, unless its processes ignore it."""
    with Child(*app("pool", "asyncio", protected), apart=True) as child:
        child.reads("ready")
        os.killpg(child.pid, signal.SIGTERM)
        outcome = child.ends()

    assert outcome.code == code
    assert ("a signal to the whole process group ends the worker processes too" in outcome.errors) == bool(code)
    assert ("worked" in outcome.output) == (not code)


@pytest.mark.parametrize("backend", BACKENDS)
def test_needs_no_descriptors_in_trouble(fork_server: ForkServer, backend: str) -> None:
    """With no descriptor left the status is printed, and the stop goes in order."""
    with fork_server.run("no-descriptors", backend) as child:
        child.reads("ready")
        child.send(signal.SIGUSR1)
        child.reads("greedy ")
        child.send(signal.SIGTERM)
        outcome = child.ends()

    assert outcome.code == 0
    assert outcome.output[-3:] == ["told", "first told", "first stop"]
    assert "no status" not in outcome.errors


def test_the_third_signal_says_so_and_flushes(fork_server: ForkServer) -> None:
    """The signal that leaves the process says so on standard error, and what print has buffered is written."""
    with fork_server.run("chatty", "asyncio") as child:
        child.reads("ready")
        child.send(signal.SIGTERM, signal.SIGTERM)
        child.send_until_it_ends(signal.SIGTERM)
        outcome = child.ends()

    assert outcome.code == -signal.SIGTERM
    assert outcome.output[-1] == "buffered"
    assert "hostkit: one more SIGTERM: leaving the process at once, nothing is waited for" in outcome.errors


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_signal_after_the_end_changes_nothing(backend: str) -> None:
    """Where the process ends with the host, a signal after the host has stopped does not kill it."""
    with Child(*app("after-the-end", backend), apart=True) as child:
        outcome = child.ends()

    assert outcome.code == 0
    assert outcome.output == ["late", "late"]


def test_the_status_may_be_asked_for_while_a_target_is_loaded(tmp_path: Path) -> None:
    """SIGUSR1 while `hostkit run` imports the target does not kill the process."""
    (tmp_path / "slow.py").write_text(SLOW_MODULE, encoding="utf-8")
    with Child(sys.executable, "-m", "hostkit", "run", "slow", cwd=tmp_path, apart=True) as child:
        child.reads("importing")
        child.send(signal.SIGUSR1)
        child.reads("started 1 service")
        child.send(signal.SIGTERM)
        outcome = child.ends()

    assert outcome.code == 0
    assert "hostkit: no status yet: the target is being loaded\n" in outcome.errors


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_process_that_was_paused_is_left_with_a_report(fork_server: ForkServer, backend: str) -> None:
    """A process that is paused past its deadlines in the middle of a stop names what it waited for, when it goes on."""
    with fork_server.run("suspect", backend, "shielded", "signal") as child:
        child.reads("ready")
        child.send(signal.SIGTERM)
        child.reads("heard")
        os.kill(child.pid, signal.SIGSTOP)
        time.sleep(3)
        os.kill(child.pid, signal.SIGCONT)
        outcome = child.ends()

    assert outcome.code == 3
    assert outcome.tells_where("suspect", "leaving the process with exit code 3")
    assert "most recent call first" not in outcome.errors
