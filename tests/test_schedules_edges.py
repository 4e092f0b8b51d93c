"""Schedules at the edges: every argument of a wrong type or at the ends of its type, and both ends of the calendar."""

import datetime as dt
import sys
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from functools import partial
from types import FrameType
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hostkit.scheduling import Cron, Daily, Every, Monthly, Schedule, Weekly
from hostkit.scheduling._days import date_in_month

NEW_YEAR = datetime(2026, 1, 1, tzinfo=UTC)
FIRST, LAST = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
NAMES: dict[str, object] = {"datetime": dt}
NAMES |= {kind.__name__: kind for kind in (Cron, Daily, Every, Monthly, Weekly)}

zones: st.SearchStrategy[tzinfo] = st.sampled_from(
    [UTC, ZoneInfo("Europe/Berlin"), ZoneInfo("America/New_York"), timezone(timedelta(hours=-23, minutes=-59))]
)
edge_locals = st.one_of(
    st.sampled_from([datetime.min, datetime.max, datetime(2026, 10, 25, 2, 30, fold=1)]),  # noqa: DTZ001, DTZ901
    st.datetimes(max_value=datetime(1, 1, 3)),  # noqa: DTZ001
    st.datetimes(min_value=datetime(9999, 12, 29)),  # noqa: DTZ001
    st.datetimes(),
)
aware = st.builds(lambda local, zone: local.replace(tzinfo=zone), edge_locals, zones)
anything = st.one_of(
    st.none(),
    st.booleans(),
    st.sampled_from([0, -1, 1, 2, 31, 32, 10**8, 10**9, 10**30, 10**400]),
    st.floats(),
    st.sampled_from([0.0, 1e-9, 1e-6, 1e8 * 3600, 1e300]),
    st.sampled_from(["", "UTC", "Europe/Berlin", "mon", "mon-fri", "fri-mon", "last", "last fri", "5th mon", "9:00"]),
    st.sampled_from(["0 0 30 2 *", "@reboot", "@daily", "* * * * *", "59-0 22-2 L feb fri-mon", "0 0 */31 2 mon#5"]),
    st.text(max_size=5),
    st.binary(max_size=3),
    st.dates(),
    st.sampled_from([date.min, date.max]),
    edge_locals,
    aware,
    st.times(timezones=st.none() | st.just(UTC)),
    st.sampled_from([time(), time(2, 30, fold=1), time(23, 59, 59), time.max]),
    st.timedeltas(),
    st.sampled_from([timedelta.min, timedelta.max, timedelta(), timedelta.resolution]),
    zones,
    st.lists(st.sampled_from(["mon", "sun", 1, None]), max_size=2),
    st.sampled_from([Every(1), Daily(), Weekly("mon"), Monthly(31, interval=12, starting=date(2026, 2, 1))]),
)
times = st.sampled_from(["09:00", "0:00:59", time(), time(2, 30, fold=1), time(23, 59, 59)])
starting = st.sampled_from([date.min, date.max, date(2026, 2, 1)])
counted: dict[str, st.SearchStrategy[Any]] = {
    "tz": st.sampled_from(["UTC", "America/New_York", "Europe/Berlin", "Australia/Lord_Howe", UTC]),
    "interval": st.sampled_from([1, 2, 12, 3_652_059]),
    "starting": starting,
}
# What is right for each: the arguments, and those that are given by name.
RIGHT: dict[Callable[..., Schedule], tuple[list[st.SearchStrategy[Any]], dict[str, st.SearchStrategy[Any]]]] = {
    Every: ([st.sampled_from([1e-6, 60, 3e11, timedelta(days=3), timedelta.resolution])], {}),
    Daily: ([times, times], counted),
    Weekly: ([st.sampled_from(["mon", "fri-mon", ["sun", "tue,wed"]]), times], counted),
    Monthly: ([st.sampled_from([1, 29, 31, "last", "5th mon", "last fri"]), times], counted),
    Cron: (
        [st.sampled_from(["@daily", "* * * * *", "59-0 22-2 L feb fri-mon", "0 0 29 2 *", "*/7 2 LW * 5L"])],
        {"tz": counted["tz"]},
    ),
}
PARTS = {"hours": anything, "minutes": anything, "seconds": anything}


@st.composite
def calls(draw: st.DrawFn) -> Callable[[], Schedule]:
    """Draw a call that is right but for one argument at most, or one with parts of an interval."""
    make = draw(st.sampled_from(sorted(RIGHT, key=lambda each: each.__name__)))
    arguments, options = RIGHT[make]
    given_arguments = [draw(each) for each in arguments]
    given_options = {name: draw(each) for name, each in options.items()}
    wrong = draw(st.sampled_from([None, None, None, *range(len(given_arguments)), *given_options]))
    if isinstance(wrong, int):
        given_arguments[wrong] = draw(anything)
    elif wrong is not None:
        given_options[wrong] = draw(anything)
    elif make is Every:
        given_arguments, given_options = [], draw(st.fixed_dictionaries({}, optional=PARTS))
    return partial(make, *given_arguments, **given_options)


