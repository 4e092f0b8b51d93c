"""Signal handlers in detail. What they do to a process is told by `test_process_signals`."""

import gc
import io
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import anyio
import pytest

from hostkit._process import signals as _signals
from hostkit._process.signals import Signals, error_descriptor, leave_by_signal, write_error


class Receiver:
    """What takes the signals, and keeps them."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    def ask(self, reason: str) -> None:
        self.heard.append(reason)

    def force(self) -> None:
        self.heard.append("force")


@contextmanager
def handler_of_the_app(number: int) -> Iterator[list[int]]:
    """Have a handler of the app's own, and yield what it has got."""
    heard: list[int] = []
    before = signal.signal(number, lambda number, _frame: heard.append(number))
    try:
        yield heard
    finally:
        signal.signal(number, before)


def test_keeps_what_comes_too_early() -> None:
    """Signals that come before there is a host are handed to it when it is there."""
    receiver = Receiver()

    with Signals() as signals:
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGINT)
        signals.attach(receiver)

    assert receiver.heard == ["signal SIGTERM", "force"]


def test_tells_two_apart_of_which_one_comes_inside_the_other() -> None:
    """A signal in the middle of another one's handler is the second, whoever is passed on first."""

    class Interrupted(list[int]):
        def append(self, number: int) -> None:
            super().append(number)
            if len(self) == 1:
                signal.raise_signal(signal.SIGINT)

    receiver = Receiver()

    with Signals() as signals:
        signals.attach(receiver)
        signals._received = Interrupted()
        signal.raise_signal(signal.SIGTERM)

    assert receiver.heard == ["signal SIGINT", "force"]


def test_puts_back_what_was_there() -> None:
    """Afterwards the app's own handler hears again."""
    with handler_of_the_app(signal.SIGTERM) as heard:
        with Signals():
            signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)

    assert heard == [signal.SIGTERM]


def test_puts_back_the_default_for_a_handler_of_somebody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    """A handler that was not installed by Python cannot be put back; the default stands in."""
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.getsignal(number) for number in numbers]
    install = signal.signal
    signals = Signals()

    with monkeypatch.context() as patch:
        patch.setattr(signal, "signal", lambda number, handler: install(number, handler) and None)
        signals.__enter__()
    signals.__exit__(None, None, None)
    after = [install(number, handler) for number, handler in zip(numbers, before, strict=True)]

    assert after == [signal.SIG_DFL, signal.SIG_DFL]


def test_a_fork_has_no_host(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a forked process a signal does what it would do without the host."""
    receiver = Receiver()

    with handler_of_the_app(signal.SIGTERM) as heard, Signals() as signals:
        signals.attach(receiver)
        monkeypatch.setattr(os, "getpid", lambda: -1)
        signal.raise_signal(signal.SIGTERM)

    assert heard == [signal.SIGTERM]
    assert receiver.heard == []


def test_an_error_in_the_status_comes_to_standard_error(capfd: pytest.CaptureFixture[str]) -> None:
    """A status that fails does not fail whatever the main thread does at that moment."""

    def dump() -> None:
        message = "no status today"
        raise ValueError(message)

    with Signals() as signals:
        signals.on_dump("SIGUSR1", dump)
        signal.raise_signal(signal.SIGUSR1)

    assert capfd.readouterr().err == "hostkit: no status: ValueError('no status today')\n"


@pytest.mark.parametrize("name", [None, "SIGNOSUCH"])
def test_takes_no_signal_for_the_status(name: str | None) -> None:
    """Without a name, or with one that the platform does not know, no handler is installed."""
    before = signal.getsignal(signal.SIGUSR1)

    with Signals() as signals:
        signals.on_dump(name, gc.enable)

        assert signal.getsignal(signal.SIGUSR1) == before


def test_leaves_with_a_code_where_no_signal_kills(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that the signal does not end, as PID 1, is left with 128 and the signal's number."""
    codes: list[int] = []
    monkeypatch.setattr(os, "_exit", codes.append)

    leave_by_signal(signal.SIGURG)

    assert codes == [128 + signal.SIGURG]


@pytest.mark.real_time
async def test_wakes_the_loop() -> None:
    """The descriptor that wakes the loop is there while it is wanted, unless the loop has one; others are put back."""
    before = signal.set_wakeup_fd(-1)
    signal.set_wakeup_fd(before)
    reading, writing = os.pipe()
    os.set_blocking(writing, False)

    async with anyio.create_task_group() as group:
        group.start_soon(Signals().wake_loop)
        await anyio.wait_all_tasks_blocked()
        now = signal.set_wakeup_fd(before if before != -1 else writing)
        group.cancel_scope.cancel()
    after = signal.set_wakeup_fd(before)
    os.close(reading)
    os.close(writing)

    # trio has its own, which is left alone; on asyncio somebody else had taken over in the end.
    assert (now == before) is (before != -1)
    assert after == (before if before != -1 else writing)


# trio has its own descriptor, which does warn.
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.real_time
async def test_a_flood_of_signals_is_no_noise(capfd: pytest.CaptureFixture[str]) -> None:
    """While the loop is blocked more signals may come than the descriptor that wakes it can hold."""
    heard: list[int] = []

    with Signals() as signals:
        signals.on_dump("SIGUSR1", lambda: heard.append(signal.SIGUSR1))
        async with anyio.create_task_group() as group:
            group.start_soon(signals.wake_loop)
            await anyio.wait_all_tasks_blocked()
            for _ in range(2000):
                signal.raise_signal(signal.SIGUSR1)
            await anyio.wait_all_tasks_blocked()
            group.cancel_scope.cancel()

    assert len(heard) == 2000
    assert capfd.readouterr().err == ""


def test_knows_when_there_is_no_standard_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """Standard error that was replaced has the descriptor of the first one; where that was closed, there is none."""
    first = sys.__stderr__
    assert first is not None
    monkeypatch.setattr(sys, "stderr", io.StringIO())

    assert error_descriptor() == first.fileno()

    monkeypatch.setattr(sys, "__stderr__", None)

    assert error_descriptor() is None
    write_error("to nobody")


def test_an_unwritable_standard_error_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """A signal handler that cannot write says nothing."""
    reading, writing = os.pipe()
    os.close(reading)
    monkeypatch.setattr(_signals, "error_descriptor", lambda: writing)

    write_error("to nobody")

    os.close(writing)
