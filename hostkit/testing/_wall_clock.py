"""A wall clock to set by hand."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import anyio


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
        self._began: float | None = None

    def now(self) -> datetime:
        """Return the time it shows, aware, in UTC.

        Raises:
            NoEventLoopError: It already goes with an event loop, but this is not a task of one; a worker thread, say.
        """
        return self._shown + timedelta(seconds=self._elapsed())

    def step(self, by: timedelta | float) -> None:
        """Set it forward, or back if *by* is negative; timers do not notice.

        Args:
            by: A `timedelta`, or seconds.
        """
        self._shown += by if isinstance(by, timedelta) else timedelta(seconds=by)

    def _elapsed(self) -> float:
        try:
            now = anyio.current_time()
        except anyio.NoEventLoopError:
            if self._began is not None:
                raise
            return 0
        if self._began is None:
            self._began = now
        return now - self._began
