"""Schedules at fixed times against a naive enumeration, day by day: intervals, exclusions and clock changes."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hostkit.scheduling import Daily, Monthly, Schedule, Weekly

BERLIN, NUUK, CASABLANCA, LORD_HOWE = "Europe/Berlin", "America/Nuuk", "Africa/Casablanca", "Australia/Lord_Howe"
ZONES = ["UTC", BERLIN, NUUK, CASABLANCA, LORD_HOWE, "America/Havana"]
NAMES = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
ONE_DAY = timedelta(days=1)
END = datetime(2028, 12, 20, tzinfo=UTC)
LAST_DAY = date(2028, 12, 31)


@dataclass(frozen=True)
class Rule:
    """A schedule as it would be described to a person: the days on which it runs, one after another."""

    kind: str
    times: tuple[time, ...]
    tz: str
    interval: int
    starting: date | None
    weekdays: tuple[int, ...] = ()
    day: int | str = 1

    def schedule(self) -> Schedule:
        """Make the schedule."""
        if self.kind == "day":
            return Daily(*self.times, tz=self.tz, interval=self.interval, starting=self.starting)
        if self.kind == "week":
            names = [NAMES[each] for each in self.weekdays]
            return Weekly(names, *self.times, tz=self.tz, interval=self.interval, starting=self.starting)
        return Monthly(self.day, *self.times, tz=self.tz, interval=self.interval, starting=self.starting)

    def days(self) -> Iterator[date]:
        """Walk over its days, and count the days, the Mondays and the firsts of a month on the way."""
        start = self.starting or date(2025, 1, 1)
        counts = {"day": 0, "week": 0, "month": 0}
        day = start
        while day <= LAST_DAY:
            if day != start:
                counts["day"] += 1
                counts["week"] += day.weekday() == 0
                counts["month"] += day.day == 1
            if counts[self.kind] % self.interval == 0 and self._names(day):
                yield day
            day += ONE_DAY

    def _names(self, day: date) -> bool:
        if self.kind == "day":
            return True
        if self.kind == "week":
            return day.weekday() in self.weekdays
        if isinstance(self.day, int):
            return day.day == self.day
        if self.day == "last":
            return (day + ONE_DAY).day == 1
        nth, name = self.day.split()
        if NAMES[day.weekday()] != name:
            return False
        return (day + 7 * ONE_DAY).month != day.month if nth == "last" else (day.day + 6) // 7 == int(nth[0])


def instant_of(day: date, at: time, zone: ZoneInfo) -> datetime:
    """Return when the clock in *zone* first shows *at* or, where it never does, the first later time."""
    local = datetime.combine(day, at)
    instant = local.replace(tzinfo=zone).astimezone(UTC)
    if instant.astimezone(zone).replace(tzinfo=None) == local:
        return instant
    # Clocks change on full minutes.
    minutes = (instant.replace(second=0) + timedelta(minutes=n) for n in range(-180, 180))
    return next(each for each in minutes if each.astimezone(zone).replace(tzinfo=None) > local)


def naive_runs(rule: Rule, excluded: set[date], after: datetime, n: int) -> list[datetime]:
    """Return the first *n* runs after *after*, in UTC, of those whose planned day is not excluded."""
    zone = ZoneInfo(rule.tz)
    runs: set[datetime] = set()
    for day in rule.days():
        if day < after.date() - 3 * ONE_DAY or day in excluded:
            continue
        if len(runs) >= n + len(rule.times):
            break
        runs.update(run for at in rule.times if after < (run := instant_of(day, at, zone)) < END)
    return sorted(runs)[:n]


days = st.dates(date(2025, 1, 1), date(2027, 6, 1))
days_of_month = st.one_of(
    st.integers(1, 31),
    st.just("last"),
    st.builds("{} {}".format, st.sampled_from(["1st", "2nd", "3rd", "4th", "5th", "last"]), st.sampled_from(NAMES)),
)
# Many of them where clocks change.
times = st.lists(
    st.sampled_from([time(), time(0, 30), time(1, 45), time(2), time(2, 15), time(2, 30), time(12), time(23, 30)]),
    min_size=1,
    max_size=3,
).map(tuple)
intervals = st.one_of(
    st.tuples(st.just(1), st.none()), st.tuples(st.integers(1, 9), st.one_of(days, st.just(date(2026, 3, 25))))
)
rules = st.builds(
    lambda kind, at, tz, counted, weekdays, day: Rule(
        kind, at, tz, counted[0], counted[1], tuple(sorted(weekdays)), day
    ),
    st.sampled_from(["day", "week", "month"]),
    times,
    st.sampled_from(ZONES),
    intervals,
    st.sets(st.integers(0, 6), min_size=1),
    days_of_month,
)
clock_changes = st.sampled_from(
    [
        "2026-03-28T12:00",  # Berlin, and Nuuk on this Saturday
        "2026-10-24T12:00",
        "2026-02-14T12:00",  # Casablanca, for Ramadan
        "2026-03-21T12:00",
        "2026-04-04T00:00",  # Lord Howe
        "2026-10-03T00:00",
        "2026-03-07T12:00",  # Havana
        "2026-10-31T12:00",
    ]
).map(lambda text: datetime.fromisoformat(f"{text}Z"))
instants = st.one_of(
    st.datetimes(datetime.fromisoformat("2025-01-10"), datetime.fromisoformat("2027-06-01"), timezones=st.just(UTC)),
    st.builds(lambda change, hours: change + timedelta(hours=hours), clock_changes, st.floats(-30, 30)),
)


def runs_of(schedule: Schedule, after: datetime, n: int) -> list[datetime]:
    """Return the first *n* runs before `END`, in UTC."""
    return [run.astimezone(UTC) for run in schedule.until(END).upcoming(n, after=after)]


@settings(deadline=None, max_examples=150)
@given(rules, instants)
def test_runs_on_every_nth_day_week_or_month(rule: Rule, after: datetime) -> None:
    """An interval counts days, weeks from Monday, or months from its first date, and has no run before that."""
    assert runs_of(rule.schedule(), after, 6) == naive_runs(rule, set(), after, 6)


@settings(deadline=None, max_examples=150)
@given(rules, instants, st.data())
def test_excluded_dates_are_those_of_the_plan(rule: Rule, after: datetime, data: st.DataObject) -> None:
    """A run is excluded by the date it was planned for, not by that on which it is made up for."""
    near = st.integers(-2, 40).map(lambda n: after.date() + n * ONE_DAY)
    excluded = data.draw(st.sets(near, max_size=15))

    assert runs_of(rule.schedule().excluding(*excluded), after, 6) == naive_runs(rule, excluded, after, 6)


@pytest.mark.long
@settings(deadline=None, max_examples=60)
@given(rules, rules, instants)
def test_excluding_a_schedule_is_excluding_the_days_of_its_plan(rule: Rule, other: Rule, after: datetime) -> None:
    """A schedule excludes the days for which it plans a run, in its own zone, whenever that run is made up for."""
    schedule = rule.schedule().excluding(other.schedule())

    assert runs_of(schedule, after, 4) == naive_runs(rule, set(other.days()), after, 4)


def test_a_run_on_the_day_after_its_date_counts_for_its_date() -> None:
    """In Nuuk the clock went from 23:00 to midnight on Saturday, 28 March 2026: what was planned then is Saturday's."""
    late_saturday = Weekly("sat", "23:30", tz=NUUK)
    noon = Daily("12:00", tz=NUUK)
    after = datetime(2026, 3, 27, 15, tzinfo=UTC)

    runs = [
        schedule.next_after(after)
        for schedule in (
            late_saturday,
            noon.excluding(late_saturday),
            noon.excluding(Weekly("sat", tz=NUUK)),
            late_saturday.excluding(date(2026, 3, 28)),
            late_saturday.excluding(date(2026, 3, 29)),
        )
    ]

    assert [run and run.isoformat(" ", "minutes") for run in runs] == [
        "2026-03-29 00:00-01:00",
        "2026-03-29 12:00-01:00",
        "2026-03-29 12:00-01:00",
        "2026-04-04 23:30-01:00",
        "2026-03-29 00:00-01:00",
    ]


