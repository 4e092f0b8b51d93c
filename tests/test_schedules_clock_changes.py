"""Schedules where the clock changes: Debian cron's rules, over ten zones and twelve years."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from hostkit.scheduling import Cron, Daily, Schedule, Weekly

pytestmark = pytest.mark.needs("cronsim")

# All patterns and all clock changes here are on multiples of it.
STEP = timedelta(minutes=5)
BEFORE, BEHIND = timedelta(hours=6), timedelta(hours=26)

ZONES = [
    "Africa/Cairo",  # forward at midnight on a Friday
    "Africa/Casablanca",  # back for Ramadan
    "America/Havana",  # back to midnight
    "America/New_York",
    "America/Nuuk",  # forward from 23:00 to midnight
    "America/Santiago",  # forward at midnight
    "Australia/Lord_Howe",  # by half an hour
    "Europe/Berlin",
    "Europe/Dublin",  # winter is the time with the offset of its own
    "Pacific/Chatham",  # at 2:45
]
# At midnight, by half an hour, and as in most zones; the others do the same once more.
SOME = {"Africa/Cairo", "Australia/Lord_Howe", "Europe/Berlin"}
EACH_ZONE = [tz if tz in SOME else pytest.param(tz, marks=pytest.mark.long) for tz in ZONES]

# What each expression means, in words that share nothing with hostkit or cronsim.
Pattern = Callable[[datetime], bool]
FIXED: dict[str, Pattern] = {
    "30 2 * * *": lambda wall: (wall.hour, wall.minute) == (2, 30),
    "0,30 2 * * *": lambda wall: wall.hour == 2 and wall.minute in {0, 30},
    "15 1,2,3 * * *": lambda wall: wall.hour in {1, 2, 3} and wall.minute == 15,
    "30 23 * * *": lambda wall: (wall.hour, wall.minute) == (23, 30),
    "0 0 * * *": lambda wall: (wall.hour, wall.minute) == (0, 0),
    "5 0 * * sun": lambda wall: (wall.isoweekday(), wall.hour, wall.minute) == (7, 0, 5),
}
SHOWN: dict[str, Pattern] = {
    "30 * * * *": lambda wall: wall.minute == 30,
    "*/30 * * * *": lambda wall: wall.minute in {0, 30},
    "0 */2 * * *": lambda wall: wall.minute == 0 and wall.hour % 2 == 0,
    "*/20 2 * * *": lambda wall: wall.hour == 2 and wall.minute % 20 == 0,
    "10 * * * sun": lambda wall: wall.isoweekday() == 7 and wall.minute == 10,
    "*/15 0 * * fri": lambda wall: wall.isoweekday() == 5 and wall.hour == 0 and wall.minute % 15 == 0,
}
WITHOUT_CRON: dict[str, Callable[[str], Schedule]] = {
    "30 2 * * *": lambda tz: Daily("02:30", tz=tz),
    "0,30 2 * * *": lambda tz: Daily("02:00", "02:30", tz=tz),
    "15 1,2,3 * * *": lambda tz: Daily("01:15", "02:15", "03:15", tz=tz),
    "30 23 * * *": lambda tz: Daily("23:30", tz=tz),
    "0 0 * * *": lambda tz: Daily(tz=tz),
    "5 0 * * sun": lambda tz: Weekly("sun", "00:05", tz=tz),
}


def changes(tz: str) -> Iterator[datetime]:
    """Find each clock change from 2024 to 2035."""
    zone = ZoneInfo(tz)
    half_day = timedelta(hours=12)
    instant = datetime(2024, 1, 1, tzinfo=UTC)
    while instant.year < 2036:
        if instant.astimezone(zone).utcoffset() != (instant + half_day).astimezone(zone).utcoffset():
            steps = (instant + n * STEP for n in range(half_day // STEP + 1))
            before = instant.astimezone(zone).utcoffset()
            yield next(each for each in steps if each.astimezone(zone).utcoffset() != before)
        instant += half_day


def walk(tz: str, start: datetime, end: datetime) -> list[tuple[datetime, datetime]]:
    """Look at the clock every five minutes: the instants and what it shows."""
    zone = ZoneInfo(tz)
    instants = (start + n * STEP for n in range((end - start) // STEP))
    return [(instant, instant.astimezone(zone).replace(tzinfo=None, fold=0)) for instant in instants]


def brute_force(looks: list[tuple[datetime, datetime]], pattern: Pattern, *, fixed: bool) -> list[datetime]:
    """Do what Debian's cron does, which wakes up again and again and looks at the clock."""
    if not fixed:
        return [instant for instant, wall in looks if pattern(wall)]
    runs = []
    latest = looks[0][1] - STEP
    for instant, wall in looks:
        skipped = (wall - latest) // STEP
        if any(pattern(wall - n * STEP) for n in range(skipped)):
            runs.append(instant)
        latest = max(latest, wall)
    return runs


