"""The last rung: leave the process when the event loop cannot."""

import _thread
import faulthandler
import math
import os
import sys
import threading
import time
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Self

from hostkit._logging import complete

NAMING_MARGIN = 0.5
LAST_MARGIN = 1.0
FLUSH_TIMEOUT = 1.0

STUCK_EXIT_CODE = 3
BLOCKED_EXIT_CODE = FAILED_EXIT_CODE = 1


class DeadMan:
    """Ends the process at a deadline that nobody has moved; a context manager, for a process that the host owns.

    A thread, which can name the service that blocks the loop, and a little later `faulthandler`'s timer, which needs no
    Python at all and so reaches code that keeps the interpreter to itself. There is one such timer in a process.
    """

    def __init__(self, describe: Callable[[FrameType | None], str]) -> None:
        """Prepare; *describe* says in words what the main thread's stack is doing."""
        self._describe = describe
        self._stop_deadline = self._hang_deadline = math.inf
        self._descriptor: int | None = None
        self._main_thread = threading.get_ident()
        self._wake = _thread.allocate_lock()
        self._wake.acquire()
        self._done: _thread.LockType | None = None
        self._closed = False

    def __enter__(self) -> Self:
        """Keep a way to standard error; without one, only the thread is left."""
        try:
            self._descriptor = os.dup(2)
        except OSError:
            self._descriptor = None
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Disarm, and leave no thread, timer or descriptor behind."""
        self._closed = True
        if self._done is not None:
            self._rouse()
            self._done.acquire()
        if self._descriptor is not None:
            faulthandler.cancel_dump_traceback_later()
            os.close(self._descriptor)

    def arm(self, seconds: float) -> None:
        """Leave when the stop is not over in *seconds*, and a margin; from any thread, and from a signal handler."""
        self._stop_deadline = time.monotonic() + seconds
        self._set_timers()

    def expect_beat(self, seconds: float) -> None:
        """Leave when this is not called again within *seconds*, and a margin."""
        self._hang_deadline = time.monotonic() + seconds
        self._set_timers()

    def _set_timers(self) -> None:
        if self._closed:
            return
        if self._descriptor is not None:
            seconds = max(0.0, self._deadline() - time.monotonic()) + LAST_MARGIN
            faulthandler.dump_traceback_later(seconds, exit=True, file=self._descriptor)
        if self._done is None:
            self._done = _thread.allocate_lock()
            self._done.acquire()
            # Not threading's: that waits for the new thread to run, and this may be a signal handler.
            _thread.start_new_thread(self._watch, ())
        else:
            self._rouse()

    def _deadline(self) -> float:
        return min(self._stop_deadline, self._hang_deadline)

    def _rouse(self) -> None:
        try:
            self._wake.release()
        except RuntimeError:
            return  # it is being roused already

    def _watch(self) -> None:
        assert self._done is not None
        while not self._closed:
            seconds = self._deadline() + NAMING_MARGIN - time.monotonic()
            if seconds <= 0:
                self._leave()
            self._wake.acquire(timeout=min(seconds, threading.TIMEOUT_MAX))
        self._done.release()

    def _leave(self) -> None:
        frame = sys._current_frames().get(self._main_thread)  # the documented way
        text = f"hostkit: {self._describe(frame)}; leaving the process with exit code {BLOCKED_EXIT_CODE}\n"
        os.write(2 if self._descriptor is None else self._descriptor, text.encode(errors="backslashreplace"))
        leave(BLOCKED_EXIT_CODE)


def leave(code: int) -> None:
    """Flush what can be flushed in a second, and end the process without its usual end."""
    # In a thread of its own: a sink that blocks must not hold the process now.
    flushing = threading.Thread(target=_flush, daemon=True)
    flushing.start()
    flushing.join(FLUSH_TIMEOUT)
    os._exit(code)


def _flush() -> None:
    complete()
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()
