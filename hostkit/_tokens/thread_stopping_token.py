"""The stopping token of code that blocks a thread."""

import math
import threading
import time
from collections.abc import Callable, Iterator
from typing import Self

from hostkit._values.durations import NOT_GIVEN, Duration, to_period, to_positive_period

LONGEST_SLEEP_AFTER_STOP = 1.0


class ThreadStoppingToken:
    """How blocking code learns that it should finish; one for each run of a service.

    The stop is a *request*: nothing is interrupted by it but the waits of this token. Any thread may use it.
    """

    def __init__(self, on_ignored: Callable[[], None], pulse: Callable[[], None] | None = None) -> None:
        """Make a token that no stop has reached yet.

        *on_ignored* is called, once, when a thread goes on sleeping after the stop; *pulse* at every sign of life,
        where one is wanted.
        """
        self._stopped = threading.Event()
        self._on_ignored = on_ignored
        self._warned = False
        self._told = threading.local()
        self._waits = 0
        self._lock = threading.Lock()
        self._pulse = pulse

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
            if getattr(self._told, "stop", False):
                self._warn()
                time.sleep(min(delay, LONGEST_SLEEP_AFTER_STOP))
            self._told.stop = True
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

    def beat(self) -> None:
        """Tell the host that the service is alive; see ``heartbeat_timeout`` of `HostBuilder.add_service`."""
        if self._pulse is not None:
            self._pulse()

    def _set(self) -> None:
        self._stopped.set()

    def _warn(self) -> None:
        with self._lock:
            first, self._warned = not self._warned, True
        if first:
            self._on_ignored()

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


class _ThreadTicks:
    """The ticks of `ThreadStoppingToken.every`."""

    def __init__(self, token: ThreadStoppingToken, period: float) -> None:
        self._token = token
        self._period = period
        self._first = math.nan
        self._index = 0

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> None:
        token = self._token
        if self._index:
            due = self._first + self._index * self._period
            token._wait(max(0.0, due - time.monotonic()))  # one subject, one module
        if token.stop_requested:
            raise StopIteration
        now = time.monotonic()
        if not self._index:
            self._first = now
        self._index = max(self._index, math.floor((now - self._first) / self._period)) + 1
