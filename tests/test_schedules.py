"""Schedules as values: how they are made, compared, written and refined. Next to nothing here needs cronsim."""

import copy
import datetime as dt
import pickle
import zoneinfo
from collections.abc import Callable, Iterator
from dataclasses import FrozenInstanceError
from datetime import UTC, date, datetime, time, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest

from hostkit.scheduling import Cron, Daily, Every, Monthly, Schedule, Weekly

BERLIN = "Europe/Berlin"
ROME = "Europe/Rome"
NEW_YEAR = datetime(2026, 1, 1, tzinfo=UTC)  # a Thursday
NAMES = {"datetime": dt, "Daily": Daily, "Every": Every, "Monthly": Monthly, "Weekly": Weekly}


def days(start: date, end: date) -> Iterator[date]:
    """Walk over the dates from *start* to *end*."""
    return (start + timedelta(days=n) for n in range((end - start).days + 1))


def written(runs: list[datetime]) -> list[str]:
    """Write runs down for people, with the offset."""
    return [run.isoformat(" ", "minutes") for run in runs]


@pytest.mark.parametrize(
    ("schedule", "code", "english"),
    [
        (Every(minutes=5), "Every(minutes=5)", "every 5 minutes"),
        (Every(hours=1), "Every(hours=1)", "every hour"),
        (Every(5400), "Every(hours=1, minutes=30)", "every 1 hour and 30 minutes"),
        (Every(seconds=0.5), "Every(seconds=0.5)", "every 0.5 seconds"),
        (Every(timedelta(days=1, seconds=1)), "Every(hours=24, seconds=1)", "every 24 hours and 1 second"),
        (
            Every(minutes=5).excluding(date(2026, 12, 25)),
            "Every(minutes=5).excluding(datetime.date(2026, 12, 25))",
            "every 5 minutes, except 2026-12-25 (dates in UTC)",
        ),
        (Daily(), "Daily('00:00', tz='UTC')", "every day at 00:00 UTC"),
        (
            Daily("3:00", tz="Europe/Istanbul"),
            "Daily('03:00', tz='Europe/Istanbul')",
            "every day at 03:00 Europe/Istanbul",
        ),
        (
            Daily("17:00", time(9, 0, 30), "09:00:30", "23:00"),
            "Daily('09:00:30', '17:00', '23:00', tz='UTC')",
            "every day at 09:00:30, 17:00 and 23:00 UTC",
        ),
        (
            Weekly("mon-fri", "09:00", tz=BERLIN),
            "Weekly('mon-fri', '09:00', tz='Europe/Berlin')",
            "weekdays at 09:00 Europe/Berlin",
        ),
        (Weekly("sunday, SAT"), "Weekly('sat,sun', '00:00', tz='UTC')", "weekends at 00:00 UTC"),
        (
            Weekly("fri-mon,wed"),
            "Weekly('mon,wed,fri-sun', '00:00', tz='UTC')",
            "Mondays, Wednesdays, Fridays, Saturdays and Sundays at 00:00 UTC",
        ),
        (Weekly(["wed", "mon"]), "Weekly('mon,wed', '00:00', tz='UTC')", "Mondays and Wednesdays at 00:00 UTC"),
        (Weekly("sun-sat"), "Weekly('mon-sun', '00:00', tz='UTC')", "every day at 00:00 UTC"),
        (Monthly(1, "06:00"), "Monthly(1, '06:00', tz='UTC')", "the 1st of the month at 06:00 UTC"),
        (Monthly(12), "Monthly(12, '00:00', tz='UTC')", "the 12th of the month at 00:00 UTC"),
        (Monthly(23), "Monthly(23, '00:00', tz='UTC')", "the 23rd of the month at 00:00 UTC"),
        (Monthly("Last"), "Monthly('last', '00:00', tz='UTC')", "the last day of the month at 00:00 UTC"),
        (Monthly("2nd Tuesday"), "Monthly('2nd tue', '00:00', tz='UTC')", "the 2nd Tuesday of the month at 00:00 UTC"),
        (
            Weekly("mon-fri", "09:00", tz=ROME).excluding(Monthly("last fri", tz=ROME)),
            "Weekly('mon-fri', '09:00', tz='Europe/Rome').excluding(Monthly('last fri', '00:00', tz='Europe/Rome'))",
            "weekdays at 09:00 Europe/Rome, except the last Friday of the month",
        ),
        (
            Daily()
            .excluding(Weekly("sun", tz=ROME), date(2026, 12, 26), date(2026, 12, 25))
            .until(datetime(2027, 1, 1, tzinfo=UTC)),
            (
                "Daily('00:00', tz='UTC')"
                ".excluding(datetime.date(2026, 12, 25), datetime.date(2026, 12, 26), "
                "Weekly('sun', '00:00', tz='Europe/Rome'))"
                ".until(datetime.datetime(2027, 1, 1, 0, 0, tzinfo=datetime.timezone.utc))"
            ),
            (
                "every day at 00:00 UTC, "
                "except 2026-12-25, 2026-12-26 and Sundays (Europe/Rome), until 2027-01-01 00:00 UTC"
            ),
        ),
        (
            Daily("9:00", interval=2, starting=date(2026, 1, 5)),
            "Daily('09:00', tz='UTC', interval=2, starting=datetime.date(2026, 1, 5))",
            "every 2nd day at 09:00 UTC, starting 2026-01-05",
        ),
        (
            Daily(starting=date(2026, 1, 5)),
            "Daily('00:00', tz='UTC', starting=datetime.date(2026, 1, 5))",
            "every day at 00:00 UTC, starting 2026-01-05",
        ),
        (
            Weekly("mon", "09:00", tz=BERLIN, interval=2, starting=date(2026, 1, 5)),
            "Weekly('mon', '09:00', tz='Europe/Berlin', interval=2, starting=datetime.date(2026, 1, 5))",
            "every 2nd week on Monday at 09:00 Europe/Berlin, starting 2026-01-05",
        ),
        (
            Weekly("mon,fri", interval=3, starting=date(2026, 1, 5)),
            "Weekly('mon,fri', '00:00', tz='UTC', interval=3, starting=datetime.date(2026, 1, 5))",
            "every 3rd week on Monday and Friday at 00:00 UTC, starting 2026-01-05",
        ),
        (
            Monthly("last fri", interval=3, starting=date(2026, 1, 1)),
            "Monthly('last fri', '00:00', tz='UTC', interval=3, starting=datetime.date(2026, 1, 1))",
            "every 3rd month on the last Friday at 00:00 UTC, starting 2026-01-01",
        ),
        (
            Daily().excluding(Monthly(1, interval=112, starting=date(2026, 1, 1))),
            (
                "Daily('00:00', tz='UTC')"
                ".excluding(Monthly(1, '00:00', tz='UTC', interval=112, starting=datetime.date(2026, 1, 1)))"
            ),
            "every day at 00:00 UTC, except every 112th month on the 1st, starting 2026-01-01",
        ),
        (
            Daily().until(datetime(2027, 1, 1, 0, 0, 30, tzinfo=UTC)),
            "Daily('00:00', tz='UTC').until(datetime.datetime(2027, 1, 1, 0, 0, 30, tzinfo=datetime.timezone.utc))",
            "every day at 00:00 UTC, until 2027-01-01 00:00:30 UTC",
        ),
    ],
)
def test_is_written_as_code_and_in_english(schedule: Schedule, code: str, english: str) -> None:
    """`repr` is the expression that makes the value, `str` says in English when it runs and in which zone."""
    assert repr(schedule) == code
    assert str(schedule) == english
    assert eval(code, NAMES) == schedule  # noqa: S307  (that it can be is the point)


