"""Cron expressions, and that they agree with the schedules that do without."""

import datetime as dt
import sys
from collections.abc import Callable
from datetime import UTC, date, datetime
from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hostkit.scheduling import Cron, Daily, Monthly, Schedule, Weekly

pytestmark = pytest.mark.needs("cronsim")

BERLIN = "Europe/Berlin"
NEW_YEAR = datetime(2026, 1, 1, tzinfo=UTC)
NAMES = {"datetime": dt, "Cron": Cron, "Monthly": Monthly}


@pytest.mark.parametrize(
    ("make", "code", "english"),
    [
        (
            lambda: Cron("30 3 * * *", tz="Europe/Istanbul"),
            "Cron('30 3 * * *', tz='Europe/Istanbul')",
            "every day at 03:30 Europe/Istanbul",
        ),
        (
            lambda: Cron("0  9,17 * * mon-fri"),
            "Cron('0 9,17 * * mon-fri', tz='UTC')",
            "weekdays at 09:00 and 17:00 UTC",
        ),
        (lambda: Cron("0 0 * * 0,7"), "Cron('0 0 * * 0,7', tz='UTC')", "Sundays at 00:00 UTC"),
        (lambda: Cron("0 0 15 * *"), "Cron('0 0 15 * *', tz='UTC')", "the 15th of the month at 00:00 UTC"),
        (lambda: Cron("0 0 L * *"), "Cron('0 0 L * *', tz='UTC')", "the last day of the month at 00:00 UTC"),
        (
            lambda: Cron("0 0 LW * *"),
            "Cron('0 0 LW * *', tz='UTC')",
            "at 00:00 on the last weekday of the month, UTC",
        ),
        (lambda: Cron("0 0 * * 5L"), "Cron('0 0 * * 5L', tz='UTC')", "the last Friday of the month at 00:00 UTC"),
        (lambda: Cron("0 0 * * sun#2"), "Cron('0 0 * * sun#2', tz='UTC')", "the 2nd Sunday of the month at 00:00 UTC"),
        (
            lambda: Cron("0 0 * * mon,5L"),
            "Cron('0 0 * * mon,5L', tz='UTC')",
            "at 00:00 on Monday and the last Friday of the month, UTC",
        ),
        (
            lambda: Cron("*/5 * * * *", tz=BERLIN),
            "Cron('*/5 * * * *', tz='Europe/Berlin')",
            "every 5 minutes, Europe/Berlin",
        ),
        (
            lambda: Cron("0 9 * * mon-fri", tz=BERLIN).excluding(Monthly("last fri", tz=BERLIN)),
            "Cron('0 9 * * mon-fri', tz='Europe/Berlin').excluding(Monthly('last fri', '00:00', tz='Europe/Berlin'))",
            "weekdays at 09:00 Europe/Berlin, except the last Friday of the month",
        ),
        (
            lambda: Cron("0 9 * * *").excluding(Cron("0 0 * * sun")),
            "Cron('0 9 * * *', tz='UTC').excluding(Cron('0 0 * * sun', tz='UTC'))",
            "every day at 09:00 UTC, except Sundays",
        ),
        (
            lambda: Cron("0 9 * * *").excluding(Cron("0 0 1 1 *")),
            "Cron('0 9 * * *', tz='UTC').excluding(Cron('0 0 1 1 *', tz='UTC'))",
            "every day at 09:00 UTC, except on the 1st of January",
        ),
    ],
)
def test_is_written_as_code_and_in_english(make: Callable[[], Schedule], code: str, english: str) -> None:
    """`repr` is the expression that makes the value; `str` is that of the plain schedule if there is one."""
    schedule = make()

    assert repr(schedule) == code
    assert str(schedule) == english
    assert eval(code, NAMES) == schedule  # noqa: S307  (that it can be is the point)


def test_is_equal_to_one_that_is_written_alike() -> None:
    """The expression and the zone count in a comparison, and nothing else."""
    cron = Cron("0 9 * * *")

    assert cron == Cron("0 9 * * *")
    assert hash(cron) == hash(Cron("0 9 * * *"))
    assert cron not in (Cron("1 9 * * *"), Cron("0 9 * * *", tz="Europe/Berlin"), Daily("09:00"))


