"""Operating-system signals → the lifetime: the first asks, the second cancels, the third leaves.

The handlers are `signal.signal`'s, installed before the event loop: those of an event loop come too late for a signal
that arrives before it (which PID 1 would lose), see nothing while the loop is blocked, and do not put back what they
replaced. A handler neither logs nor raises nor waits: it runs in the middle of any line of the main thread.
"""

import atexit
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Protocol, Self

import anyio

from hostkit._execution.event_loop import running_asyncio_loop
from hostkit._process.leave import flush_streams
from hostkit._values.standard_error import write_error
from hostkit._values.text import repr_of

STOP_SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGBREAK", "SIGHUP") if hasattr(signal, name)
)
# One request arrives twice within milliseconds: Ctrl-C reaches the whole process group, and `timeout`, shells and
# process managers send once more.
REPEAT_INTERVAL = 0.5
# A signal for which nothing is done unless it has a handler, and which no library of this field uses.
_SPARE_SIGNAL: signal.Signals | None = getattr(signal, "SIGURG", None)


class Receiver(Protocol):
    """What the signals are for."""

    def request_stop(self, reason: str) -> None:
        """Take the first signal."""

    def hasten(self) -> bool:
        """Take a further signal; return False when nothing is left but to leave."""
        ...


class Signals:
    """Signal handlers for a process that a host owns; a context manager, for the main thread only.

    Signals that come before there is a receiver are kept for it. A signal counts as a further one only when it comes
    `REPEAT_INTERVAL` after the last one that counted.
    """

    def __init__(self, *, to_the_end: bool = False) -> None:
        """Install nothing yet; the process ends with the host if they are to stay *to_the_end*."""
        self._to_the_end = to_the_end
        self._process = os.getpid()
        self._previous: dict[signal.Signals, object] = {}
        self._handlers: dict[signal.Signals, Callable[[int, FrameType | None], None]] = {}
        self._counted: dict[int, tuple[float, int]] = {}
        """The signals that counted, by position, with the instant of each."""
        self._receiver: Receiver | None = None
        self._dump: Callable[[], None] = _do_nothing
        self._dump_signal: signal.Signals | None = None

    def __enter__(self) -> Self:
        """Install the handlers; not that of SIGHUP where it is ignored, as ``nohup`` has it."""
        for number in STOP_SIGNALS:
            if number.name != "SIGHUP" or signal.getsignal(number) is not signal.SIG_IGN:
                self._install(number, self._on_signal)
        if self._to_the_end:
            # The interpreter puts the defaults back while it ends, but not where a signal is ignored.
            atexit.register(self._ignore_all)
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Put back what was there before, except where other code has taken over meanwhile, or the process ends."""
        if self._to_the_end and self._receiver is not None:
            return
        self._receiver = None
        for number in tuple(self._handlers):
            self._uninstall(number)

    def attach(self, receiver: Receiver) -> None:
        """Hand what has come and what will come to *receiver*."""
        self._receiver = receiver
        # Attached first: a signal in between is passed on twice, which is harmless, and never missed.
        for position, (_, number) in sorted(self._counted.items()):
            self._pass_on(position, number)

    def on_dump(self, name: str | None, dump: Callable[[], None]) -> None:
        """Have *dump* called, in the handler, when the signal *name* comes; nothing where there is none."""
        wanted = None if name is None else getattr(signal, name, None)
        if self._dump_signal not in (None, wanted):
            self._uninstall(self._dump_signal)
        self._dump = dump
        self._dump_signal = wanted
        if wanted is not None:
            self._install(wanted, self._on_dump)

    def take_back(self, *, unhandled_only: bool = False) -> dict[str, str]:
        """Put the host's handlers back where they were replaced, and return those signals with what stood there.

        With *unhandled_only* only where no handler stands but Python's own: a library has removed the one it had.
        """
        found = self.replaced()
        for name in tuple(found):
            number = signal.Signals[name]
            if unhandled_only and signal.getsignal(number) not in (signal.SIG_DFL, signal.default_int_handler):
                del found[name]
            else:
                signal.signal(number, self._handlers[number])
        return found

    def replaced(self) -> dict[str, str]:
        """Return the signals whose handlers are not the host's now, with what stands there."""
        current = {number: signal.getsignal(number) for number in self._handlers}
        return {number.name: _describe(now) for number, now in current.items() if now != self._handlers[number]}

    def _install(self, number: signal.Signals, handler: Callable[[int, FrameType | None], None]) -> None:
        previous = signal.signal(number, handler)
        self._previous.setdefault(number, previous)
        self._handlers[number] = handler

    def _uninstall(self, number: signal.Signals) -> None:
        handler = self._handlers.pop(number)
        previous = self._previous.pop(number)
        if signal.getsignal(number) == handler:
            _restore(number, previous)

    def _ignore_all(self) -> None:
        for number in self._handlers:
            signal.signal(number, signal.SIG_IGN)

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        if os.getpid() != self._process:
            # In a fork, a worker of multiprocessing say, which has inherited the handler, but not the host.
            _restore(signal.Signals(number), self._previous.get(signal.Signals(number)))
            signal.raise_signal(number)
            return
        now = time.monotonic()
        position = len(self._counted) + 1
        last, _ = self._counted.get(position - 1, (-REPEAT_INTERVAL, 0))
        # One handler may run inside another, between any two lines: one call decides which of the two counts.
        own = (now, number)
        if now - last >= REPEAT_INTERVAL and self._counted.setdefault(position, own) is own:
            self._pass_on(position, number)

    def _pass_on(self, position: int, number: int) -> None:
        if self._receiver is None:
            if position > 2:  # noqa: PLR2004  # the third
                leave_by_signal(number)
        elif position == 1:
            self._receiver.request_stop(f"signal {signal.Signals(number).name}")
        elif not self._receiver.hasten():
            leave_by_signal(number)

    def _on_dump(self, _number: int, _frame: FrameType | None) -> None:
        if os.getpid() != self._process:
            return  # a fork has inherited the handler, but not the host
        try:
            self._dump()
        except Exception as error:  # noqa: BLE001  # it would come out at any line of the main thread
            write_error(f"hostkit: no status: {repr_of(error)}\n")