def runs_between(schedule: Schedule, start: datetime, end: datetime) -> list[datetime]:
    """Return the runs from *start* to *end* (exclusive), in UTC."""
    runs = []
    run = start - timedelta(seconds=1)
    while (found := schedule.next_after(run)) is not None:
        run = found.astimezone(UTC)
        if run >= end:
            break
        runs.append(run)
    return runs


@pytest.mark.parametrize("tz", EACH_ZONE)
def test_does_what_a_walk_by_the_clock_does(tz: str) -> None:
    """Round every clock change a schedule runs exactly when Debian's cron would have."""
    found = [(change - BEFORE, change + BEHIND) for change in changes(tz)]
    assert len(found) >= 23

    for start, end in found:
        looks = walk(tz, start, end)
        for expression, pattern in (FIXED | SHOWN).items():
            wanted = brute_force(looks, pattern, fixed=expression in FIXED)

            assert runs_between(Cron(expression, tz=tz), start, end) == wanted, (expression, start)
            if expression in WITHOUT_CRON:
                assert runs_between(WITHOUT_CRON[expression](tz), start, end) == wanted, (expression, start)


@pytest.mark.parametrize(
    ("expression", "tz", "day", "runs"),
    [
        ("30 2 * * *", "Europe/Berlin", "2026-03-29", "03:00+02:00"),
        ("0,30 2 * * *", "Europe/Berlin", "2026-03-29", "03:00+02:00"),
        ("30 * * * *", "Europe/Berlin", "2026-03-29", "00:30+01:00 01:30+01:00 03:30+02:00 04:30+02:00"),
        ("0 */2 * * *", "Europe/Berlin", "2026-03-29", "00:00+01:00 04:00+02:00"),
        ("30 2 * * *", "Europe/Berlin", "2026-10-25", "02:30+02:00"),
        (
            "*/30 * * * *",
            "Europe/Berlin",
            "2026-10-25",
            (
                "00:00+02:00 00:30+02:00 01:00+02:00 01:30+02:00 02:00+02:00 02:30+02:00 "
                "02:00+01:00 02:30+01:00 03:00+01:00 03:30+01:00 04:00+01:00 04:30+01:00"
            ),
        ),
        ("30 1 * * *", "America/New_York", "2026-11-01", "01:30-04:00"),
        (
            "30 * * * *",
            "Australia/Lord_Howe",
            "2026-10-04",
            "00:30+10:30 01:30+10:30 02:30+11:00 03:30+11:00 04:30+11:00",
        ),
        (
            "30 * * * *",
            "Australia/Lord_Howe",
            "2026-04-05",
            "00:30+11:00 01:30+11:00 01:30+10:30 02:30+10:30 03:30+10:30 04:30+10:30",
        ),
        ("0 */2 * * *", "Australia/Lord_Howe", "2026-10-04", "00:00+10:30 04:00+11:00"),
        ("0 */2 * * *", "Australia/Lord_Howe", "2026-04-05", "00:00+11:00 02:00+10:30 04:00+10:30"),
        ("15 2 * * *", "Australia/Lord_Howe", "2026-10-04", "02:30+11:00"),
        ("0 0 * * *", "America/Santiago", "2026-09-06", "01:00-03:00"),
        ("*/15 0 * * *", "America/Santiago", "2026-09-06", ""),
        ("0 0 * * *", "America/Havana", "2026-11-01", "00:00-04:00"),
        (
            "0 * * * *",
            "America/Havana",
            "2026-11-01",
            "00:00-04:00 00:00-05:00 01:00-05:00 02:00-05:00 03:00-05:00 04:00-05:00",
        ),
        ("30 23 * * *", "America/Nuuk", "2026-03-29", "00:00-01:00"),
        ("*/40 1 * * *", "Antarctica/Troll", "2026-10-25", "01:00+02:00 01:40+02:00 01:00+00:00 01:40+00:00"),
    ],
)
def test_clock_change(expression: str, tz: str, day: str, runs: str) -> None:
    """The first five hours of a day on which the clock changes (Nuuk makes up for its Saturday evening)."""
    start = datetime.fromisoformat(day).replace(tzinfo=ZoneInfo(tz)).astimezone(UTC)
    five = datetime.fromisoformat(f"{day} 05:00").replace(tzinfo=ZoneInfo(tz)).astimezone(UTC)

    found = runs_between(Cron(expression, tz=tz), start, five)

    assert " ".join(_shown(run, tz) for run in found) == runs


