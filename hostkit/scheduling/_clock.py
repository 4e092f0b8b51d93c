"""The two clocks of a scheduler, what they showed at one instant, and how long something took in words."""

from datetime import UTC, datetime, timedelta
from typing import NamedTuple

EARLIEST, LATEST = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)


class Reading(NamedTuple):
    """What the wall clock (in UTC) and the event loop's clock showed at one instant."""

    wall: datetime
    time: float

    def wall_at(self, time: float) -> datetime:
        """Return what the wall clock shows when the loop's clock shows *time*, unless the wall clock is set."""
        return later(self.wall, time - self.time)


def in_utc(now: datetime) -> datetime:
    """Return what a scheduler's wall clock shows, in UTC.

    Raises:
        TypeError: It is not a datetime.
        ValueError: It is naive, or UTC has no date for it.
    """
    if not isinstance(now, datetime):
        message = f"the clock of a scheduler must show a datetime, got {now!r}"
        raise TypeError(message)
    if now.utcoffset() is None:
        message = f"the clock of a scheduler must show an aware datetime, got {now!r}"
        raise ValueError(message)
    try:
        return now.astimezone(UTC)
    except OverflowError:
        message = f"the clock of a scheduler shows an instant beyond the calendar of UTC: {now!r}"
        raise ValueError(message) from None


def later(instant: datetime, seconds: float) -> datetime:
    """Return *instant* moved on by *seconds*, or back if they are negative, but not out of the calendar."""
    try:
        return instant + timedelta(seconds=seconds)
    except OverflowError:
        return LATEST if seconds > 0 else EARLIEST


def seconds_text(seconds: float) -> str:
    """Return how long something took, in words: ``less than 1 ms``, ``120 ms``, ``12 s``, ``1 h 5 min``."""
    if seconds < 0.001:  # noqa: PLR2004  # a millisecond
        return "less than 1 ms"
    if seconds < 1:
        return f"{seconds * 1000:.3g} ms"
    if seconds < 60:  # noqa: PLR2004  # a minute
        return f"{seconds:.3g} s"
    parts = []
    rest = round(seconds)
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1)):
        amount, rest = divmod(rest, size)
        parts.append(f"{amount} {unit}" if amount else "")
    first = next(index for index, part in enumerate(parts) if part)
    return " ".join(filter(None, parts[first : first + 2]))
