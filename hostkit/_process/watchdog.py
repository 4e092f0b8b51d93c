"""Watches an event loop from a thread: names what blocks it, and leaves the process when it cannot end any more.

One thread and one heartbeat of the loop, with two thresholds: after the first the line that blocks the loop is named in
the log, after the second, or when the time for the stop is over, the process is left.
"""

import faulthandler
import math
import os
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from types import FrameType, TracebackType
from typing import Self

import anyio

from hostkit._core.service_run import running_service
from hostkit._execution.stack import current_frames, frame_line
from hostkit._process.leave import FLUSH_TIMEOUT, leave
from hostkit._values.standard_error import error_descriptor

NAMING_MARGIN = 0.5
# The timer knows no services, and ends a process that was paused until then as soon as it goes on: so much later it
# comes that a pause is mostly over before.
LAST_MARGIN = 5.0
# A thread that wakes so much too late was paused with the whole process; the loop has so much time then.
PAUSE, TIME_AFTER_PAUSE = 0.1, 1.0
# How many heartbeats the loop gives within each threshold, and how many looks in a row must find none.
BEATS_IN_LAG, BEATS_IN_HANG = 2, 3
# faulthandler takes no timeout that does not fit into its clock.
LONGEST_TIMEOUT = 1e9

Describe = Callable[[FrameType | None], tuple[str, int]]