@pytest.mark.parametrize(
    "tz",
    [BERLIN, *(pytest.param(tz, marks=pytest.mark.long) for tz in ("UTC", "America/Santiago", "Australia/Lord_Howe"))],
)
@pytest.mark.parametrize(
    ("expression", "plain"),
    [
        ("30 2 * * *", lambda tz: Daily("02:30", tz=tz)),
        ("0 0,12 * * sat", lambda tz: Weekly("sat", "00:00", "12:00", tz=tz)),
        ("15 1 * * sun", lambda tz: Weekly("sun", "01:15", tz=tz)),
        ("30 2 * * sat,sun,wed", lambda tz: Weekly("wed,sat,sun", "02:30", tz=tz)),
        ("0 2 31 * *", lambda tz: Monthly(31, "02:00", tz=tz)),
        ("30 2 L * *", lambda tz: Monthly("last", "02:30", tz=tz)),
        ("0 0 * * sun#1", lambda tz: Monthly("1st sun", tz=tz)),
        ("30 2 * * sat#5", lambda tz: Monthly("5th sat", "02:30", tz=tz)),
        ("30 2 * * 7L", lambda tz: Monthly("last sun", "02:30", tz=tz)),
    ],
)
def test_agrees_with_the_schedules_that_need_no_cron(
    tz: str, expression: str, plain: Callable[[str], Schedule]
) -> None:
    """`Daily`, `Weekly` and `Monthly` have the very runs of the cron expression, from 2024 to 2035."""
    start, end = datetime(2024, 1, 1, tzinfo=UTC), datetime(2036, 1, 1, tzinfo=UTC)
    cron = Cron(expression, tz=tz).until(end)

    runs = plain(tz).until(end).upcoming(10_000, after=start)

    assert len(runs) > 12
    assert [each.isoformat() for each in runs] == [each.isoformat() for each in cron.upcoming(10_000, after=start)]


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("61 * * * *", r"wrong cron expression '61 \* \* \* \*': bad minute; minute \(0-59\)"),
        ("0 25 * * *", "bad hour"),
        ("0 0 31 2 *", r"'0 0 31 2 \*': bad day-of-month"),
        ("0 0 30,31 2 *", "bad day-of-month"),
        ("0 0 31 feb,apr *", "bad day-of-month"),
        ("0 0 * foo *", "bad month"),
        ("0 0 * * 8", "bad day-of-week"),
        ("0 0 */31 2 mon#5", "never comes true"),
        ("0 0 * *", "has 4 fields instead of 5: minute"),
        ("0 0 0 * * *", r"has 6 fields instead of 5: .*for seconds take Every\(seconds=...\)"),
        ("daily", "has 1 fields instead of 5"),
        ("@dayly", "unknown nickname in cron expression '@dayly'; there are @hourly, @daily, @midnight"),
        (
            "@reboot",
            r"@reboot is no schedule: scheduler.add\(job, schedule, run_at_start=True\) runs a job at the start",
        ),
        ("@daily *", "unknown nickname"),
        ("70-2 * * * *", "bad minute"),
        ("2-70 * * * *", "bad minute"),
        ("* 22-24 * * *", "bad hour"),
        ("0 0 31-0 * *", "bad day-of-month"),
        ("0 0 * dec-13 *", "bad month"),
        ("0 0 * * 8-1", "bad day-of-week"),
        ("0 0 * * fri-foo", "bad day-of-week"),
        ("0 22-2/0 * * *", "bad hour"),
        (f"{'1' * 5000} * * * *", "wrong cron expression"),
        ("", "has 0 fields"),
    ],
)
def test_a_wrong_expression_is_refused_where_it_is_written(expression: str, message: str) -> None:
    """The error names the expression, the field that is wrong and what would be right; no 31 February either."""
    with pytest.raises(ValueError, match=message):
        Cron(expression)


