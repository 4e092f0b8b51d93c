"""Both clocks of a scheduler, and what they showed at one instant."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import NamedTuple


class Reading(NamedTuple):
    """What the wall clock and the event loop's clock showed at one instant."""

    wall: datetime
    time: float

    def wall_at(self, time: float) -> datetime:
        """Return what the wall clock shows when the loop's clock shows *time*, if nobody sets it."""
        return self.wall + timedelta(seconds=time - self.time)


class Clock:
    """Both clocks: *now* is the one on the wall, *time* the event loop's."""

    def __init__(self, now: Callable[[], datetime], time: Callable[[], float]) -> None:
        """Take both."""
        self._now = now
        self.time = time

    def read(self) -> Reading:
        """Read both.

        Raises:
            ValueError: The wall clock is naive.
        """
        return Reading(in_utc(self._now()), self.time())


def in_utc(now: datetime) -> datetime:
    """Return what a scheduler's wall clock shows, in UTC.

    Raises:
        ValueError: It is naive.
    """
    if now.utcoffset() is None:
        message = f"the clock of a scheduler must show an aware datetime, got {now!r}"
        raise ValueError(message)
    return now.astimezone(UTC)