@pytest.mark.parametrize(
    ("schedule", "rule", "zone"),
    [
        (Every(minutes=5).until(NEW_YEAR), "every 5 minutes, until 2026-01-01 00:00 UTC", None),
        (Every(minutes=5).excluding(date(2026, 1, 1)), "every 5 minutes, except 2026-01-01 (dates in UTC)", None),
        (Daily("3:00", tz=BERLIN).until(NEW_YEAR), "every day at 03:00, until 2026-01-01 01:00", BERLIN),
        (Daily().excluding(Weekly("sun", tz=ROME)), "every day at 00:00, except Sundays (Europe/Rome)", "UTC"),
        (
            Weekly("mon", tz=BERLIN, interval=2, starting=date(2026, 1, 5)),
            "every 2nd week on Monday at 00:00, starting 2026-01-05",
            BERLIN,
        ),
        (Monthly(1, "06:00"), "the 1st of the month at 06:00", "UTC"),
    ],
)
def test_the_rule_and_its_zone_can_be_had_apart(schedule: Schedule, rule: str, zone: str | None) -> None:
    """`rule` is `str` without the schedule's own zone, `zone` its name; an interval has none."""
    assert schedule.rule == rule
    assert schedule.zone == zone


def test_many_excluded_dates_are_not_all_named() -> None:
    """A long list of holidays is summed up in `str`."""
    schedule = Daily().excluding(*days(date(2026, 12, 1), date(2026, 12, 20)))

    assert str(schedule) == "every day at 00:00 UTC, except 20 dates from 2026-12-01 to 2026-12-20"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (Every(minutes=5), Every(seconds=300)),
        (Daily("17:00", "9:00"), Daily("09:00", time(17))),
        (Daily(tz=BERLIN), Daily(tz=ZoneInfo.no_cache(BERLIN))),
        (Daily(time(2, 30, fold=1)), Daily("02:30")),
        (Daily(tz=UTC), Daily(tz=ZoneInfo("UTC"))),
        (Weekly("mon-fri"), Weekly(["fri", "mon-thu"])),
        (Monthly("LAST FRIDAY"), Monthly("last  fri")),
        (
            Daily().excluding(date(2026, 1, 1), date(2026, 1, 2)),
            Daily().excluding(date(2026, 1, 2)).excluding(date(2026, 1, 1)),
        ),
        (Daily().until(NEW_YEAR).excluding(Weekly("sun")), Daily().excluding(Weekly("sun")).until(NEW_YEAR)),
        (
            Daily().until(NEW_YEAR),
            Daily().until(NEW_YEAR.astimezone(ZoneInfo(BERLIN))).until(NEW_YEAR + timedelta(days=1)),
        ),
    ],
)
def test_equal_schedules_are_equal(one: Schedule, other: Schedule) -> None:
    """Two ways to write one schedule make equal values with equal hashes."""
    assert one == other
    assert hash(one) == hash(other)
    assert repr(one) == repr(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (Every(minutes=5), Every(minutes=6)),
        (Daily(), Daily(tz=BERLIN)),
        (Daily(), Weekly("mon-sun")),
        (Weekly("mon"), Weekly("tue")),
        (Monthly(1), Monthly("1st mon")),
        (Daily(), Daily().excluding(date(2026, 1, 1))),
        (Daily(), Daily().until(NEW_YEAR)),
        (Daily(), Daily(starting=date(2026, 1, 1))),
        (Daily(interval=2, starting=date(2026, 1, 1)), Daily(interval=3, starting=date(2026, 1, 1))),
    ],
)
def test_different_schedules_are_not_equal(one: Schedule, other: Schedule) -> None:
    """Every part of a schedule counts in a comparison."""
    assert one != other