@pytest.mark.parametrize(
    ("expression", "english"),
    [
        ("0 0 31 2-12 *", "at 00:00 on the 31st from February to December"),
        ("*/5 * 21,22,23 * *", "every 5 minutes from the 21st to the 23rd"),
        ("0 0 1 * fri", "at 00:00 on the 1st or on Friday"),
        ("0 0 1,15 jan,jul *", "at 00:00 on the 1st and the 15th of January and July"),
        ("0 0 1 jan fri", "at 00:00 on the 1st or on Friday, in January"),
        ("0 0 L,1 * *", "at 00:00 on the 1st and the last day of the month"),
        ("0 0 11-13 6-8 mon,thu", "at 00:00 from the 11th to the 13th or on Monday and Thursday, from June to August"),
        ("0 0 */2 * fri", "at 00:00 on every 2nd day of the month if it is Friday"),
        ("0 0 */20 * mon,tue", "at 00:00 on the 1st and the 21st if it is Monday or Tuesday"),
        ("0 0 1-31 * fri", "at 00:00 every day"),
        ("0 0 1 * 0-6", "at 00:00 every day"),
        ("0 0 * 1 fri#2", "at 00:00 on the 2nd Friday of January"),
        ("0 9 * nov-feb mon-fri", "at 09:00 from Monday to Friday from November to February"),
        ("* * * * *", "every minute"),
        ("@hourly", "every hour"),
        ("30 * * * *", "at minute 30 of every hour"),
        ("*/7 * * * *", "every 7th minute of every hour"),
        ("*/7 9-17 * * *", "every 7th minute of hours 9 to 17"),
        ("10-20,40 * * * *", "at minutes 10 to 20 and 40 of every hour"),
        ("0 */6 * * *", "at 00:00, 06:00, 12:00 and 18:00 every day"),
        ("30 9-17 * * *", "every hour from 09:30 to 17:30"),
        ("* 9 * * *", "every minute from 09:00 to 09:59"),
        ("* 9,17 * * *", "every minute of hours 9 and 17"),
        ("5,10 9-12,17 * * *", "at minutes 5 and 10 of hours 9 to 12 and 17 every day"),
        ("1-5 9 * * *", "at minutes 1 to 5 of hour 9 every day"),
        ("*/15 22-2 * * fri-mon", "every 15 minutes from 22:00 to 02:45 from Friday to Monday"),
        ("0 0 * * fri-mon,wed", "Mondays, Wednesdays, Fridays, Saturdays and Sundays at 00:00"),
    ],
)
def test_is_described_in_plain_english(expression: str, english: str) -> None:
    """`rule` names times, days and months as one would."""
    assert Cron(expression).rule == english


@pytest.mark.parametrize(
    ("expression", "plain"),
    [
        ("0 0 * * fri-mon", "0 0 * * 5,6,0,1"),
        ("0 0 * * sat-sun", "0 0 * * 6,0"),
        ("0 0 * * 7-2", "0 0 * * 0,1,2"),
        ("0 22-2 * * *", "0 22,23,0,1,2 * * *"),
        ("0 22-4/3 * * *", "0 22,1,4 * * *"),
        ("50-9/5,30 * * * *", "50,55,0,5,30 * * * *"),
        ("0 0 30-2 * *", "0 0 30,31,1,2 * *"),
        ("0 0 1 nov-feb *", "0 0 1 11,12,1,2 *"),
        ("*/20,58-1 * * * *", "0,20,40,58,59,0,1 * * * *"),
        ("@hourly", "0 * * * *"),
        ("@daily", "0 0 * * *"),
        ("@midnight", "0 0 * * *"),
        (" @Weekly ", "0 0 * * 0"),
        ("@monthly", "0 0 1 * *"),
        ("@yearly", "0 0 1 1 *"),
        ("@annually", "0 0 1 1 *"),
    ],
)
def test_ranges_over_the_end_and_nicknames(expression: str, plain: str) -> None:
    """A range may go over the end of the hour, day, week, month or year; a nickname stands for five fields."""
    cron = Cron(expression)

    assert cron.upcoming(50, after=NEW_YEAR) == Cron(plain).upcoming(50, after=NEW_YEAR)
    assert repr(cron) == f"Cron({expression.strip()!r}, tz='UTC')"


