"""Cron expressions, read by cronsim (``hostkit-py[cron]``), at the clock changes by hostkit's own rules."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, tzinfo
from typing import TYPE_CHECKING

from hostkit.scheduling._calendar import Daily, Monthly, Weekly
from hostkit.scheduling._days import NAMES
from hostkit.scheduling._english import ordinal
from hostkit.scheduling._local_time import next_fixed, next_shown
from hostkit.scheduling._schedule import Schedule

if TYPE_CHECKING:
    from cronsim import CronSim

_FIELDS = 5
_MOST_TIMES_NAMED = 4
_LEGEND = (
    "minute (0-59), hour (0-23), day of the month (1-31 as the month allows, L, LW), month (1-12, jan-dec), "
    "day of the week (0-7, sun-sat, fri#2, 5L)"
)
_SECONDS = "for seconds take Every(seconds=...) or Daily('HH:MM:SS')"
_ANY_WALL = datetime(2026, 1, 1)  # noqa: DTZ001  (a wall)


@dataclass(frozen=True, init=False, repr=False)
class Cron(Schedule):
    """A cron expression in Debian's dialect: ``Cron("0 9 * * mon-fri", tz="Europe/Berlin")``.

    Five fields: minute, hour, day of the month, month, day of the week (0 and 7 are Sunday). Beside ``*``, lists,
    ranges and steps also ``L`` and ``LW`` (last day, last weekday of the month), ``fri#2`` (second Friday) and ``5L``
    (last Friday). When both days are given, one of the two is enough, unless one of them starts with ``*``.

    At clock changes: if minute and hour both do not start with ``*``, the times are fixed; one that the clock
    leaves out is made up for as soon as the clock has changed, and one that it shows twice counts the first time.
    Otherwise it runs every time the clock shows one of its times.

    Needs cronsim: ``pip install 'hostkit-py[cron]'``. There is no field for seconds; take `Every`, or `Daily` with
    ``"HH:MM:SS"``.

    Args:
        expression: The five fields.
        tz: Whose clock counts: a name such as ``"Europe/Berlin"``, or a ``ZoneInfo``.

    Raises:
        ValueError: The expression is wrong or never comes true (31 February), or there is no such zone.
        ModuleNotFoundError: cronsim is not installed.
    """

    expression: str
    _shown: bool = field(compare=False)

    def __init__(self, expression: str, *, tz: str | tzinfo = "UTC") -> None:
        super().__init__(tz)
        if not isinstance(expression, str):
            msg = f"a cron expression must be text, not {expression!r}"
            raise TypeError(msg)
        fields = expression.split()
        _check(expression, fields)
        self._set(expression=" ".join(fields), _shown=any(each.startswith("*") for each in fields[:2]))

    def _run_after(self, after: datetime) -> datetime:
        search = next_shown if self._shown else next_fixed
        return search(after, self._zone, self._next_wall)

    def _next_wall(self, wall: datetime) -> datetime:
        # On a naive datetime cronsim knows nothing of clock changes; where clocks change by half an hour it would
        # miss runs. There always is a next one: it looks 50 years ahead, and the rarest date, a 29 February
        # on one day of the week, comes within 40.
        return next(_cronsim(self.expression, wall))

    def _code(self) -> str:
        return f"Cron({self.expression!r}, tz={self.tz!r})"

    def _english(self) -> str:
        simple = self._simple()
        if simple is not None:
            return str(simple)
        text = _cronsim(self.expression, _ANY_WALL).explain()
        return f"{text[0].lower()}{text[1:]}, {self.tz}"

    def _dates_english(self) -> str:
        simple = self._simple()
        return super()._dates_english() if simple is None else simple._dates_english()

    def _simple(self) -> Daily | Weekly | Monthly | None:
        """Return the same schedule without cron, if there is one and it has few enough times to name."""
        parsed = _cronsim(self.expression, _ANY_WALL)
        times = [f"{hour}:{minute:02}" for hour in parsed.hours for minute in parsed.minutes]
        _, _, days, months, weekdays = self.expression.split()
        if self._shown or months != "*" or "*" not in (days, weekdays) or len(times) > _MOST_TIMES_NAMED:
            return None
        if days != "*":
            day, *more = parsed.days
            if more or day == parsed.LAST_WEEKDAY:
                return None
            return Monthly("last" if day == parsed.LAST else day, *times, tz=self.tz)
        if weekdays == "*":
            return Daily(*times, tz=self.tz)
        names = {NAMES[each - 1] for each in parsed.weekdays if isinstance(each, int)}
        nth = [each for each in parsed.weekdays if isinstance(each, tuple)]
        if not nth:
            return Weekly(names, *times, tz=self.tz)
        return None if names or len(nth) > 1 else Monthly(_nth_weekday(*nth[0]), *times, tz=self.tz)


def _nth_weekday(weekday: int, nth: int) -> str:
    return f"{ordinal(nth) if nth > 0 else 'last'} {NAMES[weekday - 1]}"


def _cronsim(expression: str, wall: datetime) -> CronSim:
    """Let cronsim begin at *wall*.

    Raises:
        ValueError: The expression is wrong.
        ModuleNotFoundError: There is no cronsim.
    """
    try:
        # Here and not above: hostkit.scheduling works without the extra.
        from cronsim import CronSim, CronSimError
    except ModuleNotFoundError as error:
        msg = "Cron needs cronsim: pip install 'hostkit-py[cron]' (Daily, Weekly and Monthly do without)"
        raise ModuleNotFoundError(msg, name="cronsim") from error
    try:
        return CronSim(expression, wall)
    except CronSimError as error:
        msg = f"wrong cron expression {expression!r}: {str(error).lower()}; {_LEGEND}"
        raise ValueError(msg) from error


def _check(expression: str, fields: list[str]) -> None:
    if len(fields) != _FIELDS:
        msg = f"cron expression {expression!r} has {len(fields)} fields instead of 5: {_LEGEND}; {_SECONDS}"
        raise ValueError(msg)
    try:
        next(_cronsim(expression, _ANY_WALL))
    except StopIteration:
        msg = f"cron expression {expression!r} never comes true: no date is like that"
        raise ValueError(msg) from None
