"""From local times to instants, with Debian cron's rules where the clock changes; time zones by name.

A *local time* is a naive ``datetime``: what the clock in a zone shows. Instants are in UTC, because two datetimes
of one zone are compared by what the clock shows, not by which came first.
"""

from collections.abc import Callable
from datetime import MINYEAR, UTC, datetime, timedelta, tzinfo
from zoneinfo import ZoneInfo

FirstLocal = Callable[[datetime], datetime | None]
"""The pattern of a schedule: the first local time at or after a given one, as if clocks never changed."""

MICROSECOND = timedelta(microseconds=1)
_SECOND = timedelta(seconds=1)
_ONE_DAY = timedelta(days=1)
_LAST_CLOCK_CHANGES = datetime.max.replace(tzinfo=UTC) - 2 * _ONE_DAY
"""No zone changes its clock in the last days of the last year."""


def to_utc(instant: datetime) -> datetime:
    """Return *instant* in UTC, the nearest one there is if it lies before the year 1 or after 9999 there."""
    try:
        return instant.astimezone(UTC)
    except OverflowError:
        return _nearest_end(instant).replace(tzinfo=UTC)


def local_at(instant: datetime, zone: tzinfo) -> datetime:
    """Return what the clock in *zone* shows at *instant*, the nearest there is if that is no ``datetime``."""
    try:
        return instant.astimezone(zone).replace(tzinfo=None, fold=0)
    except OverflowError:
        return _nearest_end(instant)


def instant_of(local: datetime, zone: tzinfo) -> datetime:
    """Return the instant at which a job at the fixed time *local* runs.

    A time that the clock shows twice counts the first time. A time that the clock leaves out is made up for
    as soon as the clock has changed.

    Raises:
        OverflowError: The instant lies before the year 1 or after 9999 in UTC.
    """
    first, second = _both_readings(local, zone)
    if first <= second:
        return first
    return _first_instant(second, first, lambda instant: local_at(instant, zone) > local)


def next_fixed(after: datetime, zone: tzinfo, first_local: FirstLocal) -> datetime | None:
    """Return the first run after *after* of a job at fixed times.

    Raises:
        OverflowError: It lies after the year 9999 in UTC.
    """
    local = first_local(local_at(after, zone))
    while local is not None:
        run = instant_of(local, zone)
        if run > after:
            return run
        # Most often in an hour that is shown for the second time: its runs were all the first time.
        local = first_local(local + MICROSECOND)
    return None


def next_shown(after: datetime, zone: tzinfo, first_local: FirstLocal) -> datetime | None:
    """Return the first run after *after* of a job that runs every time the clock shows one of its times.

    Raises:
        OverflowError: It lies after the year 9999 in UTC.
    """
    # Strictly later: what the clock shows at *after* it may show once more, but not before it goes back.
    run = _first_shown(local_at(after, zone) + MICROSECOND, after, zone, first_local)
    back = _clock_goes_back(after, zone)
    if back is None or (run is not None and run < back):
        return run
    # From here the clock shows times for the second time, which the search above has left behind.
    return _first_shown(local_at(back, zone), back - MICROSECOND, zone, first_local)


def is_shown(local: datetime, zone: tzinfo) -> bool:
    """Return whether the clock ever shows *local*.

    Raises:
        OverflowError: The instant lies before the year 1 or after 9999 in UTC.
    """
    first, second = _both_readings(local, zone)
    return first <= second


def _first_shown(local: datetime, after: datetime, zone: tzinfo, first_local: FirstLocal) -> datetime | None:
    found = first_local(local)
    while found is not None:
        first, second = _both_readings(found, zone)
        if first <= second and second > after:
            return first if first > after else second
        found = first_local(found + MICROSECOND)
    return None


def _both_readings(local: datetime, zone: tzinfo) -> tuple[datetime, datetime]:
    """Read *local* by the offset before and by the offset after a clock change.

    Equal: the usual day. Ascending: the clock shows *local* twice. Descending: it never does.
    """
    first = local.replace(tzinfo=zone)
    return first.astimezone(UTC), first.replace(fold=1).astimezone(UTC)


def _clock_goes_back(after: datetime, zone: tzinfo) -> datetime | None:
    """Return the instant within a day after *after* at which the clock goes back."""
    if after > _LAST_CLOCK_CHANGES:
        return None
    shown = local_at(after, zone) - after.replace(tzinfo=None)
    # Far enough: only a clock that goes back by more than the time until then shows again what has passed.
    later = after + _ONE_DAY
    if local_at(later, zone) - later.replace(tzinfo=None) >= shown:
        return None
    return _first_instant(
        after.replace(microsecond=0),
        later.replace(microsecond=0),
        lambda instant: local_at(instant, zone) - instant.replace(tzinfo=None) < shown,
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


def _nearest_end(instant: datetime) -> datetime:
    return datetime.min if instant.year == MINYEAR else datetime.max  # noqa: DTZ901  # a local time


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


def zone_called(name: str) -> tzinfo:
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