def _shown(run: datetime, tz: str) -> str:
    return run.astimezone(ZoneInfo(tz)).isoformat(timespec="minutes")[11:]


def test_asked_in_the_repeated_hour_does_not_go_back() -> None:
    """After the first showing of 2:30 the next run is tomorrow's, also when asked while the clock shows 2:10 again."""
    again = datetime(2026, 10, 25, 2, 10, fold=1, tzinfo=ZoneInfo("Europe/Berlin"))

    runs = [
        schedule.next_after(again)
        for schedule in (Daily("02:30", tz="Europe/Berlin"), Cron("30 2 * * *", tz="Europe/Berlin"))
    ]

    assert runs == [datetime(2026, 10, 26, 2, 30, tzinfo=ZoneInfo("Europe/Berlin"))] * 2


def test_a_second_showing_a_year_away_is_found() -> None:
    """The second showing is a run of its own even if the pattern next comes true a year later."""
    cron = Cron("*/30 2 25 10 *", tz="Europe/Berlin")

    runs = cron.upcoming(5, after=datetime(2026, 10, 1, tzinfo=UTC))

    assert [each.isoformat() for each in runs] == [
        "2026-10-25T02:00:00+02:00",
        "2026-10-25T02:30:00+02:00",
        "2026-10-25T02:00:00+01:00",
        "2026-10-25T02:30:00+01:00",
        "2027-10-25T02:00:00+02:00",
    ]


def test_an_excluded_date_has_no_second_showing_either() -> None:
    """Excluding the day of a clock change leaves out both showings, and nothing of the next day."""
    cron = Cron("30 * * * *", tz="America/Havana")
    start, end = datetime(2026, 10, 31, tzinfo=UTC), datetime(2026, 11, 3, tzinfo=UTC)
    day = datetime(2026, 11, 1).date()  # noqa: DTZ001  (a date)

    runs = runs_between(cron.excluding(day), start, end)

    assert runs == [
        each for each in runs_between(cron, start, end) if each.astimezone(ZoneInfo("America/Havana")).date() != day
    ]


def test_a_day_that_a_zone_left_out_is_made_up_for_once() -> None:
    """Samoa had no 30 December 2011: what was planned for it ran at the next midnight, and the date has no runs."""
    daily = Daily("03:00", "09:00", tz="Pacific/Apia")

    runs = daily.upcoming(5, after=datetime(2011, 12, 29, 18, tzinfo=UTC))

    assert [each.isoformat(timespec="minutes") for each in runs] == [
        "2011-12-29T09:00-10:00",
        "2011-12-31T00:00+14:00",
        "2011-12-31T03:00+14:00",
        "2011-12-31T09:00+14:00",
        "2012-01-01T03:00+14:00",
    ]


def test_a_date_on_which_the_clock_shows_none_of_the_times_is_not_excluded() -> None:
    """A cron schedule that runs whenever the clock shows a time plans no run for a date that leaves that hour out."""
    whole_hour = Cron("*/20 2 * * *", tz="Europe/Berlin")

    schedule = Daily("12:00", tz="Europe/Berlin").excluding(whole_hour)

    assert schedule.next_after(datetime(2026, 1, 1, tzinfo=UTC)) == datetime(
        2026, 3, 29, 12, tzinfo=ZoneInfo("Europe/Berlin")
    )
