"""What holds for every schedule, whatever it is: found by hypothesis."""

import datetime as dt
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hostkit.scheduling import Cron, Daily, Every, Monthly, Schedule, Weekly

pytestmark = pytest.mark.needs("cronsim")

YEAR_START, YEAR_END = datetime.fromisoformat("2026-01-01"), datetime.fromisoformat("2027-01-01")
SHORT_DAYS = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
ZONES = [
    "UTC",
    "Europe/Berlin",
    "America/Havana",
    "America/Nuuk",
    "America/Santiago",
    "Australia/Lord_Howe",
    "Africa/Casablanca",
]

zones = st.sampled_from(ZONES)
# Many of the times fall where clocks change.
times = st.lists(
    st.one_of(
        st.times().map(lambda each: each.replace(microsecond=0)),
        st.sampled_from([time(), time(2), time(2, 30), time(23, 30)]),
    ),
    max_size=3,
)
week_days = st.lists(st.sampled_from(SHORT_DAYS), min_size=1, max_size=7)
month_days = st.one_of(
    st.integers(1, 31),
    st.just("last"),
    st.builds(
        "{} {}".format, st.sampled_from(["1st", "2nd", "3rd", "4th", "5th", "last"]), st.sampled_from(SHORT_DAYS)
    ),
)
plain = st.one_of(
    st.builds(lambda at, tz: Daily(*at, tz=tz), times, zones),
    st.builds(lambda days, at, tz: Weekly(days, *at, tz=tz), week_days, times, zones),
    st.builds(lambda day, at, tz: Monthly(day, *at, tz=tz), month_days, times, zones),
)
crons = st.builds(
    lambda expression, tz: Cron(expression, tz=tz),
    st.builds(
        "{} {} {} * {}".format,
        st.sampled_from(["0", "30", "*/20", "5,45"]),
        st.sampled_from(["*", "0", "1-3", "*/6", "23"]),
        st.sampled_from(["*", "1,15", "L", "*/2"]),
        st.sampled_from(["*", "mon-fri", "sun", "fri#2", "5L"]),
    ),
    zones,
)
on_the_clock: st.SearchStrategy[Schedule] = st.one_of(plain, crons)
intervals = st.builds(Every, st.integers(1, 10**6).map(lambda seconds: timedelta(seconds=seconds)))
dates = st.dates(date(2026, 1, 1), date(2026, 12, 31))


def _in_some_zone(wall: datetime, tz: str, fold: int) -> datetime:
    return wall.replace(tzinfo=ZoneInfo(tz), fold=fold)


# Half of them within the hours round a clock change, in both folds.
instants = st.one_of(
    st.builds(_in_some_zone, st.datetimes(YEAR_START, YEAR_END), zones, st.integers(0, 1)),
    st.builds(
        lambda change, seconds, tz: (datetime.fromisoformat(change) + timedelta(seconds=seconds)).astimezone(
            ZoneInfo(tz)
        ),
        st.sampled_from(
            [
                "2026-03-29T01:00Z",
                "2026-10-25T01:00Z",
                "2026-11-01T05:00Z",
                "2026-09-06T04:00Z",
                "2026-04-04T15:00Z",
                "2026-10-03T15:30Z",
            ]
        ),
        st.integers(-10_000, 10_000),
        zones,
    ),
)


def refined(schedule: Schedule, excluded: list[date], other: Schedule | None, end: datetime | None) -> Schedule:
    """Refine *schedule* by whatever is given."""
    schedule = schedule.excluding(*excluded)
    if other is not None:
        schedule = schedule.excluding(other)
    return schedule if end is None else schedule.until(end)


schedules = st.builds(
    refined,
    st.one_of(on_the_clock, intervals),
    st.lists(dates, max_size=3),
    # Rarely leaves nothing at all; the search for what is not there takes its time.
    st.none() | st.builds(lambda day, tz: Monthly(day, tz=tz), month_days, zones),
    st.none() | instants,
)


def utc(run: datetime | None) -> datetime | None:
    """Make a run comparable: within one zone Python compares what the clock shows."""
    return None if run is None else run.astimezone(UTC)