def attempt(call: Callable[[], Any]) -> Any:  # noqa: ANN401  # what it returns
    """Return what *call* returns, None where it refuses its arguments."""
    try:
        return call()
    except (TypeError, ValueError):
        return None


def check(schedule: Schedule, instant: datetime) -> None:
    """Ask *schedule* for everything it can say."""
    assert eval(repr(schedule), NAMES) == schedule  # noqa: S307  # that it can be is the point
    assert str(schedule)
    assert schedule.rule
    assert schedule.zone is None or schedule.zone == schedule.tz
    for start in (instant, FIRST, NEW_YEAR, LAST):
        run = schedule.next_after(start)
        assert run is None or (run - start > timedelta() and run.utcoffset() is not None)
        assert [each.astimezone(UTC) for each in schedule.upcoming(1, after=start)] == (
            [] if run is None else [run.astimezone(UTC)]
        )


@pytest.mark.long
@pytest.mark.needs("cronsim")
@settings(deadline=None, max_examples=300)
@given(calls(), aware)
def test_an_argument_is_right_or_refused_at_the_call(call: Callable[[], Schedule], instant: datetime) -> None:
    """Whatever is given, making a schedule is a `TypeError` or `ValueError`, or the value works at every instant."""
    schedule = attempt(call)

    if schedule is not None:
        check(schedule, instant)


@pytest.mark.long
@pytest.mark.needs("cronsim")
@settings(deadline=None, max_examples=300)
@given(
    st.deferred(  # where cronsim is missing, there is no Cron
        lambda: st.sampled_from(
            [
                Every(hours=7),
                Every(seconds=1e11),
                Daily("00:00", "23:59:59", tz="America/New_York"),
                Weekly("mon", "02:30", tz="Europe/Berlin", interval=2, starting=date.max),
                Monthly("5th mon", tz="Europe/Berlin"),
                Cron("59-0 22-2 * * *", tz="Australia/Lord_Howe"),
                Cron("*/30 * * * *", tz="America/New_York"),
            ]
        )
    ),
    st.sampled_from(["next_after", "upcoming", "excluding", "until"]),
    st.lists(aware | anything, min_size=1, max_size=2),
    aware,
)
def test_a_method_does_what_it_is_told_or_refuses(
    schedule: Schedule, name: str, arguments: list[Any], instant: datetime
) -> None:
    """Whatever is given to a method is a `TypeError` or `ValueError`, or has an answer."""
    if name == "upcoming":
        # Not more than can be listed.
        n = arguments[0] if not isinstance(arguments[0], int) else min(arguments[0], 3)
        attempt(lambda: schedule.upcoming(n, after=arguments[-1]))
    elif name == "excluding":
        refined = attempt(lambda: schedule.excluding(*arguments))
        if refined is not None:
            check(refined, instant)
    else:
        result = attempt(lambda: getattr(schedule, name)(arguments[0]))
        if isinstance(result, Schedule):
            check(result, instant)


@pytest.mark.parametrize(
    ("schedule", "after", "run"),
    [
        (Daily(tz="America/New_York"), FIRST, "0001-01-01 00:00:00"),
        (Daily(tz="Europe/Berlin"), FIRST, "0001-01-02 00:00:00"),
        (Daily(), FIRST, "0001-01-02 00:00:00"),
        (Daily("23:59:59"), LAST - timedelta(hours=1), "9999-12-31 23:59:59"),
        # In UTC it is the year 10000.
        (Daily("23:59:59", tz="America/New_York"), LAST - timedelta(hours=1), None),
        (Daily("18:00", tz="America/New_York"), LAST - timedelta(hours=1), "9999-12-31 18:00:00"),
        (Daily("00:30", tz="Europe/Berlin"), LAST - timedelta(minutes=1), None),
        (Daily("12:00").excluding(date.max), LAST - timedelta(days=1), None),
        (Daily("12:00").excluding(Monthly(1)), LAST - timedelta(days=1), "9999-12-31 12:00:00"),
        (
            # The excluded run would be in the year 10000, in UTC, and so is none.
            Daily("12:00").excluding(Daily("23:00", tz="America/New_York").until(LAST)),
            LAST - timedelta(days=1),
            "9999-12-31 12:00:00",
        ),
        (Daily("23:00", tz="America/New_York").excluding(Daily(tz="America/New_York")), FIRST, None),
        (Every(hours=2).excluding(date.max), LAST - timedelta(hours=25), None),
        (Every(hours=1), LAST - timedelta(minutes=30), None),
        (Every(hours=1), LAST.replace(tzinfo=ZoneInfo("America/New_York")), None),
        (Every(hours=1), FIRST.replace(tzinfo=ZoneInfo("Europe/Berlin")), "0001-01-01 01:00:00"),
        (Weekly("mon", interval=2, starting=date.max), FIRST, None),
        (Weekly("fri", interval=2, starting=date.max), FIRST, "9999-12-31 00:00:00"),
        (Monthly(31, interval=2, starting=date.min), LAST - timedelta(days=40), None),
        (Monthly(31, interval=3_652_059, starting=date(2026, 1, 1)), FIRST, "2026-01-31 00:00:00"),
        (Monthly(1, interval=3_652_059, starting=date(2026, 1, 2)), FIRST, None),
        (Daily().until(FIRST), FIRST, None),
        (
            Daily().until(LAST.replace(tzinfo=ZoneInfo("America/New_York"))),
            LAST - timedelta(days=1),
            "9999-12-31 00:00:00",
        ),
    ],
)
def test_at_the_ends_of_the_calendar(schedule: Schedule, after: datetime, run: str | None) -> None:
    """A schedule has its first run of the year 1 and its last of the year 9999, and no error beyond."""
    found = schedule.next_after(after)

    assert (found and found.replace(tzinfo=None).isoformat(" ")) == run


