"""Time zones by name; a wrong name comes back with the nearest right ones."""

from datetime import UTC, tzinfo
from zoneinfo import ZoneInfo


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