def test_a_range_over_the_end_keeps_the_rules_of_a_star() -> None:
    """A wrapped range is as fixed as any other, and a star before it is a star."""
    berlin = datetime(2026, 10, 24, 20, tzinfo=UTC)
    fixed, shown = Cron("30 22-2 * * *", tz=BERLIN), Cron("30 */12,22-2 * * *", tz=BERLIN)

    assert [f"{run:%H:%M%z}" for run in fixed.upcoming(4, after=berlin)] == [
        "22:30+0200",
        "23:30+0200",
        "00:30+0200",
        "01:30+0200",
    ]
    assert [f"{run:%H:%M%z}" for run in fixed.upcoming(2, after=datetime(2026, 10, 25, tzinfo=UTC))] == [
        "02:30+0200",
        "22:30+0100",
    ]
    assert [f"{run:%H:%M%z}" for run in shown.upcoming(2, after=datetime(2026, 10, 25, tzinfo=UTC))] == [
        "02:30+0200",
        "02:30+0100",
    ]


@given(
    st.tuples(
        *(
            st.sampled_from(options)
            for options in (
                ["0", "*/7", "5,45", "59-1"],
                ["*", "2", "22-2", "*/6"],
                ["*", "1", "L", "LW", "*/2", "13,31", "30-2"],
                ["*", "2", "nov-jan"],
                ["*", "fri", "fri#5", "5L", "*/3", "sun#1,tue"],
            )
        )
    ).map(" ".join),
    st.datetimes(datetime(2024, 1, 1), datetime(2027, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001
)
def test_finds_the_dates_that_cronsim_finds(expression: str, after: datetime) -> None:
    """In UTC the runs are those of cronsim, which walks by its own search."""
    from cronsim import CronSim

    plain = expression.replace("59-1", "59,0,1").replace("22-2", "22,23,0,1,2").replace("30-2", "30,31,1,2")

    wanted = list(islice(CronSim(plain.replace("nov-jan", "11,12,1"), after), 5))

    assert Cron(expression).upcoming(5, after=after) == wanted


@given(st.lists(st.text("0123456789*/-,#LW²monfri", max_size=5), min_size=4, max_size=6).map(" ".join))
def test_any_text_is_a_schedule_or_a_value_error(expression: str) -> None:
    """Nonsense of every sort is refused with a `ValueError`, and what is taken has a next run."""
    try:
        cron = Cron(expression)
    except ValueError:
        return

    assert cron.next_after(NEW_YEAR) is not None
    assert str(cron).endswith("UTC")


def test_an_expression_must_be_a_str() -> None:
    """Anything but a str is a `TypeError`."""
    with pytest.raises(TypeError, match="must be a str, not 5"):
        Cron(5)  # type: ignore[arg-type]


def test_finds_the_rarest_date() -> None:
    """A 29 February that is a Sunday comes after 28 years, or after 40 when a century is no leap year."""
    cron = Cron("0 0 */28 2 sun").excluding(*(date(year, 2, 1) for year in range(2026, 2200)))

    runs = cron.upcoming(4, after=NEW_YEAR)

    assert [run.year for run in runs] == [2032, 2060, 2088, 2128]


@pytest.mark.parametrize("expression", ["0 0 29 2 *", "* * 29 2 *"])
def test_there_is_no_run_after_the_last_year(expression: str) -> None:
    """Past the year 9999 a schedule has ended."""
    assert Cron(expression).next_after(datetime(9997, 1, 1, tzinfo=UTC)) is None


def test_the_bound_counts_dates_and_not_runs() -> None:
    """A run every minute may be excluded for weeks on end."""
    schedule = Cron("* * * * *").excluding(*(date(2026, 1, day) for day in range(1, 32)))

    assert schedule.next_after(NEW_YEAR) == datetime(2026, 2, 1, tzinfo=UTC)


def test_without_cronsim_the_error_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only `Cron` needs the extra, and it names it."""
    monkeypatch.setitem(sys.modules, "cronsim", None)

    assert Daily().next_after(NEW_YEAR) is not None
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'hostkit-py\[cron\]'"):
        Cron("0 9 * * *")