def test_two_plans_for_one_instant_are_excluded_apart() -> None:
    """A run that is made up for at midnight, and one planned for it, are one run unless both dates are excluded."""
    both = Daily("00:00", "23:30", tz=NUUK)
    midnight = datetime(2026, 3, 29, 1, tzinfo=UTC)
    before = midnight - timedelta(minutes=1)

    assert both.next_after(before) == midnight
    assert both.excluding(date(2026, 3, 28)).next_after(before) == midnight
    assert both.excluding(date(2026, 3, 29)).next_after(before) == midnight
    assert both.excluding(date(2026, 3, 28), date(2026, 3, 29)).next_after(before) == datetime(
        2026, 3, 30, 1, tzinfo=UTC
    )


def test_the_date_that_a_zone_left_out_can_be_excluded() -> None:
    """Samoa had no 30 December 2011; what was planned for it is not made up for when the date is excluded."""
    daily = Daily("03:00", tz="Pacific/Apia")
    after = datetime(2011, 12, 29, 18, tzinfo=UTC)

    runs = daily.excluding(date(2011, 12, 30)).upcoming(1, after=after)

    assert [run.isoformat(" ", "minutes") for run in runs] == ["2011-12-31 03:00+14:00"]


def test_an_end_counts_for_an_excluding_schedule_too() -> None:
    """A schedule excludes no date for which it has ended, by the instant of the first run of the date."""
    sundays = Weekly("sun", "09:00", "15:00")
    end = datetime(2026, 1, 11, 9, tzinfo=UTC)
    after = datetime(2026, 1, 10, 12, tzinfo=UTC)

    ended = Daily("10:00").excluding(sundays.until(end)).next_after(after)
    ends_later = Daily("10:00").excluding(sundays.until(end + timedelta(seconds=1))).next_after(after)

    assert ended == datetime(2026, 1, 11, 10, tzinfo=UTC)
    assert ends_later == datetime(2026, 1, 12, 10, tzinfo=UTC)