def test_is_frozen_and_can_be_copied() -> None:
    """A schedule cannot be changed; copies and pickles are equal to it and work."""
    schedule = Weekly("mon", "09:00", tz=BERLIN).excluding(date(2026, 1, 5))

    for same in (copy.deepcopy(schedule), pickle.loads(pickle.dumps(schedule))):  # noqa: S301  (our own)
        assert same == schedule
        assert same.next_after(NEW_YEAR) == schedule.next_after(NEW_YEAR)
    with pytest.raises(FrozenInstanceError):
        schedule.tz = "UTC"  # type: ignore[misc]


def test_refining_leaves_the_original_alone() -> None:
    """`excluding` and `until` return new values of the same type."""
    daily = Daily("09:00")

    refined = daily.excluding(date(2026, 1, 1)).until(NEW_YEAR)

    assert isinstance(refined, Daily)
    assert daily == Daily("09:00")
    assert refined.next_after(NEW_YEAR) is None


@pytest.mark.parametrize(
    ("schedule", "runs"),
    [
        (Daily("09:00", "17:30"), ["2026-01-01 09:00+00:00", "2026-01-01 17:30+00:00", "2026-01-02 09:00+00:00"]),
        (Daily(), ["2026-01-02 00:00+00:00", "2026-01-03 00:00+00:00", "2026-01-04 00:00+00:00"]),
        (Daily(tz="Asia/Kolkata"), ["2026-01-02 00:00+05:30", "2026-01-03 00:00+05:30", "2026-01-04 00:00+05:30"]),
        (Weekly("thu,sun"), ["2026-01-04 00:00+00:00", "2026-01-08 00:00+00:00", "2026-01-11 00:00+00:00"]),
        (Monthly(31), ["2026-01-31 00:00+00:00", "2026-03-31 00:00+00:00", "2026-05-31 00:00+00:00"]),
        (Monthly("last"), ["2026-01-31 00:00+00:00", "2026-02-28 00:00+00:00", "2026-03-31 00:00+00:00"]),
        (Monthly("1st thu"), ["2026-02-05 00:00+00:00", "2026-03-05 00:00+00:00", "2026-04-02 00:00+00:00"]),
        (Monthly("last sat"), ["2026-01-31 00:00+00:00", "2026-02-28 00:00+00:00", "2026-03-28 00:00+00:00"]),
        (Monthly("5th fri"), ["2026-01-30 00:00+00:00", "2026-05-29 00:00+00:00", "2026-07-31 00:00+00:00"]),
        (Every(hours=36), ["2026-01-02 12:00+00:00", "2026-01-04 00:00+00:00", "2026-01-05 12:00+00:00"]),
    ],
)
def test_upcoming_runs(schedule: Schedule, runs: list[str]) -> None:
    """The next three runs after midnight UTC of New Year 2026, in the zone of the schedule."""
    assert written(schedule.upcoming(3, after=NEW_YEAR)) == runs


