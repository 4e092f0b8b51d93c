"""A wall clock to set by hand."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from hostkit._execution.event_loop import EventLoop, loop_is_running

if TYPE_CHECKING:
    from collections.abc import Callable


class FakeWallClock:
    """A wall clock that goes with the event loop's clock and can be stepped, as an administrator or NTP would.

    On virtual time it is exact. It belongs to the one event loop in which it is first read; before that it shows its
    start.
    """

    def __init__(self, start: datetime) -> None:
        """Make a clock that shows *start* until it is first read in an event loop.

        Raises:
            ValueError: *start* is naive.
        """
        if start.utcoffset() is None:
            message = f"the start must be an aware datetime, got {start!r}"
            raise ValueError(message)
        self._shown = start.astimezone(UTC)
        self._time: Callable[[], float] | None = None
        self._began = 0.0

    def now(self) -> datetime:
        """Return the time it shows, aware, in UTC; from any thread."""
        return self._shown + timedelta(seconds=self._elapsed())

    def step(self, by: timedelta | float) -> None:
        """Set it forward, or back if *by* is negative; timers do not notice.

        Args:
            by: A `timedelta`, or seconds.
        """
        self._shown += by if isinstance(by, timedelta) else timedelta(seconds=by)

    def _elapsed(self) -> float:
        if self._time is None:
            if not loop_is_running():
                return 0
            self._time = EventLoop().time
            self._began = self._time()
        return self._time() - self._began
