"""The grid of ticks that both tokens lay: what is missed is made up for by one tick, and the grid stays."""

import math


class Grid:
    """The instants at which ticks are due: the first at once, the next ones whole periods after it."""

    __slots__ = ("_first", "_next", "_period")

    def __init__(self, period: float) -> None:
        """Lay nothing yet: the first tick does."""
        self._period = period
        self._first = math.nan
        self._next = 0  # the number of the next tick, on the grid that the first one lays

    def seconds_left(self, now: float) -> float:
        """Return how long the next tick is to be waited for, 0 if it is due."""
        return max(0.0, self._first + self._next * self._period - now) if self._next else 0.0

    def take(self, now: float) -> None:
        """Take the next tick at *now*; late ones coalesce into it."""
        if not self._next:
            self._first = now
        self._next = max(self._next, math.floor((now - self._first) / self._period)) + 1
