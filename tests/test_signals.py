"""Signal handlers in detail. What they do to a process is told by `test_process_signals`."""

import atexit
import gc
import io
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import anyio
import pytest
from loguru import logger

from hostkit import HostBuilder, HostOptions, StoppingToken
from hostkit._process import signals as _signals
from hostkit._process.signals import REPEAT_INTERVAL, Signals, leave_by_signal, send_sigterm, wake_loop
from hostkit._values import standard_error
from hostkit._values.standard_error import error_descriptor, write_error


class Receiver:
    """What takes the signals, and keeps them."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    def request_stop(self, reason: str) -> None:
        self.heard.append(reason)

    def hasten(self) -> bool:
        self.heard.append("hasten")
        return True


class Clock:
    """A monotonic clock that stands still."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock of the handlers."""
    clock = Clock()
    monkeypatch.setattr(_signals, "time", clock)
    return clock


@pytest.fixture(autouse=True)
def default_hang_up() -> Iterator[None]:
    """The default for SIGHUP, also where the tests run under nohup, which has it ignored."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@contextmanager
def handler_of_the_app(number: int) -> Iterator[list[int]]:
    """Have a handler of the app's own, and yield what it has got."""
    heard: list[int] = []
    before = signal.signal(number, lambda number, _frame: heard.append(number))
    try:
        yield heard
    finally:
        signal.signal(number, before)


def test_keeps_what_comes_too_early(clock: Clock) -> None:
    """Signals that come before there is a host are handed to it when it is there."""
    receiver = Receiver()

    with Signals() as signals:
        signal.raise_signal(signal.SIGTERM)
        clock.now += REPEAT_INTERVAL
        signal.raise_signal(signal.SIGINT)
        signals.attach(receiver)

    assert receiver.heard == ["signal SIGTERM", "hasten"]


def test_one_request_that_arrives_twice_is_one(clock: Clock) -> None:
    """A signal counts as a further one only half a second after the last one that counted."""
    receiver = Receiver()

    with Signals() as signals:
        signals.attach(receiver)
        for seconds in (0, 0.25, 0.25, 0.25, 0.25):
            clock.now += seconds
            signal.raise_signal(signal.SIGINT)
            receiver.heard.append(f"{clock.now - 100:g}")

    assert receiver.heard == ["signal SIGINT", "0", "0.25", "hasten", "0.5", "0.75", "hasten", "1"]


def test_one_of_two_counts_of_which_one_comes_inside_the_other(clock: Clock) -> None:
    """A signal in the middle of another one's handler is the same request, whichever is passed on."""

    class Interrupted(dict[int, tuple[float, int]]):
        def setdefault(self, position: int, own: tuple[float, int]) -> tuple[float, int]:
            if not self:
                self[position] = own
                signal.raise_signal(signal.SIGINT)
                del self[position]
                super().setdefault(position, (own[0], signal.SIGINT))
            return super().setdefault(position, own)

    receiver = Receiver()

    with Signals() as signals:
        signals.attach(receiver)
        signals._counted = Interrupted()
        signal.raise_signal(signal.SIGTERM)

    assert receiver.heard == []  # of the two calls that decide, the inner one has won


def test_hangs_up_like_a_request_to_terminate() -> None:
    """A terminal that closes stops the host, unless SIGHUP was ignored when the process began, as by nohup."""
    receiver = Receiver()
    before = signal.getsignal(signal.SIGHUP)

    with Signals() as signals:
        signals.attach(receiver)
        signal.raise_signal(signal.SIGHUP)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with Signals() as signals:
        signals.attach(receiver)
        signal.raise_signal(signal.SIGHUP)
    ignored = signal.signal(signal.SIGHUP, before)

    assert receiver.heard == ["signal SIGHUP"]
    assert ignored is signal.SIG_IGN


def test_sighup_may_ask_for_the_status() -> None:
    """As the dump signal SIGHUP shows the status, and what it was before is back afterwards."""
    receiver = Receiver()
    before = signal.getsignal(signal.SIGHUP)

    with Signals() as signals:
        signals.attach(receiver)
        signals.on_dump("SIGHUP", lambda: receiver.heard.append("status"))
        signal.raise_signal(signal.SIGHUP)

    assert receiver.heard == ["status"]
    assert signal.getsignal(signal.SIGHUP) is before


