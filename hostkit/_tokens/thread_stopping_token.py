"""The stopping token of code that blocks a thread."""

import math
import threading
import time
from collections.abc import Callable, Iterator
from typing import Self

from hostkit._tokens.grid import Grid
from hostkit._tokens.stopping_token import LONGEST_SLEEP_AFTER_STOP, Token, TokenOwner
from hostkit._values.durations import NOT_GIVEN, Duration, to_period, to_positive_period
from hostkit._values.functions import require_sync


class ThreadStoppingToken(Token):
    """How blocking code learns that it should finish; one for each run of a service.

    The stop is a *request*: nothing is interrupted by it but the waits of this token. Any thread may use it. What
    interrupts the code between them, ``until_stop`` and ``cancel_on_stop``, only the async `StoppingToken` has, since a
    thread cannot be cancelled.
    """

    def __init__(self, owner: TokenOwner, on_activity: Callable[[], None] | None = None) -> None:
        """Make a token that no stop has reached yet; *on_activity* is called at every `beat` and wait."""
        super().__init__(owner, on_activity)
        self._stopped = threading.Event()
        self._informed = threading.local()  # whether a sleep of the thread has returned True after the stop
        self._lock = threading.Lock()

    @property
    def time_left(self) -> float:
        """The seconds until the service's time is over: infinite while no stop is requested, never below 0.

        See `StoppingToken.time_left`. A thread cannot be cancelled: when that time is over, it is a failure of the
        service, and after the host's ``cancellation_timeout`` it is abandoned.
        """
        return max(0.0, self._owner.time_left()) if self._stopped.is_set() else math.inf

    @property
    def stop_requested(self) -> bool:
        """Whether the stop has been requested."""
        return self._stopped.is_set()

    def sleep(
        self,
        duration: Duration | None = None,
        *,
        hours: float = NOT_GIVEN,
        minutes: float = NOT_GIVEN,
        seconds: float = NOT_GIVEN,
    ) -> bool:
        """Block for a time, but no longer than until the stop.

        After the stop the first call of a thread returns at once; a thread that ignores the answer and calls again does
        sleep, up to a second a call, so that its loop cannot spin.

        Args:
            duration: How long to sleep at most, in seconds or as a `timedelta`.
            hours: The same in parts, instead of *duration*; the parts are added up.
            minutes: See *hours*.
            seconds: See *hours*.

        Returns:
            True if the stop was requested, False if the time was slept in full.

        Raises:
            TypeError: No duration, two forms of it, or a value that is none.
            ValueError: The duration is negative or NaN.
        """
        delay = to_period(duration, hours, minutes, seconds, "sleep()")
        if self._stopped.is_set():
            if getattr(self._informed, "stop", False):
                self._warn()
                time.sleep(min(delay, LONGEST_SLEEP_AFTER_STOP))
            self._informed.stop = True
            return True
        return self._wait(delay)

    def wait(self) -> None:
        """Block until the stop is requested."""
        self._wait(None)

    def every(
        self,
        duration: Duration | None = None,
        *,
        hours: float = NOT_GIVEN,
        minutes: float = NOT_GIVEN,
        seconds: float = NOT_GIVEN,
    ) -> Iterator[None]:
        """Return ticks for ``for``: the first at once, the next on a fixed grid from it, until the stop.

        A body that overruns its period gets one tick at once for all it has missed, then the grid again.

        Args:
            duration: The period, in seconds or as a `timedelta`.
            hours: The same in parts, instead of *duration*; the parts are added up.
            minutes: See *hours*.
            seconds: See *hours*.

        Raises:
            TypeError: No period, two forms of it, or a value that is none.
            ValueError: The period is 0, infinite, negative or NaN.
        """
        return _ThreadTicks(self, to_positive_period(duration, hours, minutes, seconds, "every()"))

    def on_stop(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Have *callback* called at the stop, which is how a library with a ``run_forever()`` learns of it.

        It is called in the host's event loop, not in the thread that has registered it; at once, in this thread, if the
        stop has come already. It must be short and may be called while the service's thread works. An error in it is
        logged and keeps no other callback from running; a ``SystemExit`` or ``KeyboardInterrupt`` is also taken as if
        the service had raised it.

        Returns:
            A function that takes the registration back; calling it twice, or after the stop, is fine.

        Raises:
            TypeError: *callback* cannot be called, or is an async function.
        """
        require_sync(callback, "on_stop()")
        key = object()
        self._callbacks[key] = callback
        if self._stopped.is_set():
            self._call(key)

        def undo() -> None:
            self._callbacks.pop(key, None)

        return undo

    def beat(self) -> None:
        """Report to the host that the service is alive; see ``heartbeat_timeout`` of `HostBuilder.add_service`."""
        if self._on_activity is not None:
            self._on_activity()

    def _warn(self) -> None:
        with self._lock:
            first, self._warned = not self._warned, True
        if first:
            self._owner.log_ignored_stop()

    def _wait(self, delay: float | None) -> bool:
        with self._lock:
            self._waits += 1
        self.beat()
        try:
            # A wait of the standard library overflows on what is longer than some centuries.
            return self._stopped.wait(None if delay is None else min(delay, threading.TIMEOUT_MAX))
        finally:
            with self._lock:
                self._waits -= 1
            self.beat()


class ThreadStoppingSource(ThreadStoppingToken):
    """The other side of a token: made by hostkit, which requests the stop, and shown as a `ThreadStoppingToken`."""

    @property
    def waiting(self) -> bool:
        """Whether a thread waits in the token."""
        return self._waits > 0

    def request_stop(self) -> None:
        """Set the token, wake every wait and call the callbacks, in the order of registration; once."""
        self._stopped.set()
        for key in list(self._callbacks):
            self._call(key)


class _ThreadTicks:
    """The ticks of `ThreadStoppingToken.every`."""

    def __init__(self, token: ThreadStoppingToken, period: float) -> None:
        self._token = token
        self._grid = Grid(period)

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> None:
        token = self._token
        token._wait(self._grid.seconds_left(time.monotonic()))  # noqa: SLF001  # a part of the token
        if token.stop_requested:
            raise StopIteration
        self._grid.take(time.monotonic())
