"""A fixed interval."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

from hostkit._values.durations import NOT_GIVEN, Duration, to_positive_period
from hostkit.scheduling._english import in_words
from hostkit.scheduling._schedule import MOST_EXCLUDED, Schedule

_LONGEST = timedelta(days=date.max.toordinal())


@dataclass(frozen=True, init=False, repr=False)
class Every(Schedule):
    """An interval: ``Every(minutes=5)``, ``Every(hours=1, minutes=30)``, ``Every(timedelta(days=1))``.

    A scheduler lays its grid from its own start, on the monotonic clock. `next_after` alone counts from the
    instant it is given. Clock changes do not touch an interval. Excluded dates are dates in UTC, and the grid goes
    on over them.

    Args:
        duration: The interval in seconds or as a ``timedelta``, instead of the parts below.
        hours: Hours.
        minutes: Minutes, added to the hours.
        seconds: Seconds, added to both.

    Raises:
        TypeError: No interval, two forms of it, or a part that is not a number; a ``bool`` is not one.
        ValueError: The interval is longer than the calendar (9,999 years) or less than a microsecond, or a part of it
                is negative or NaN.
    """

    _interval: timedelta

    def __init__(
        self,
        duration: Duration | None = None,
        *,
        hours: float = NOT_GIVEN,
        minutes: float = NOT_GIVEN,
        seconds: float = NOT_GIVEN,
    ) -> None:
        super().__init__("UTC")
        period = to_positive_period(duration, hours, minutes, seconds, "Every")
        if period > _LONGEST.total_seconds():
            msg = f"the interval must not be longer than the calendar of 9,999 years, got {period!r} seconds"
            raise ValueError(msg)
        interval = timedelta(seconds=period)
        if not interval:
            msg = f"the interval must be at least a microsecond, got {period!r} seconds"
            raise ValueError(msg)
        self._set(_interval=interval)

    @property
    def period(self) -> float:
        """Seconds from run to run."""
        return self._interval.total_seconds()

    @property
    def zone(self) -> None:
        """None: clock changes do not touch an interval."""
        return None

    def _run_after(self, after: datetime) -> datetime | None:
        run = after + self._interval
        for _ in range(MOST_EXCLUDED):
            if self._is_over(run) or not self._excludes(run.date()):
                return run
            midnight = datetime.combine(run.date() + timedelta(days=1), time.min, UTC)
            # Whole steps, rounded up: the grid goes on over what is left out.
            run -= (run - midnight) // self._interval * self._interval
        return None

    def _code(self) -> str:
        return f"Every({', '.join(f'{name}={amount}' for name, amount in self._parts().items())})"

    def _rule_english(self, zone: str) -> str:  # noqa: ARG002  # an interval has none to name
        parts = self._parts()
        if list(parts.values()) == [1]:
            return f"every {next(iter(parts))[:-1]}"
        return f"every {in_words([f'{amount} {name[:-1] if amount == 1 else name}' for name, amount in parts.items()])}"

    def _refinements_english(self, zone: str) -> str:  # noqa: ARG002  # its dates and its end are named in UTC always
        text = super()._refinements_english(self.tz)
        return f"{text} (dates in UTC)" if self.excluded_dates or self.excluded_schedules else text

    def _parts(self) -> dict[str, float]:
        minutes, rest = divmod(self._interval, timedelta(minutes=1))
        hours, minutes = divmod(minutes, 60)
        seconds = rest.total_seconds()
        parts = {"hours": hours, "minutes": minutes, "seconds": int(seconds) if seconds.is_integer() else seconds}
        return {name: amount for name, amount in parts.items() if amount}