@pytest.mark.needs("cronsim")
@pytest.mark.parametrize("tz", ["UTC", "America/New_York", "Europe/Berlin"])
def test_a_cron_expression_has_the_runs_of_the_last_day(tz: str) -> None:
    """On the last day of the calendar the minutes are still found, whether or not clocks could change."""
    cron = Cron("* * * * *", tz=tz)

    assert cron.next_after(LAST - timedelta(hours=9)) == LAST - timedelta(hours=8, minutes=59) + timedelta(
        microseconds=1
    ) - timedelta(minutes=1)
    assert cron.next_after(LAST) is None


def test_an_end_is_named_where_its_zone_has_no_such_year() -> None:
    """An end in the first hours of the year 1 can be written down although in New York it is the year before."""
    assert str(Daily(tz="America/New_York").until(FIRST)).endswith("until 0001-01-01 00:00 America/New_York")


def lines_run(call: Callable[[], object]) -> int:
    """Count the lines of Python that *call* runs, as a measure of its work."""
    count = 0

    def trace(_frame: FrameType, event: str, _argument: object) -> Any:  # noqa: ANN401  # as sys.settrace has it
        nonlocal count
        count += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        call()
    finally:
        sys.settrace(before)
    return count


@pytest.mark.parametrize(
    "make",
    [
        lambda starting: Daily(interval=3, starting=starting),
        lambda starting: Weekly("mon,fri", interval=3, starting=starting),
        lambda starting: Monthly("last fri", interval=3, starting=starting),
    ],
)
def test_a_far_away_start_is_not_walked_from(make: Callable[[date], Schedule]) -> None:
    """The next run is found with the same work whether the interval starts this year, or long ago or ahead."""
    near, past, future = (make(starting) for starting in (date(2025, 12, 1), date(1, 1, 1), date(9990, 1, 1)))

    work = [lines_run(lambda each=each: each.next_after(NEW_YEAR)) for each in (near, past, future)]  # type: ignore[misc]

    assert max(work) <= 2 * min(work) < 400


def test_a_month_that_never_comes_is_given_up_after_one_cycle(monkeypatch: pytest.MonkeyPatch) -> None:
    """No February has a 31st: after the 400 years in which the calendar repeats itself the search ends."""
    asked: list[int] = []
    real = date_in_month

    def count(day: int | tuple[int, int], year: int, month: int) -> date | None:
        asked.append(year)
        return real(day, year, month)

    monkeypatch.setattr("hostkit.scheduling._calendar.date_in_month", count)

    assert Monthly(31, interval=12, starting=date(2026, 2, 1)).next_after(NEW_YEAR) is None
    assert Monthly(29, interval=24, starting=date(2027, 2, 1)).next_after(NEW_YEAR) is None
    assert len(asked) <= 401 + 201


@pytest.mark.needs("cronsim")
@pytest.mark.parametrize(
    "schedule",
    [
        lambda: Daily().excluding(Daily()),
        lambda: Weekly("mon", interval=2, starting=date(2026, 1, 5)).excluding(Weekly("mon")),
        lambda: Monthly("5th fri").excluding(Daily()),
        lambda: Cron("* * * * *").excluding(Cron("* * * * *")),
        lambda: Cron("0 0 29 2 *").excluding(Daily()),
        lambda: Every(hours=1).excluding(Daily()),
    ],
)
def test_a_schedule_that_never_runs_is_given_up_after_a_bounded_search(schedule: Callable[[], Schedule]) -> None:
    """What excludes all of its dates has no next run, after at most 4,000 dates."""
    never = schedule()

    work = lines_run(lambda: never.next_after(NEW_YEAR))

    assert never.next_after(NEW_YEAR) is None
    assert work < 4_000 * 1_000