def test_another_dump_signal_takes_the_place_of_the_first() -> None:
    """The dump signal that is used while the target is loaded gives way to the one of the options."""
    heard: list[str] = []
    before = [signal.getsignal(number) for number in (signal.SIGUSR1, signal.SIGUSR2)]

    with Signals() as signals:
        signals.on_dump("SIGUSR1", lambda: heard.append("loading"))
        signal.raise_signal(signal.SIGUSR1)
        signals.on_dump("SIGUSR2", lambda: heard.append("status"))
        signal.raise_signal(signal.SIGUSR2)
        during = signal.getsignal(signal.SIGUSR1)

    assert heard == ["loading", "status"]
    assert during is before[0]
    assert [signal.getsignal(number) for number in (signal.SIGUSR1, signal.SIGUSR2)] == before


def test_stays_to_the_end_of_a_process_that_ends_with_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the process ends with the host, a late signal does not kill it, nor does one while the interpreter ends."""
    registered: list[Callable[[], None]] = []
    monkeypatch.setattr(atexit, "register", registered.append)
    receiver = Receiver()
    numbers = _signals.STOP_SIGNALS
    before = [signal.getsignal(number) for number in numbers]

    with Signals(to_the_end=True) as signals:
        signals.attach(receiver)
    signal.raise_signal(signal.SIGTERM)
    registered[0]()
    signal.raise_signal(signal.SIGTERM)
    after = [signal.signal(number, handler) for number, handler in zip(numbers, before, strict=True)]

    assert receiver.heard == ["signal SIGTERM"]
    assert after == [signal.SIG_IGN] * len(numbers)


def test_finds_out_which_signals_were_taken() -> None:
    """A library that puts handlers of its own in place is found, by its name, and what it has taken comes back."""
    receiver = Receiver()

    with Signals() as signals:
        signals.attach(receiver)
        nothing = signals.replaced()
        with handler_of_the_app(signal.SIGTERM):
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            signal.signal(signal.SIGHUP, signal.SIG_IGN)
            found = signals.replaced()
            back = signals.take_back()
            signal.raise_signal(signal.SIGTERM)
            left = signals.replaced()

    name = found.pop("SIGTERM")
    assert nothing == left == {}
    assert found == {"SIGINT": "the default", "SIGHUP": "nothing"}
    assert name == f"{__name__}.handler_of_the_app.<locals>.<lambda>"
    assert set(back) == {"SIGINT", "SIGTERM", "SIGHUP"}
    assert receiver.heard == ["signal SIGTERM"]


def test_takes_back_what_nothing_handles_while_a_library_runs() -> None:
    """A handler that a library has removed again is put back at once; one that it uses is left to it."""
    receiver = Receiver()

    with Signals() as signals:
        signals.attach(receiver)
        with handler_of_the_app(signal.SIGTERM):
            signal.signal(signal.SIGINT, signal.default_int_handler)
            back = signals.take_back(unhandled_only=True)
            left = signals.replaced()
            signal.raise_signal(signal.SIGINT)

    assert list(back) == ["SIGINT"]
    assert list(left) == ["SIGTERM"]
    assert receiver.heard == ["signal SIGINT"]


def test_leaves_when_nothing_more_can_be_done(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """The third signal leaves the process, before there is a host as well as when the host has nothing left to do."""
    left: list[int] = []
    monkeypatch.setattr(_signals, "leave_by_signal", left.append)

    class Done(Receiver):
        def hasten(self) -> bool:
            return False

    with Signals() as signals:
        for _ in range(3):
            signal.raise_signal(signal.SIGTERM)
            clock.now += REPEAT_INTERVAL
    with Signals() as signals:
        signals.attach(Done())
        signal.raise_signal(signal.SIGINT)
        clock.now += REPEAT_INTERVAL
        signal.raise_signal(signal.SIGINT)

    assert left == [signal.SIGTERM, signal.SIGINT]


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
        signals.on_dump("SIGUSR1", lambda: receiver.heard.append("status"))
        monkeypatch.setattr(os, "getpid", lambda: -1)
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGUSR1)

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


def test_leaves_with_a_code_where_no_signal_kills(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """A process that the signal does not end, as PID 1, is left with 128 and the signal's number."""
    codes: list[int] = []
    monkeypatch.setattr(os, "_exit", codes.append)

    leave_by_signal(signal.SIGURG)

    assert codes == [128 + signal.SIGURG]
    assert capfd.readouterr().err == ("hostkit: one more SIGURG: leaving the process at once, nothing is waited for\n")


def test_leaves_with_a_code_of_its_own_on_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """On Windows a signal's default ends the process with 3, which stands for something abandoned: none is raised."""
    codes: list[int] = []
    monkeypatch.setattr(os, "_exit", codes.append)
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setattr(signal, "raise_signal", lambda number: codes.append(-number))

    leave_by_signal(signal.SIGINT)

    assert codes == [128 + signal.SIGINT]