class Watchdog:
    """Watches the event loop of the thread that makes it; a context manager, or to be run as a task of that loop.

    It has a thread, which can name the service that blocks the loop, and where a deadline is set, a little later,
    `faulthandler`'s timer, which needs no Python at all and so reaches code that keeps the interpreter to itself.
    There is one such timer in a process, so deadlines are for the host that owns it.
    """

    def __init__(
        self,
        log: Callable[..., None],
        *,
        lag_warning: float | None = None,
        hang_timeout: float | None = None,
        describe: Describe | None = None,
    ) -> None:
        """Prepare.

        Args:
            log: Takes the warning, in the thread.
            lag_warning: Seconds without a heartbeat of the loop until the line that blocks it is named.
            hang_timeout: Seconds without one until the process is left.
            describe: Makes, of the stack of the loop's thread, words and the exit code, when the process is left.
        """
        self._log = log
        self._lag = math.inf if lag_warning is None else lag_warning
        self._hang = math.inf if hang_timeout is None else hang_timeout
        self._describe = describe
        self._stop_deadline = self._cancel_deadline = self._hang_deadline = math.inf
        self._loop_thread = threading.get_ident()
        self._wake = threading.Lock()
        self._thread: threading.Thread | None = None
        self._descriptor: int | None = None
        self._timed = self._closed = False
        self._was_paused = False
        self._beat_at = self._seen_beat = 0.0
        self._next_look = 0.0
        self._looks = 0
        self._beating = False
        self.blocked = False
        """Whether the loop is blocked now, for longer than the lag that is warned of."""

    def __enter__(self) -> Self:
        """Start the thread, and keep a way to standard error, or to nowhere: the timer needs one to end the process."""
        if self._describe is not None:
            descriptor = error_descriptor()
            self._descriptor = os.open(os.devnull, os.O_WRONLY) if descriptor is None else os.dup(descriptor)
        self._wake.acquire()
        thread = threading.Thread(target=self._watch, name="hostkit: watchdog", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # no thread is to be had; the timer needs none of Python's
            return self
        self._thread = thread
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Disarm, and leave no thread, timer or descriptor behind."""
        self._closed = True
        self._wake_thread()
        if self._thread is not None:
            self._thread.join()
        if self._timed:
            faulthandler.cancel_dump_traceback_later()
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    async def run(self) -> None:
        """Give the heartbeats of the loop until cancelled, if any threshold asks for them."""
        period = min(self._lag / BEATS_IN_LAG, self._hang / BEATS_IN_HANG)
        with ExitStack() as stack:
            if self._describe is None:
                stack.enter_context(self)  # an embedded host's, for the lag alone
            try:
                while True:
                    self._beat()
                    await (anyio.sleep_forever() if period == math.inf else anyio.sleep(period))
            finally:
                self._beating = False
                # The loop may still have to wait for threads, and gives no heartbeat then.
                self._hang_deadline = math.inf
                self._set_timers()

    @property
    def remaining(self) -> float:
        """The seconds that are left for the stop: infinite before it is armed for that, negative when it is over."""
        return min(self._stop_deadline, self._cancel_deadline) - time.monotonic()

    def arm(self, seconds: float, *, anew: bool = False) -> None:
        """Leave when the stop is not over in *seconds*, and a margin; from any thread, and from a signal handler.

        What `cancel_all` has said holds, unless this is *anew*.
        """
        if anew:
            self._cancel_deadline = math.inf
        self._stop_deadline = time.monotonic() + seconds
        self._set_timers()

    def cancel_all(self, seconds: float) -> None:
        """Leave in *seconds* at the latest, whatever `arm` was given, or is being given in what a signal interrupts."""
        self._cancel_deadline = min(self._cancel_deadline, time.monotonic() + seconds)
        self._set_timers()

    def _beat(self) -> None:
        self._beat_at = time.monotonic()
        self.blocked = self._was_paused = False
        first = not self._beating
        self._beating = True
        if self._hang < math.inf:
            self._hang_deadline = self._beat_at + self._hang
            self._set_timers()
        elif first:
            self._wake_thread()

    def _set_timers(self) -> None:
        deadline = None
        # Once more if a signal handler, or another thread, has come in between with another deadline.
        while deadline != self._deadline() and not self._closed:
            deadline = self._deadline()
            self._set_last_timer(deadline + LAST_MARGIN)
        self._wake_thread()

    def _set_last_timer(self, deadline: float) -> None:
        descriptor = self._descriptor
        if deadline < math.inf and descriptor is not None:
            self._timed = True
            seconds = min(max(LAST_MARGIN, deadline - time.monotonic()), LONGEST_TIMEOUT)
            with suppress(RuntimeError):  # no thread is to be had
                faulthandler.dump_traceback_later(seconds, exit=True, file=descriptor)
        # Closed by the main thread, perhaps, while another one was here.
        if self._timed and (self._closed or deadline == math.inf):
            faulthandler.cancel_dump_traceback_later()

    def _deadline(self) -> float:
        return min(self._stop_deadline, self._cancel_deadline, self._hang_deadline)

    def _wake_thread(self) -> None:
        # Not an event of threading's: its lock may be held by what a signal handler has interrupted.
        with suppress(RuntimeError):  # it is being woken already
            self._wake.release()

    def _watch(self) -> None:
        while not self._closed:
            self._wake.acquire(timeout=min(self._look(time.monotonic()), LONGEST_TIMEOUT))

    def _look(self, now: float) -> float:
        """Leave if a deadline is over, warn if the loop is blocked, and return the seconds until the next look."""
        seconds = self._deadline() + NAMING_MARGIN - now
        if seconds < -PAUSE and not self._was_paused:
            # The host itself has more to say: it cancels and abandons what is late. It has that time once: calls of C
            # code that keep the interpreter to themselves for seconds, one after the other, look the same.
            self._was_paused = True
            if self._hang_deadline < math.inf:
                self._hang_deadline = now + TIME_AFTER_PAUSE
            if self.remaining < math.inf:
                self.arm(TIME_AFTER_PAUSE, anew=True)
            seconds = TIME_AFTER_PAUSE + NAMING_MARGIN
        elif seconds <= 0 and not self._closed:
            self._leave()
        if not self._beating or self._lag == math.inf:
            return max(0.0, seconds)
        period = self._lag / BEATS_IN_LAG
        if self._beat_at != self._seen_beat:
            self._seen_beat, self._looks, self._next_look = self._beat_at, 0, now + period
        elif now >= self._next_look:
            # Looks are counted, not seconds: while the whole process is paused, this thread does not look either.
            self._looks += 1
            self._next_look = now + period
            if self._looks == BEATS_IN_LAG + 1:
                self.blocked = True
                self._warn(now - self._beat_at)
        return max(0.0, min(seconds, self._next_look - now))

    def _warn(self, seconds: float) -> None:
        frame = self._loop_frame()
        run = running_service(frame)
        name = None if run is None else run.supervisor.name
        self._log("WARNING", "{} for {:.1f} s so far", describe_block(frame), seconds, service=name)

    def _leave(self) -> None:
        self._set_last_timer(time.monotonic() + FLUSH_TIMEOUT)
        assert self._describe is not None
        words, code = self._describe(self._loop_frame())
        leave(code, f"hostkit: {words}; leaving the process with exit code {code}\n", self._descriptor)

    def _loop_frame(self) -> FrameType | None:
        return current_frames().get(self._loop_thread)


def describe_block(frame: FrameType | None) -> str:
    """Describe what blocks the event loop, by the stack of its thread."""
    run = running_service(frame)
    line = frame_line(frame)
    subject = "the event loop is blocked" if run is None else f"service {run.supervisor.name!r} blocks the event loop"
    return subject + (f" at {line}" if line else "")
