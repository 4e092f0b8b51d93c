"""What the manual on scheduling shows works, line by line."""

import re
from collections.abc import Callable
from datetime import UTC, date, datetime
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pytest

from hostkit import HostBuilder
from hostkit.scheduling import Cron, Daily, Every, Missed, Monthly, Overlap, Schedule, Scheduler, Weekly

MANUAL = (Path(__file__).parent.parent / "docs" / "scheduling.md").read_text(encoding="utf-8")
AFTER = datetime(2026, 11, 24, 12, 10, tzinfo=UTC)


class Line(NamedTuple):
    """A line of a table: what somebody else calls it, the code, and what the code is said to give."""

    number: int
    other: str
    code: str
    claim: str


def lines(heading: str, code_column: int = 1) -> list[Line]:
    """Return the lines of the table below *heading*."""
    found = []
    section = ""
    for number, text in enumerate(MANUAL.splitlines(), 1):
        section = text.removeprefix("## ") if text.startswith("## ") else section
        if section != heading or not text.startswith("| ") or text.startswith("| ---"):
            continue
        cells = [cell.strip() for cell in text.strip("|").split(" | ")]
        code = re.fullmatch(r"`([^`]+)`", cells[code_column])
        if code is not None:
            found.append(Line(number, cells[0], code[1], cells[2].strip(" |") if len(cells) > 2 else ""))
    return found


SCHEDULES = lines("Schedules", 0)
OPTIONS = lines("Options of a job", 0)
FOREIGN = [
    line
    for heading in ("Coming from Coravel", "Coming from Hangfire's recurring jobs", "Coming from Quartz.NET")
    for line in lines(heading)
]
# Of what the evidence lists: none is left out.
CORAVEL = """
Schedule ScheduleAsync ScheduleWithParams ScheduleInvocableType OnWorker GetSchedules EverySecond EveryFiveSeconds
EveryTenSeconds EveryFifteenSeconds EveryThirtySeconds EverySeconds EveryMinute EveryFiveMinutes EveryTenMinutes
EveryFifteenMinutes EveryThirtyMinutes Hourly HourlyAt Daily DailyAtHour DailyAt Weekly Monthly Cron Monday Sunday
Weekday Weekend When PreventOverlapping Zoned RunOnceAtStart Once OnError LogScheduledTaskProgress TryUnschedule
"""
HANGFIRE = "Minutely Hourly Daily Weekly Monthly Yearly Never MinuteInterval HourInterval DayInterval MonthInterval"
QUARTZ = """
SimpleTrigger CronTrigger CalendarIntervalTrigger DailyTimeIntervalTrigger AnnualCalendar BaseCalendar CronCalendar
DailyCalendar HolidayCalendar MonthlyCalendar WeeklyCalendar
"""


def is_leader() -> bool:
    """Say yes."""
    return True


def job() -> None:
    """Do nothing."""


def once() -> None:
    """Do nothing."""


async def async_job() -> None:
    """Do nothing."""


def job_with(number: int) -> None:
    """Do nothing."""


class Report:
    def run(self) -> None:
        """Do nothing."""


def evaluate(code: str) -> object:
    """Evaluate the code of a line."""
    builder = HostBuilder()
    names = {
        "Cron": Cron,
        "Daily": Daily,
        "Every": Every,
        "Missed": Missed,
        "Monthly": Monthly,
        "Overlap": Overlap,
        "Report": Report,
        "Scheduler": Scheduler,
        "UTC": UTC,
        "Weekly": Weekly,
        "async_job": async_job,
        "builder": builder,
        "date": date,
        "datetime": datetime,
        "is_leader": is_leader,
        "job": job,
        "job_with": job_with,
        "once": once,
        "partial": partial,
        "schedule": Every(hours=1),
        "scheduler": builder.add_service(Scheduler()),
    }
    return eval(code, names)  # noqa: S307  # our own manual


def first_runs(schedule: Schedule) -> str:
    """Return the first two runs as the manual writes them: the day only where it is another one, no seconds if none."""
    texts = []
    for run in schedule.upcoming(2, after=AFTER):
        utc = run.astimezone(UTC)
        day = "" if utc.date() == AFTER.date() else f"{utc:%a %d} "
        texts.append(day + (f"{utc:%H:%M:%S}" if utc.second else f"{utc:%H:%M}"))
    return ", ".join(texts)


@pytest.mark.needs("cronsim")
@pytest.mark.parametrize("line", FOREIGN, ids=lambda line: f"{line.number}-{line.other}")
def test_every_line_for_those_who_come_from_elsewhere_holds(line: Line) -> None:
    """The code of each line works, and a schedule has the first runs that the line says."""
    value = evaluate(line.code)

    assert not isinstance(value, Schedule) or first_runs(value) == line.claim


@pytest.mark.needs("cronsim")
@pytest.mark.parametrize("line", SCHEDULES, ids=lambda line: line.code)
def test_every_schedule_that_is_shown_works(line: Line) -> None:
    """Each form of a schedule that the manual shows is one."""
    schedule = evaluate(line.code)

    assert isinstance(schedule, Schedule)
    assert schedule.upcoming(2, after=AFTER)


@pytest.mark.parametrize("line", OPTIONS, ids=lambda line: line.code)
def test_every_option_that_is_shown_works(line: Line) -> None:
    """Each option that the manual shows is taken."""
    evaluate(line.code)


@pytest.mark.parametrize(("names", "pattern"), [(CORAVEL, r"\b{}\b"), (HANGFIRE, r"Cron\.{}\("), (QUARTZ, "`{}`")])
def test_nothing_is_left_out(names: str, pattern: str) -> None:
    """Every method, trigger and calendar of the others has a line."""
    others = "\n".join(line.other for line in FOREIGN)

    missing = [name for name in names.split() if not re.search(pattern.format(name), others)]

    assert missing == []


def test_the_tables_are_found() -> None:
    """The lines of the tables are found, so that none is left untested in silence."""
    rows: Callable[[str], int] = lambda text: sum(line.startswith("| `") for line in text.splitlines())  # noqa: E731

    assert len(FOREIGN) + len(SCHEDULES) + len(OPTIONS) == rows(MANUAL)