@pytest.mark.parametrize(
    "mornings",
    [
        lambda: Weekly("mon-fri", "09:00", tz=BERLIN),
        pytest.param(lambda: Cron("0 9 * * mon-fri", tz=BERLIN), marks=pytest.mark.needs("cronsim")),
    ],
)
def test_weekday_mornings_except_the_last_friday(mornings: Callable[[], Schedule]) -> None:
    """Ten years of 'weekday mornings except the last Friday of the month', date by date."""
    schedule = mornings().excluding(Monthly("last fri", tz=BERLIN))
    zone = ZoneInfo(BERLIN)
    wanted = [
        datetime(day.year, day.month, day.day, 9, tzinfo=zone)
        for day in days(date(2026, 1, 1), date(2035, 12, 31))
        if day.weekday() < 5 and not (day.weekday() == 4 and (day + timedelta(days=7)).month != day.month)
    ]

    runs = schedule.until(datetime(2036, 1, 1, tzinfo=zone)).upcoming(10_000, after=datetime(2026, 1, 1, tzinfo=zone))

    assert len(runs) == 2488
    assert runs == wanted


def test_an_excluded_schedule_counts_by_its_own_calendar() -> None:
    """The dates of an excluded schedule are those of its own zone: the last Friday is the last Friday everywhere."""
    schedule = Daily("23:30", tz="America/New_York").excluding(Monthly("last fri"))

    runs = schedule.upcoming(3, after=datetime(2026, 1, 29, 12, tzinfo=UTC))

    assert written(runs) == ["2026-01-29 23:30-05:00", "2026-01-31 23:30-05:00", "2026-02-01 23:30-05:00"]


def test_excluded_dates_are_dates_in_the_schedules_zone() -> None:
    """In Istanbul the run at 01:00 on New Year's Day is excluded, although in UTC it is still the day before."""
    schedule = Daily("01:00", tz="Europe/Istanbul").excluding(date(2026, 1, 1))

    assert written(schedule.upcoming(1, after=datetime(2025, 12, 31, 12, tzinfo=UTC))) == ["2026-01-02 01:00+03:00"]


def test_an_excluded_schedule_may_be_refined_itself() -> None:
    """An exception can have exceptions and an end."""
    fridays = Weekly("fri").excluding(date(2026, 1, 9)).until(datetime(2026, 1, 20, tzinfo=UTC))
    schedule = Weekly("fri", "09:00").excluding(fridays)

    assert written(schedule.upcoming(2, after=NEW_YEAR)) == ["2026-01-09 09:00+00:00", "2026-01-23 09:00+00:00"]