@pytest.mark.parametrize(
    ("schedule", "runs"),
    [
        (Weekly("mon", "09:00", interval=2, starting=date(2026, 1, 5)), ["2026-01-05", "2026-01-19", "2026-02-02"]),
        # The week of the Wednesday is the first; its Monday is before the first date.
        (Weekly("mon,fri", interval=2, starting=date(2026, 1, 7)), ["2026-01-09", "2026-01-19", "2026-01-23"]),
        (Weekly("sun", interval=2, starting=date(2026, 1, 5)), ["2026-01-11", "2026-01-25", "2026-02-08"]),
        (Daily(interval=10, starting=date(2026, 2, 20)), ["2026-02-20", "2026-03-02", "2026-03-12"]),
        (Daily(starting=date(2026, 2, 20)), ["2026-02-20", "2026-02-21", "2026-02-22"]),
        (Monthly(1, interval=3, starting=date(2026, 1, 1)), ["2026-01-01", "2026-04-01", "2026-07-01"]),
        (Monthly(15, interval=2, starting=date(2026, 1, 20)), ["2026-03-15", "2026-05-15", "2026-07-15"]),
        (Monthly(31, interval=2, starting=date(2026, 1, 1)), ["2026-01-31", "2026-03-31", "2026-05-31"]),
        (Monthly("last fri", interval=6, starting=date(2026, 3, 1)), ["2026-03-27", "2026-09-25", "2027-03-26"]),
        (Monthly(29, interval=12, starting=date(2026, 2, 1)), ["2028-02-29", "2032-02-29", "2036-02-29"]),
    ],
)
def test_first_runs_of_an_interval(schedule: Schedule, runs: list[str]) -> None:
    """The first three runs, long before the interval starts."""
    found = schedule.upcoming(3, after=datetime(2025, 1, 1, tzinfo=UTC))

    assert [run.date().isoformat() for run in found] == runs