@settings(deadline=None)
@given(schedules, instants)
def test_the_next_run_is_strictly_after(schedule: Schedule, instant: datetime) -> None:
    """A run is later than the instant it was asked for with, aware, in the schedule's zone, and on its clock."""
    run = schedule.next_after(instant)

    if run is not None:
        assert run.astimezone(UTC) > instant.astimezone(UTC)
        assert str(run.tzinfo) == schedule.tz
        assert run.astimezone(UTC).astimezone(ZoneInfo(schedule.tz)).replace(tzinfo=None) == run.replace(tzinfo=None)


@settings(deadline=None)
@given(schedules, instants, instants)
def test_a_later_question_has_no_earlier_answer(schedule: Schedule, one: datetime, other: datetime) -> None:
    """`next_after` is monotonic, and an end stays an end."""
    earlier, later = sorted((one.astimezone(UTC), other.astimezone(UTC)))

    first, second = utc(schedule.next_after(earlier)), utc(schedule.next_after(later))

    # An interval counts from the question, so only its excluded dates and its end can break the order.
    if isinstance(schedule, Every):
        return
    assert second is None or (first is not None and first <= second)


@settings(deadline=None)
@given(on_the_clock, instants, st.floats(0, 1, exclude_max=True))
def test_the_next_run_is_the_same_until_it_has_come(schedule: Schedule, instant: datetime, part: float) -> None:
    """Nothing lies between the instant asked for and the answer."""
    run = schedule.next_after(instant)
    assert run is not None

    between = instant.astimezone(UTC) + (run.astimezone(UTC) - instant.astimezone(UTC)) * part

    if between < run.astimezone(UTC):
        assert schedule.next_after(between) == run


@settings(deadline=None)
@given(schedules, instants, st.integers(0, 8))
def test_upcoming_is_next_after_repeated(schedule: Schedule, instant: datetime, n: int) -> None:
    """`upcoming` lists what one gets by asking again and again."""
    wanted: list[datetime] = []
    run = schedule.next_after(instant)
    while run is not None and len(wanted) < n:
        wanted.append(run)
        run = schedule.next_after(run)

    assert schedule.upcoming(n, after=instant) == wanted


# A time that the clock shows is a run on its own date; for fixed times test_schedules_by_day.py asks about plans.
never_moved = st.one_of(
    crons.filter(lambda cron: any(each.startswith("*") for each in cron.expression.split()[:2])), intervals
)


@settings(deadline=None)
@given(never_moved, instants, st.sets(dates, max_size=20))
def test_excluded_dates_are_all_that_is_missing(schedule: Schedule, instant: datetime, excluded: set[date]) -> None:
    """A schedule with excluded dates has the runs of the one without, but for those on the dates."""
    runs = schedule.upcoming(30, after=instant)
    last = runs[-1].astimezone(UTC) + timedelta(microseconds=1)
    wanted = [run for run in runs if run.date() not in excluded]

    assert schedule.excluding(*excluded).until(last).upcoming(31, after=instant) == wanted


@pytest.mark.long
@settings(deadline=None)
@given(st.one_of(on_the_clock, intervals), never_moved.filter(lambda each: each.period is None), instants)
def test_excluding_a_schedule_is_excluding_its_dates(schedule: Schedule, other: Schedule, instant: datetime) -> None:
    """Excluding a schedule is the same as excluding each date on which it has a run."""
    start, end = instant.astimezone(UTC) - timedelta(days=3), instant.astimezone(UTC) + timedelta(days=10)
    its_dates = {run.date() for run in other.until(end + timedelta(days=2)).upcoming(2000, after=start)}

    wanted = schedule.excluding(*its_dates).until(end).upcoming(20, after=instant)

    assert schedule.excluding(other).until(end).upcoming(20, after=instant) == wanted


@settings(deadline=None)
@given(schedules)
def test_the_same_words_make_the_same_value(schedule: Schedule) -> None:
    """`repr` can be evaluated, and makes an equal value with an equal hash."""
    names: dict[str, object] = {"datetime": dt}
    names |= {kind.__name__: kind for kind in (Cron, Daily, Every, Monthly, Weekly)}

    again = eval(repr(schedule), names)  # noqa: S307  (that it can be is the point)

    assert again == schedule
    assert hash(again) == hash(schedule)
    assert str(again) == str(schedule)