def test_an_interval_goes_on_over_excluded_dates() -> None:
    """The grid of an `Every` is not shifted by what is left out of it."""
    schedule = Every(hours=7).excluding(Weekly("fri,sat"))

    runs = schedule.upcoming(5, after=NEW_YEAR)

    assert written(runs) == [
        "2026-01-01 07:00+00:00",
        "2026-01-01 14:00+00:00",
        "2026-01-01 21:00+00:00",
        "2026-01-04 05:00+00:00",
        "2026-01-04 12:00+00:00",
    ]


def test_an_interval_comes_back_at_midnight() -> None:
    """A step of the grid at the very end of the excluded dates is a run."""
    schedule = Every(hours=6).excluding(date(2026, 1, 1), date(2026, 1, 2))

    assert written(schedule.upcoming(1, after=NEW_YEAR)) == ["2026-01-03 00:00+00:00"]


def test_the_end_is_not_a_run() -> None:
    """`until` leaves out a run at the very instant, and of two ends the earlier counts."""
    schedule = Daily("09:00").until(datetime(2026, 1, 3, 9, tzinfo=UTC)).until(datetime(2027, 1, 1, tzinfo=UTC))

    assert written(schedule.upcoming(10, after=NEW_YEAR)) == ["2026-01-01 09:00+00:00", "2026-01-02 09:00+00:00"]


def test_the_search_reaches_over_a_decade_of_excluded_dates() -> None:
    """Ten years of dates in a row can be excluded."""
    schedule = Daily().excluding(*days(date(2026, 1, 1), date(2035, 12, 31)))

    assert written(schedule.upcoming(1, after=NEW_YEAR)) == ["2036-01-01 00:00+00:00"]


@pytest.mark.parametrize("schedule", [Daily(), Daily(tz="America/New_York"), Weekly("mon"), Monthly(1), Every(1)])
def test_there_is_no_run_after_the_last_year(schedule: Schedule) -> None:
    """Past the year 9999 a schedule has ended."""
    assert schedule.next_after(datetime.max.replace(tzinfo=UTC)) is None


def test_no_run_is_upcoming_of_none() -> None:
    """Asking for no runs is fine."""
    assert Daily().upcoming(0, after=NEW_YEAR) == []


def test_period_is_what_a_scheduler_lays_its_grid_with() -> None:
    """An interval has a period in seconds, a schedule by the calendar has none."""
    assert Every(hours=1, minutes=1, seconds=1.5).period == 3661.5
    assert Every(minutes=5).excluding(date(2026, 1, 1)).period == 300
    assert Daily().period is None


