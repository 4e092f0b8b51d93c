"""Reports of one thing that happens again and again: the first in full, then their count, at most once a minute."""

from collections.abc import Hashable, Iterator
from typing import NamedTuple

PERIOD = 60.0
"""Seconds between two reports of the same thing."""
MOST_KEYS = 1000
"""How many things are remembered; of more, the one that was reported first is forgotten."""


class Repeat(NamedTuple):
    """How often something has happened that was not reported each time.

    Attributes:
        times: How often, since the last report; 0 for the first time, which is to be reported in full.
        seconds: In how many seconds.
    """

    times: int
    seconds: float


class Repeats:
    """Decides what is reported of things that happen again and again."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self._seen: dict[Hashable, tuple[float, int]] = {}

    def take(self, key: Hashable, now: float) -> Repeat | None:
        """Count *key*, which happens at the instant *now*; return what to report, or None if it is to be left out."""
        if key not in self._seen:
            if len(self._seen) >= MOST_KEYS:
                del self._seen[next(iter(self._seen))]
            self._seen[key] = (now, 0)
            return Repeat(0, 0.0)
        reported_at, count = self._seen[key]
        if now - reported_at < PERIOD:
            self._seen[key] = (reported_at, count + 1)
            return None
        self._seen[key] = (now, 0)
        return Repeat(count + 1, now - reported_at)

    def end(self, now: float) -> Iterator[tuple[Hashable, Repeat]]:
        """Forget everything, and yield what was left out since it was last reported."""
        seen, self._seen = self._seen, {}
        for key, (reported_at, count) in seen.items():
            if count:
                yield key, Repeat(count, now - reported_at)
