"""Operating-system signals → the lifetime: the first asks, the second cancels, the third leaves.

The handlers are `signal.signal`'s, installed before the event loop: those of an event loop come too late for a signal
that arrives before it (which PID 1 would lose), see nothing while the loop is blocked, and do not put back what they
replaced. A handler neither logs nor raises nor waits: it runs in the middle of any line of the main thread.
"""

import os
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from itertools import count
from types import FrameType, TracebackType
from typing import Protocol, Self

import anyio

from hostkit._values.text import repr_of

STOP_SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGBREAK") if hasattr(signal, name))


class Receiver(Protocol):
    """What the signals are for."""

    def ask(self, reason: str) -> None:
        """Take the first signal."""

    def force(self) -> None:
        """Take the second signal."""


class Signals:
    """Signal handlers for a process that a host owns; a context manager, for the main thread only.

    Signals that come before there is a receiver are kept for it.
    """

    def __init__(self) -> None:
        """Install nothing yet."""
        self._process = os.getpid()
        self._previous: dict[signal.Signals, object] = {}
        self._received: list[int] = []
        self._counter = count(1)
        self._receiver: Receiver | None = None

    def __enter__(self) -> Self:
        """Install the handlers."""
        for number in STOP_SIGNALS:
            self._install(number, self._on_signal)
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Put back what was there before, except where somebody else has taken over meanwhile."""
        self._receiver = None
        for number, previous in self._previous.items():
            ours = getattr(signal.getsignal(number), "__self__", None)
            if ours is self:
                _restore(number, previous)
        self._previous.clear()

    def attach(self, receiver: Receiver) -> None:
        """Hand what has come and what will come to *receiver*."""
        self._receiver = receiver
        # Attached first: a signal in between is told twice, which is harmless, and never missed.
        for position, number in enumerate(self._received, 1):
            self._pass_on(position, number)

    async def wake_loop(self) -> None:
        """Wake the event loop at every signal, until cancelled, where it does not see to that itself.

        Of a signal that comes when the loop is about to wait, or to another thread, Python takes note and no more: the
        handler would run when something else wakes the loop, perhaps in an hour.
        """
        other = signal.set_wakeup_fd(-1)
        if other != -1:  # trio's, uvloop's, or asyncio's own, if it has signal handlers
            signal.set_wakeup_fd(other)
            return
        from socket import socketpair

        hearing, telling = socketpair()
        with hearing, telling:
            descriptor = telling.fileno()
            for end in (hearing, telling):
                os.set_blocking(end.fileno(), False)
            signal.set_wakeup_fd(descriptor, warn_on_full_buffer=False)
            try:
                while True:
                    await anyio.wait_readable(hearing)
                    with suppress(BlockingIOError):
                        hearing.recv(4096)
            finally:
                other = signal.set_wakeup_fd(-1)
                if other != descriptor:  # asyncio's, which has got signal handlers meanwhile
                    signal.set_wakeup_fd(other)

    def on_dump(self, name: str | None, dump: Callable[[], None]) -> None:
        """Have *dump* called, in the handler, when the signal *name* comes; nothing where there is none."""
        if name is not None and hasattr(signal, name):
            self._dump = dump
            self._install(getattr(signal, name), self._on_dump)

    def _install(self, number: signal.Signals, handler: Callable[[int, FrameType | None], None]) -> None:
        self._previous[number] = signal.signal(number, handler)

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        if os.getpid() != self._process:
            # In a fork, a worker of multiprocessing say, which has inherited the handler, but not the host.
            _restore(signal.Signals(number), self._previous.get(signal.Signals(number)))
            signal.raise_signal(number)
            return
        # One handler may run inside another, between any two lines: each has its number from one call.
        self._received.append(number)
        self._pass_on(next(self._counter), number)

    def _pass_on(self, position: int, number: int) -> None:
        if position > 2:  # noqa: PLR2004  # the third
            leave_by_signal(number)
        elif self._receiver is not None:
            if position == 1:
                self._receiver.ask(f"signal {signal.Signals(number).name}")
            else:
                self._receiver.force()

    def _on_dump(self, _number: int, _frame: FrameType | None) -> None:
        try:
            self._dump()
        except Exception as error:  # noqa: BLE001  # it would come out at any line of the main thread
            write_error(f"hostkit: no status: {repr_of(error)}\n")


def _restore(number: signal.Signals, previous: object) -> None:
    # None is a handler that Python did not install, and cannot put back.
    signal.signal(number, signal.SIG_DFL if previous is None else previous)  # type: ignore[arg-type]  # from getsignal


def leave_by_signal(number: int) -> None:
    """End the process as the signal would without a handler; PID 1 cannot die of it and exits with 128 + number."""
    signal.signal(number, signal.SIG_DFL)
    signal.raise_signal(number)
    os._exit(128 + number)


def send_sigterm() -> None:
    """Send the own process SIGTERM."""
    os.kill(os.getpid(), signal.SIGTERM)


def in_main_thread() -> bool:
    """Whether signal handlers can be installed here."""
    return threading.current_thread() is threading.main_thread()


def error_descriptor() -> int | None:
    """Return the descriptor of standard error, or None where there is none."""
    for stream in (sys.stderr, sys.__stderr__):
        try:
            return stream.fileno()  # type: ignore[union-attr]  # None where it was closed at the start
        except (AttributeError, OSError, ValueError):
            continue
    # Not simply 2: the first file that is opened in a process without standard error gets that number.
    return None


def write_error(text: str) -> None:
    """Write to standard error from a signal handler: not through a buffer that the main thread may be in."""
    descriptor = error_descriptor()
    if descriptor is None:
        return
    try:
        os.write(descriptor, text.encode(errors="backslashreplace"))
    except OSError:
        return