def test_a_schedule_of_no_kind_cannot_be_made() -> None:
    """`Schedule` is the type of the five, not one itself."""
    with pytest.raises(TypeError, match="abstract"):
        Schedule("UTC")  # type: ignore[abstract]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Every(0), "more than 0 seconds"),
        (lambda: Every(timedelta(seconds=-1)), "must not be negative"),
        (lambda: Every(seconds=1e-7), "at least a microsecond, got 1e-07 seconds"),
        (lambda: Every(minutes=-1, hours=1), "minutes must not be negative or NaN, got -1"),
        (lambda: Every(seconds=float("nan")), "seconds must not be negative or NaN, got nan"),
        (lambda: Every(float("inf")), "a finite one, got inf"),
        (lambda: Every(hours=1e300), "longer than the calendar of 9,999 years"),
        (lambda: Every(hours=10**8), "longer than the calendar of 9,999 years, got 360000000000.0 seconds"),
        (lambda: Daily(interval=2), r"interval=2 needs starting=, the date to count from, such as starting=date\(2026"),
        (lambda: Weekly("mon", interval=0, starting=date(2026, 1, 5)), "interval must be from 1 to 3652059, not 0"),
        (lambda: Monthly(1, interval=10**9, starting=date(2026, 1, 5)), "interval must be from 1 to 3652059, not 1000"),
        (lambda: Daily("24:00"), "no time of day: '24:00'"),
        (lambda: Daily("9"), "no time of day: '9'; write 'HH:MM'"),
        (lambda: Daily("09:00+02:00"), "no time of day"),
        (lambda: Daily(time(9, tzinfo=UTC)), "give tz= instead"),
        (lambda: Daily(time(9, microsecond=1)), "whole seconds"),
        (lambda: Weekly("09:00"), "unknown day '09:00'"),
        (lambda: Weekly(""), "unknown day ''"),
        (lambda: Weekly([]), "unknown day ''"),
        (lambda: Weekly("weekdays"), "unknown day 'weekdays' in 'weekdays'; days are mon, tue"),
        (lambda: Monthly(0), "no month has a day 0"),
        (lambda: Monthly(32), "no month has a day 32; give 1 to 31"),
        (lambda: Monthly("6th fri"), "no month has a day '6th fri'"),
        (lambda: Monthly("fri"), "'2nd tue' and 'last fri'"),
        (
            lambda: Daily(tz="Istanbul"),
            "unknown time zone 'Istanbul'; did you mean 'Asia/Istanbul' or 'Europe/Istanbul'?",
        ),
        (lambda: Daily(tz="europe/berln"), "unknown time zone 'europe/berln'; did you mean 'Europe/Berlin'"),
        (lambda: Daily(tz="America/New York"), "did you mean 'America/New_York'"),
        (lambda: Daily(tz="../../etc/passwd"), "unknown time zone"),
        (lambda: Daily(tz=""), "unknown time zone ''; names look like 'Europe/Berlin'"),
        (lambda: Daily().next_after(datetime(2026, 1, 1)), "naive datetime"),  # noqa: DTZ001
        (lambda: Daily().upcoming(1, after=datetime(2026, 1, 1)), "naive datetime"),  # noqa: DTZ001
        (lambda: Daily().upcoming(-1, after=NEW_YEAR), "must not be negative: -1"),
        (lambda: Daily().until(datetime(2026, 1, 1)), "naive datetime"),  # noqa: DTZ001
        (lambda: Daily().excluding(Every(minutes=5)), r"Every\(minutes=5\) is an interval and has no dates"),
    ],
)
def test_a_wrong_value_is_refused_where_it_is_written(make: Callable[[], object], message: str) -> None:
    """What cannot be is a `ValueError` that names it and says what would be right."""
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    "make",
    [
        Every,
        lambda: Every(60, seconds=1),
        lambda: Every(seconds=True),
        lambda: Every("5"),  # type: ignore[arg-type]
        lambda: Daily(9),  # type: ignore[arg-type]
        lambda: Daily(tz=timezone(timedelta(hours=3))),
        lambda: Daily(tz=3),  # type: ignore[arg-type]
        lambda: Weekly([1, 2]),  # type: ignore[list-item]
        lambda: Weekly(None),  # type: ignore[arg-type]
        lambda: Daily(interval=2.0, starting=date(2026, 1, 5)),  # type: ignore[arg-type]
        lambda: Daily(interval=True),
        lambda: Daily(starting=NEW_YEAR),
        lambda: Daily(starting="2026-01-05"),  # type: ignore[arg-type]
        lambda: Monthly(True),  # noqa: FBT003
        lambda: Monthly(1.5),  # type: ignore[arg-type]
        lambda: Daily().next_after(date(2026, 1, 1)),  # type: ignore[arg-type]
        lambda: Daily().excluding("2026-01-01"),  # type: ignore[arg-type]
        lambda: Daily().excluding(NEW_YEAR),
        lambda: Daily().upcoming(1.5, after=NEW_YEAR),  # type: ignore[arg-type]
        lambda: Daily().upcoming(True, after=NEW_YEAR),  # noqa: FBT003
    ],
)
def test_a_value_of_a_wrong_type_is_refused_where_it_is_written(make: Callable[[], object]) -> None:
    """A `bool` is not a number, a fixed offset not a named zone, a datetime not a date."""
    with pytest.raises(TypeError, match=r"must be|takes one duration|expected a datetime|only dates and schedules"):
        make()


def test_a_system_without_time_zones_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without time zone data UTC works, and any other zone says which package has it."""
    monkeypatch.setattr(zoneinfo, "available_timezones", set[str])

    assert Daily().next_after(NEW_YEAR) is not None
    with pytest.raises(ValueError, match="pip install tzdata"):
        Daily(tz="Nowhere/Yet")