@pytest.mark.parametrize("platform", ["linux", "win32"])
def test_sends_itself_a_request_to_stop(monkeypatch: pytest.MonkeyPatch, platform: str) -> None:
    """The process sends itself a SIGTERM that a handler may take; on Windows os.kill would terminate it."""
    sent: list[tuple[object, ...]] = []
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(os, "kill", lambda *arguments: sent.append(arguments))
    monkeypatch.setattr(signal, "raise_signal", lambda number: sent.append((number,)))

    send_sigterm()

    assert sent == ([(signal.SIGTERM,)] if platform == "win32" else [(os.getpid(), signal.SIGTERM)])


@pytest.mark.real_time
async def test_wakes_the_loop_as_long_as_it_is_wanted() -> None:
    """The descriptor that wakes the loop is there, also after other code has removed signal handlers of the loop's."""

    def descriptor() -> int:
        number = signal.set_wakeup_fd(-1)
        signal.set_wakeup_fd(number, warn_on_full_buffer=False)
        return number

    before = descriptor(), signal.getsignal(signal.SIGURG)

    async with anyio.create_task_group() as group:
        group.start_soon(wake_loop)
        await anyio.wait_all_tasks_blocked()
        first = descriptor()
        with anyio.open_signal_receiver(signal.SIGUSR2) as received:
            signal.raise_signal(signal.SIGUSR2)
            async for number in received:
                assert number == signal.SIGUSR2
                break
        second = descriptor()
        signal.raise_signal(signal.SIGURG)
        await anyio.wait_all_tasks_blocked()
        group.cancel_scope.cancel()

    assert first != -1
    assert second == first
    assert (descriptor(), signal.getsignal(signal.SIGURG)) == before


# trio has its own descriptor, which does warn.
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.real_time
async def test_a_flood_of_signals_is_no_noise(capfd: pytest.CaptureFixture[str]) -> None:
    """While the loop is blocked more signals may come than the descriptor that wakes it can hold."""
    heard: list[int] = []

    with Signals() as signals:
        signals.on_dump("SIGUSR1", lambda: heard.append(signal.SIGUSR1))
        async with anyio.create_task_group() as group:
            group.start_soon(wake_loop)
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


def test_a_standard_error_whose_descriptor_is_closed_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that has made itself a daemon may have closed the descriptors, and not the streams above them."""
    descriptor = os.dup(0)
    with open(descriptor, "w", encoding="utf-8", closefd=False) as stream:
        os.close(descriptor)
        monkeypatch.setattr(sys, "stderr", stream)
        monkeypatch.setattr(sys, "__stderr__", None)

        assert error_descriptor() is None


def test_an_unwritable_standard_error_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """A signal handler that cannot write says nothing."""
    reading, writing = os.pipe()
    os.close(reading)
    monkeypatch.setattr(standard_error, "error_descriptor", lambda: writing)

    write_error("to nobody")

    os.close(writing)


@pytest.mark.parametrize("named", [["bot"], ["bot", "other"]])
async def test_a_library_that_keeps_the_signals_is_named_once(named: list[str]) -> None:
    """One that takes them while it runs, and keeps them, is named after a while; its handlers stay, to its end."""
    builder = HostBuilder(HostOptions(application_name="app"))
    before = signal.getsignal(signal.SIGTERM)

    async def bot(stopping_token: StoppingToken) -> None:
        await stopping_token.sleep(1)  # so that it has none when it is ready
        signal.signal(signal.SIGTERM, lambda _number, _frame: None)
        await stopping_token.sleep(100)

    async def other(stopping_token: StoppingToken) -> None:
        await stopping_token.sleep(100)

    for service in (bot, other)[: len(named)]:
        builder.add_service(service)
    lines: list[str] = []
    sink = logger.add(lines.append, format="{level} {message}", filter="hostkit", level="WARNING")

    code = await builder.build().run_async(configure_logging=False)
    logger.remove(sink)

    who = "service bot runs" if len(named) == 1 else "one of the services bot, other runs"
    handler = f"{__name__}.test_a_library_that_keeps_the_signals_is_named_once.<locals>.bot.<locals>.<lambda>"
    assert code == 0
    assert lines == [
        f"WARNING the host does not receive SIGTERM, which went to {handler}, while {who}\n",
        f"WARNING the host receives SIGTERM again, which went to {handler}\n",
    ]
    assert signal.getsignal(signal.SIGTERM) == before
