"""The last rung: leave the process when the event loop cannot."""

import _thread
import atexit
import faulthandler
import math
import os
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from types import FrameType, TracebackType
from typing import Self

from hostkit._config.logging import complete
from hostkit._process.signals import error_descriptor

NAMING_MARGIN = 0.5
LAST_MARGIN = 1.0
FLUSH_TIMEOUT = 1.0
# faulthandler takes no timeout that does not fit into its clock.
LONGEST_TIMEOUT = 1e9

STUCK_EXIT_CODE = 3
BLOCKED_EXIT_CODE = FAILED_EXIT_CODE = 1


class DeadMan:
    """Ends the process at a deadline that nobody has moved; a context manager, for a process that the host owns.

    A thread, which can name the service that blocks the loop, and a little later `faulthandler`'s timer, which needs no
    Python at all and so reaches code that keeps the interpreter to itself. There is one such timer in a process.
    """

    _descriptor: int

    def __init__(self, explain: Callable[[FrameType | None], tuple[str, int]]) -> None:
        """Prepare; *explain* makes, of the main thread's stack, words and the exit code."""
        self._explain = explain
        self._stop_deadline = self._hurry_deadline = self._hang_deadline = math.inf
        self._main_thread = threading.get_ident()
        self._wake = _locked()
        self._watched = _thread.allocate_lock()  # locked by whoever starts the thread
        self._done = _locked()
        self._timed = self._closed = False

    def __enter__(self) -> Self:
        """Keep a way to standard error, or to nowhere; the timer will not end the process without one."""
        descriptor = error_descriptor()
        self._descriptor = os.open(os.devnull, os.O_WRONLY) if descriptor is None else os.dup(descriptor)
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Disarm, and leave no thread, timer or descriptor behind."""
        self._closed = True
        if self._watched.locked():
            self._rouse()
            self._done.acquire()
        if self._timed:
            faulthandler.cancel_dump_traceback_later()
        os.close(self._descriptor)

    @property
    def remaining(self) -> float:
        """The seconds that are left for the stop: infinite before it is armed for that, negative when it is over."""
        return min(self._stop_deadline, self._hurry_deadline) - time.monotonic()

    def arm(self, seconds: float) -> None:
        """Leave when the stop is not over in *seconds*, and a margin; from any thread, and from a signal handler."""
        self._stop_deadline = time.monotonic() + seconds
        self._set_timers()

    def hurry(self, seconds: float) -> None:
        """Leave in *seconds* at the latest, whatever `arm` was told, or is being told by what a signal interrupts."""
        self._hurry_deadline = min(self._hurry_deadline, time.monotonic() + seconds)
        self._set_timers()

    def put_off(self, seconds: float) -> None:
        """Leave in *seconds*, and a margin, whatever was said before."""
        self._hurry_deadline = math.inf
        self.arm(seconds)

    def expect_beat(self, seconds: float) -> None:
        """Leave when this is not called again within *seconds*, and a margin; infinite seconds expect no more."""
        self._hang_deadline = time.monotonic() + seconds
        self._set_timers()

    def _set_timers(self) -> None:
        deadline = None
        # Once more if a signal handler, or another thread, has come in between with another deadline.
        while deadline != self._deadline() and not self._closed:
            deadline = self._deadline()
            self._set_last_timer(deadline + LAST_MARGIN)
        if not self._watched.acquire(blocking=False):
            self._rouse()
            return
        try:
            # Not threading's: that waits for the new thread to run, and this may be a signal handler.
            _thread.start_new_thread(self._watch, ())
        except RuntimeError:  # no thread is to be had
            self._done.release()

    def _set_last_timer(self, deadline: float) -> None:
        self._timed = True
        if deadline < math.inf:
            seconds = max(LAST_MARGIN, deadline - time.monotonic())
            with suppress(RuntimeError):  # no thread is to be had
                faulthandler.dump_traceback_later(min(seconds, LONGEST_TIMEOUT), exit=True, file=self._descriptor)
        # Closed by the main thread, perhaps, while another one was here.
        if self._closed or deadline == math.inf:
            faulthandler.cancel_dump_traceback_later()

    def _deadline(self) -> float:
        return min(self._stop_deadline, self._hurry_deadline, self._hang_deadline)

    def _rouse(self) -> None:
        try:
            self._wake.release()
        except RuntimeError:
            return  # it is being roused already

    def _watch(self) -> None:  # pragma: no cover  # in a thread that threading, and so coverage, does not know
        while not self._closed:
            seconds = self._deadline() + NAMING_MARGIN - time.monotonic()
            if seconds <= 0:
                self._leave()
            self._wake.acquire(timeout=min(seconds, LONGEST_TIMEOUT))
        self._done.release()

    def _leave(self) -> None:  # pragma: no cover  # likewise
        self._set_last_timer(time.monotonic() + FLUSH_TIMEOUT + LAST_MARGIN)
        frame = sys._current_frames().get(self._main_thread)  # the documented way
        words, code = self._explain(frame)
        leave(code, f"hostkit: {words}; leaving the process with exit code {code}\n", self._descriptor)


def exit_as_failed() -> None:
    """Have the interpreter's exit, whenever it comes, end the process as failed."""

    def fail() -> None:
        # What was registered before comes after this one, and would not come any more.
        atexit.unregister(fail)
        atexit._run_exitfuncs()
        leave(FAILED_EXIT_CODE)  # pragma: no cover  # the measuring ends with the other exit handlers

    atexit.register(fail)


def leave(code: int, text: str = "", descriptor: int | None = None) -> None:
    """Write *text* to *descriptor*, flush what a second is enough for, and end the process without its usual end."""

    def flush() -> None:
        with suppress(OSError):
            if descriptor is not None:
                os.write(descriptor, text.encode(errors="backslashreplace"))
        complete()
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError):
                if stream is not None:
                    stream.flush()

    # In a thread of its own: a sink that blocks, or a pipe that nobody reads, must not hold the process now.
    flushing = threading.Thread(target=flush, daemon=True)
    try:
        flushing.start()
        flushing.join(FLUSH_TIMEOUT)
    finally:
        os._exit(code)


def _locked() -> _thread.LockType:
    lock = _thread.allocate_lock()
    lock.acquire()
    return lock
