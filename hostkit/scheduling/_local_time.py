"""From what a local clock shows to instants, with Debian cron's rules where the clock changes.

A *wall* is a naive ``datetime``: what a clock on the wall of the zone shows. Instants are in UTC,
because two datetimes of one zone are compared by what the clock shows, not by which came first.
"""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta, tzinfo
from zoneinfo import ZoneInfo

NextWall = Callable[[datetime], datetime]
"""The pattern of a schedule: the first wall after a given one, on a calendar that knows no clock changes."""

_SECOND = timedelta(seconds=1)
MICROSECOND = timedelta(microseconds=1)


def wall_at(instant: datetime, zone: tzinfo) -> datetime:
    """Return what the clock in *zone* shows at *instant*."""
    return instant.astimezone(zone).replace(tzinfo=None, fold=0)


def instant_of(wall: datetime, zone: tzinfo) -> datetime:
    """Return the instant at which a job at the fixed time *wall* runs.

    A time that the clock shows twice counts the first time. A time that the clock leaves out is made up for
    as soon as the clock has changed.
    """
    first, second = _both_readings(wall, zone)
    if first <= second:
        return first
    return _first_instant(second, first, lambda instant: wall_at(instant, zone) > wall)


def next_fixed(after: datetime, zone: tzinfo, next_wall: NextWall) -> datetime:
    """Return the first run after *after* of a job at fixed times."""
    wall = next_wall(wall_at(after, zone))
    # Several rounds only in an hour that is shown for the second time: its runs were all the first time.
    while (run := instant_of(wall, zone)) <= after:
        wall = next_wall(wall)
    return run


def next_shown(after: datetime, zone: tzinfo, next_wall: NextWall) -> datetime:
    """Return the first run after *after* of a job that runs every time the clock shows one of its times."""
    run = _first_shown(wall_at(after, zone), after, zone, next_wall)
    back = _clock_goes_back(after, zone)
    if back is None:
        return run
    # From here the clock shows times for the second time, which the search above has left behind.
    return min(run, _first_shown(wall_at(back, zone) - MICROSECOND, back - MICROSECOND, zone, next_wall))


def _first_shown(wall: datetime, after: datetime, zone: tzinfo, next_wall: NextWall) -> datetime:
    while True:
        wall = next_wall(wall)
        first, second = _both_readings(wall, zone)
        if first <= second:
            return first if first > after else second


def _both_readings(wall: datetime, zone: tzinfo) -> tuple[datetime, datetime]:
    """Read *wall* by the offset before and by the offset after a clock change.

    Equal: the usual day. Ascending: the clock shows *wall* twice. Descending: it never does.
    """
    first = wall.replace(tzinfo=zone)
    return first.astimezone(UTC), first.replace(fold=1).astimezone(UTC)


def _clock_goes_back(after: datetime, zone: tzinfo) -> datetime | None:
    """Return the instant within a day after *after* at which the clock goes back."""
    shown = wall_at(after, zone) - after.replace(tzinfo=None)
    # Far enough: only a clock that goes back by more than the time until then shows again what is behind us.
    later = after + timedelta(days=1)
    if wall_at(later, zone) - later.replace(tzinfo=None) >= shown:
        return None
    return _first_instant(
        after.replace(microsecond=0),
        later.replace(microsecond=0),
        lambda instant: wall_at(instant, zone) - instant.replace(tzinfo=None) < shown,
    )


def _first_instant(low: datetime, high: datetime, changed: Callable[[datetime], bool]) -> datetime:
    """Return the first whole second in (*low*, *high*] at which *changed* holds."""
    while (gap := (high - low) // _SECOND) > 1:
        middle = low + gap // 2 * _SECOND
        if changed(middle):
            high = middle
        else:
            low = middle
    return high


def zone_name(tz: str | tzinfo) -> str:
    """Return the name of *tz*, which is a name already, a ``ZoneInfo`` or ``datetime.UTC``.

    Raises:
        TypeError: *tz* is something else, a fixed offset for example: it has no name to show.
    """
    if isinstance(tz, str):
        return tz
    if tz is UTC:
        return "UTC"
    if isinstance(tz, ZoneInfo) and tz.key is not None:
        return tz.key
    msg = f"tz must be the name of a time zone such as 'Europe/Berlin', not {tz!r}"
    raise TypeError(msg)


def zone(name: str) -> tzinfo:
    """Return the time zone called *name*.

    Raises:
        ValueError: There is no such zone.
    """
    if name == "UTC":
        # Not a ZoneInfo: UTC must work where there is no time zone data (Windows, small containers).
        return UTC
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        # Names of folders and odd characters fail in all three ways, depending on the Python version.
        raise ValueError(_unknown(name)) from None


def _unknown(name: str) -> str:
    # Reached on an error only: the list is read from disk.
    from zoneinfo import available_timezones

    known = available_timezones()
    if not known:
        return f"unknown time zone {name!r}: this system has no time zone data; pip install tzdata"
    near = _nearest(name, known)
    hint = f"did you mean {' or '.join(map(repr, near))}?" if near else "names look like 'Europe/Berlin'"
    return f"unknown time zone {name!r}; {hint}"


def _nearest(name: str, known: set[str]) -> list[str]:
    from difflib import get_close_matches

    wanted = name.strip().replace(" ", "_").casefold()
    keys = {known_name.casefold(): known_name for known_name in sorted(known)}
    cities: dict[str, list[str]] = {}
    for key in keys:
        cities.setdefault(key.rpartition("/")[2], []).append(key)
    near = get_close_matches(wanted.rpartition("/")[2], cities, n=3, cutoff=0.75)
    matches = [key for city in near for key in cities[city]]
    matches += get_close_matches(wanted, keys, n=3, cutoff=0.75)
    return [keys[key] for key in dict.fromkeys(matches)][:3]