async def wake_loop() -> None:
    """Have the event loop woken by every signal, until cancelled; return where it sees to that itself.

    Of a signal that comes when the loop is about to wait, or to another thread, Python takes a note and no more: the
    handler would run when something else wakes the loop, perhaps in an hour. trio and uvloop always have a descriptor
    for that; asyncio has one as long as the loop has signal handlers of its own, so it is given one.
    """
    loop = running_asyncio_loop()
    if loop is None or _SPARE_SIGNAL is None:  # trio; Windows, whose loop always has a descriptor
        return
    previous = signal.getsignal(_SPARE_SIGNAL)
    loop.add_signal_handler(_SPARE_SIGNAL, _do_nothing)
    descriptor = signal.set_wakeup_fd(-1)
    # Otherwise a flood of signals, while the loop is blocked, is one of warnings as well.
    signal.set_wakeup_fd(descriptor, warn_on_full_buffer=False)
    try:
        await anyio.sleep_forever()
    finally:
        loop.remove_signal_handler(_SPARE_SIGNAL)
        _restore(_SPARE_SIGNAL, previous)


def _do_nothing() -> None:
    """Handle a signal for which nothing is to be done."""


def _restore(number: signal.Signals, previous: object) -> None:
    # None is a handler that Python did not install, and cannot put back.
    signal.signal(number, signal.SIG_DFL if previous is None else previous)  # type: ignore[arg-type]  # from getsignal


def _describe(handler: object) -> str:
    if isinstance(handler, signal.Handlers):
        return "the default" if handler is signal.SIG_DFL else "nothing"
    module, name = getattr(handler, "__module__", None), getattr(handler, "__qualname__", None)
    return f"{module}.{name}" if module and name else repr_of(handler)


def leave_by_signal(number: int) -> None:
    """End the process as the signal would without a handler; PID 1 cannot die of it and exits with 128 + number."""
    name = signal.Signals(number).name
    write_error(f"hostkit: one more {name}: leaving the process at once, nothing is waited for\n")
    flush_streams()
    if sys.platform != "win32":  # where the default would end it with 3, which stands for something abandoned
        signal.signal(number, signal.SIG_DFL)
        signal.raise_signal(number)
    os._exit(128 + number)


def send_sigterm() -> None:
    """Send the own process SIGTERM, as a request that its handler may take."""
    if sys.platform == "win32":  # where os.kill() would terminate the process whatever handler it has
        signal.raise_signal(signal.SIGTERM)
    else:
        os.kill(os.getpid(), signal.SIGTERM)


def in_main_thread() -> bool:
    """Whether signal handlers can be installed here."""
    return threading.current_thread() is threading.main_thread()
