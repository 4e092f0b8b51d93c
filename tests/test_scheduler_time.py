"""When a scheduler runs what is due: grids and calendars, clocks that are set, loops that are blocked."""

import math
from datetime import UTC, date, datetime, time, timedelta

import anyio
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scheduled import DAY, HOUR, MINUTE, START, Timed, at, block, leap, log_lines, told

from hostkit.scheduling import Cron, Daily, Every, Missed, Schedule, Scheduler
from hostkit.scheduling._clock import Reading
from hostkit.scheduling._due import MonotonicQueue, WallClockQueue, _last_passed
from hostkit.scheduling._entry import JobEntry


class Ticks:
    """A job that notes the minutes in which it runs."""

    def __init__(self, timed: Timed) -> None:
        self._timed = timed
        self.minutes: list[float] = []
        self.walls: list[datetime] = []

    async def __call__(self) -> None:
        self.minutes.append(self._timed.minutes())
        self.walls.append(self._timed.clock.now())


async def two_nights(timed: Timed) -> None:
    """Let time pass until it is past two at night, twice; at one go until shortly before, when the loop turns again."""
    for _ in range(2):
        now = timed.clock.now()
        left = (now.replace(hour=2, minute=0, second=0) - now).total_seconds() % DAY
        block(max(0.0, left - 2 * MINUTE))
        await anyio.sleep(5 * MINUTE)


class TestIntervals:
    async def test_run_on_a_grid_from_the_start(self) -> None:
        """An interval runs for the first time when it is over, counted from the scheduler's start."""
        timed = Timed()
        ticks = Ticks(timed)
        timed.scheduler.add(ticks, Every(minutes=5))

        await timed.run_for(16 * MINUTE)

        assert ticks.minutes == [5, 10, 15]

    @pytest.mark.parametrize("days", [2, pytest.param(30, marks=pytest.mark.long)])
    async def test_do_not_drift(self, days: int) -> None:
        """After days and weeks a job is due to the microsecond as on the first day, whatever its runs take."""
        timed = Timed()
        ticks = Ticks(timed)

        async def job() -> None:
            await ticks()
            await anyio.sleep(7.3)

        timed.scheduler.add(job, Every(minutes=7, seconds=0.1))

        await timed.run_for(days * DAY)

        count = len(ticks.minutes)
        assert count == int(days * DAY / 420.1)
        assert ticks.walls[-1] == START + count * timedelta(seconds=420.1)

    async def test_take_no_notice_of_the_wall_clock(self) -> None:
        """Whoever sets the wall clock moves no interval."""
        timed = Timed()
        ticks = Ticks(timed)
        timed.scheduler.add(ticks, Every(minutes=10))
        timed.scheduler.add(ticks, Daily("00:00"))  # the clock is looked at

        async with timed.running():
            for step in (HOUR, -HOUR, 25 * HOUR, -24 * HOUR, 0, 0):
                await anyio.sleep(5 * MINUTE)
                timed.clock.step(step)
            await anyio.sleep(1)

        assert [minute for minute in ticks.minutes if minute % 10 == 0] == [10, 20, 30]

    async def test_coalesce_after_the_loop_was_blocked(self) -> None:
        """One run makes up for all that were due while the event loop was blocked; then the grid goes on."""
        timed = Timed()
        ticks = Ticks(timed)
        job = timed.scheduler.add(ticks, Every(minutes=10), name="job")

        with log_lines() as lines:
            async with timed.running():
                await anyio.sleep(11 * MINUTE)
                block(3 * HOUR)
                await anyio.sleep(20 * MINUTE)
                history = told(job.history)

        assert ticks.minutes == [10, 191, 200, 210]
        assert history == [
            (10, "succeeded", None),
            (20, "skipped", "missed by 2 h 51 min, with all until the next"),
            (190, "succeeded", None),
            (200, "succeeded", None),
            (210, "succeeded", None),
        ]
        assert lines == ["INFO scheduler: job job skipped: missed by 2 h 51 min, with all until the next"]

    async def test_leave_out_what_was_missed(self) -> None:
        """With `Missed.SKIP` nothing is made up for after the loop was blocked; the next run comes on the grid."""
        timed = Timed()
        ticks = Ticks(timed)
        job = timed.scheduler.add(ticks, Every(minutes=10), missed=Missed.SKIP)

        async with timed.running():
            await anyio.sleep(11 * MINUTE)
            block(3 * HOUR)
            await anyio.sleep(10 * MINUTE)
            history = told(job.history)

        assert ticks.minutes == [10, 200]
        assert history[1:3] == [
            (20, "skipped", "missed by 2 h 51 min, with all until the next"),
            (190, "skipped", "missed by 1 min"),
        ]

    @pytest.mark.parametrize("missed", Missed)
    @pytest.mark.parametrize(("late", "runs"), [(30, True), (31, False)])
    async def test_begin_as_late_as_they_are_allowed_to(self, missed: Missed, late: float, *, runs: bool) -> None:
        """A run that would begin later than `grace` is left out; the next one is not."""
        timed = Timed()
        ticks = Ticks(timed)
        job = timed.scheduler.add(ticks, Every(minutes=1), missed=missed, grace=30)

        async with timed.running():
            await anyio.sleep(0.5 * MINUTE)
            block(30 + late)
            await anyio.sleep(MINUTE)
            history = told(job.history)

        assert ticks.minutes == ([1 + late / 60, 2] if runs else [2])
        assert history[0] == ((1, "succeeded", None) if runs else (1, "skipped", "missed by 31 s"))

    async def test_leave_out_excluded_dates(self) -> None:
        """An interval that excludes dates goes on over them on its own grid, and one with an end ends."""
        timed = Timed()
        excluding, ending = Ticks(timed), Ticks(timed)
        tuesday = date(2026, 11, 3)
        timed.scheduler.add(excluding, Every(hours=5).excluding(tuesday))
        ended = timed.scheduler.add(ending, Every(hours=5).until(START + timedelta(hours=12)), name="ended")

        async with timed.running():
            await anyio.sleep(MINUTE)
            for _ in range(47):
                await leap(HOUR)
            next_run = ended.next_run

        assert [minute / 60 for minute in excluding.minutes] == [5, 10, 40, 45]
        assert [minute / 60 for minute in ending.minutes] == [5, 10]
        assert next_run is None

    async def test_leave_out_excluded_dates_after_the_loop_was_blocked(self) -> None:
        """What is made up for is the last run that was not excluded."""
        timed = Timed()
        into, over = Ticks(timed), Ticks(timed)
        job = timed.scheduler.add(into, Every(hours=5).excluding(date(2026, 11, 3)))
        other = timed.scheduler.add(over, Every(hours=5).excluding(date(2026, 11, 3)))

        async with timed.running():
            await anyio.sleep(HOUR)
            block(29 * HOUR)  # to the middle of the excluded day
            await anyio.sleep(MINUTE)
            first = told(job.history)
            block(11 * HOUR)  # to the day after
            await anyio.sleep(MINUTE)
            second = told(other.history)

        assert first == [(5 * 60, "succeeded", None)]
        assert [minute / 60 for minute, *_ in second] == [5, 40]

    async def test_make_up_for_the_last_run_that_is_not_excluded(self) -> None:
        """An interval that excludes dates makes up for its latest run, if that is not on one of them."""
        timed = Timed()
        job = timed.scheduler.add(Ticks(timed), Every(hours=5).excluding(date(2026, 12, 24)))

        async with timed.running():
            await anyio.sleep(HOUR)
            block(25 * HOUR)
            await anyio.sleep(MINUTE)
            history = told(job.history)

        assert history == [(5 * 60, "skipped", "missed by 21 h, with all until the next"), (25 * 60, "succeeded", None)]

    @pytest.mark.parametrize(
        ("schedule", "step", "hours"),
        [
            (Every(hours=1).excluding(date(2026, 11, 3), date(2026, 11, 4)), 3 * DAY, [1, 2, 3, 4, 5, 6]),
            (Every(hours=1).excluding(date(2026, 11, 3)), 14 * HOUR, [1]),
            (Every(hours=1).excluding(date(2026, 11, 2)), DAY, [2, 3, 4, 5, 6]),
            (Every(hours=1).until(START + timedelta(hours=12)), 10 * HOUR, [1]),
            (Every(hours=1).until(START + timedelta(hours=12)), -DAY, [1, 2, 3, 4, 5, 6]),
        ],
    )
    async def test_leave_out_what_the_clock_says_after_it_was_set(
        self, schedule: Every, step: float, hours: list[float]
    ) -> None:
        """After a suspension, or when the clock was set, an interval leaves out the dates that the clock shows then.

        Its own grid stays where it is; an end that has been passed over is an end.
        """
        timed = Timed()
        ticks = Ticks(timed)
        timed.scheduler.add(ticks, schedule)

        async with timed.running():
            await anyio.sleep(1.5 * HOUR)
            timed.clock.step(step)
            await anyio.sleep(35 * MINUTE)
            for _ in range(4):
                await leap(HOUR)

        assert [minute / 60 for minute in ticks.minutes] == hours

    async def test_keep_their_delay_when_the_clock_is_set_by_a_little(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A clock that is set draws no new `jitter` for a run that stays where it was."""
        monkeypatch.setattr("random.random", iter([0.5, 0, 0]).__next__)
        timed = Timed()
        ticks = Ticks(timed)
        timed.scheduler.add(ticks, Every(hours=1).until(START + timedelta(days=1)), jitter=40 * MINUTE)

        async with timed.running():
            await anyio.sleep(10 * MINUTE)
            timed.clock.step(5)
            await anyio.sleep(HOUR)
            timed.clock.step(5)
            await anyio.sleep(HOUR)

        assert ticks.minutes == [80, 120]

    async def test_that_have_ended_go_on_when_the_clock_is_set_right(self) -> None:
        """A clock that was wrong for a while ends no interval for good, and nothing is run again."""
        timed = Timed()
        ticks = Ticks(timed)
        timed.scheduler.add(ticks, Every(hours=1).until(START + timedelta(days=1)))

        async with timed.running():
            await anyio.sleep(1.5 * HOUR)
            timed.clock.step(1000 * DAY)
            await anyio.sleep(2 * HOUR)
            timed.clock.step(-1000 * DAY)
            await anyio.sleep(2 * HOUR)

        assert ticks.minutes == [60, 240, 300]

    @pytest.mark.long
    async def test_are_spread_by_chance(self) -> None:
        """With `jitter` each run is put off by a little, and the grid stays where it is."""
        timed = Timed()
        ticks = Ticks(timed)
        job = timed.scheduler.add(ticks, Every(minutes=10), jitter=60)

        async with timed.running():
            await anyio.sleep(DAY)
            planned = [at(run) for run in job.history]

        delays = [minute - 10 * number for number, minute in enumerate(ticks.minutes, 1)]
        assert planned == [10 * number for number in range(1, len(planned) + 1)]
        assert all(0 <= delay <= 1 for delay in delays)
        assert len(set(delays)) > 100


class TestCalendars:
    async def test_run_at_the_time_on_the_wall(self) -> None:
        """A job by the calendar runs when the clock on the wall of its zone shows the time, to the microsecond."""
        timed = Timed()
        ticks = Ticks(timed)
        job = timed.scheduler.add(ticks, Daily("09:30", "12:00", tz="Europe/Berlin"))

        async with timed.running():
            await anyio.sleep(MINUTE)
            for _ in range(95):
                await leap(HOUR / 2)
            planned = [f"{run.planned:%d %H:%M%z}" for run in job.history]

        assert ticks.walls == [
            datetime(2026, 11, day, hour, minute, tzinfo=UTC)
            for day, hour, minute in ((2, 11, 0), (3, 8, 30), (3, 11, 0), (4, 8, 30))
        ]
        assert planned == ["02 12:00+0100", "03 09:30+0100", "03 12:00+0100", "04 09:30+0100"]

    @pytest.mark.parametrize(
        ("step", "runs", "reasons"),
        [
            (0, ["03 02:00:00", "04 02:00:00"], []),
            (1, ["03 02:00:00", "04 02:00:00"], []),
            (-1, ["03 02:00:00", "04 02:00:00"], []),
            (3, ["03 03:31:00", "04 02:00:00"], ["missed by 1 h 31 min"]),
            (25, ["04 01:31:00", "04 02:00:00"], ["missed by 23 h 31 min"]),
            (50, ["05 02:31:00", "06 02:00:00"], ["missed by 2 d, with all until the next", "missed by 31 min"]),
        ],
    )
    async def test_survive_suspension_and_clocks_that_are_set(
        self, step: float, runs: list[str], reasons: list[str]
    ) -> None:
        """What was due while the machine was suspended, or was passed over by a clock that was set, is made up for.

        Neither moves the event loop's clock; it is noticed within half a minute.
        """
        timed = Timed()
        timed.clock.step(timedelta(hours=15, minutes=29, seconds=30))
        once, never = Ticks(timed), Ticks(timed)
        timed.scheduler.add(once, Daily("02:00"))
        skipping = timed.scheduler.add(never, Daily("02:00"), missed=Missed.SKIP)

        async with timed.running():
            await anyio.sleep(75)
            timed.clock.step(step * HOUR)
            await anyio.sleep(MINUTE)
            await two_nights(timed)

        on_time = [run for run in runs if run.endswith("02:00:00")]
        assert [f"{wall:%d %H:%M:%S}" for wall in once.walls][:2] == runs
        assert [f"{wall:%d %H:%M:%S}" for wall in never.walls][: len(on_time)] == on_time
        assert [run.reason for run in skipping.history if run.reason] == reasons

    @pytest.mark.parametrize(("back", "expected"), [(1, ["03 02:00", "04 02:00"]), (4, ["03 02:00", "03 02:00"])])
    async def test_do_not_run_twice_when_the_clock_is_set_back(self, back: float, expected: list[str]) -> None:
        """A time that comes again was the first time; unless the clock was wrong by more than three hours."""
        timed = Timed()
        timed.clock.step(timedelta(hours=16))
        ticks = Ticks(timed)
        timed.scheduler.add(ticks, Daily("02:00"))

        async with timed.running():
            await anyio.sleep(1.2 * HOUR)
            timed.clock.step(-back * HOUR)
            await anyio.sleep(MINUTE)
            await two_nights(timed)

        assert [f"{wall:%d %H:%M}" for wall in ticks.walls[:2]] == expected

    @pytest.mark.needs("cronsim")
    @pytest.mark.parametrize(
        ("back", "shown", "minutes"),
        [(30, ["10:00", "11:00"], [60, 120.5]), (HOUR, ["10:00", "10:00"], [60, 120])],
    )
    async def test_that_follow_the_clock_run_again_when_it_is_set_back(
        self, back: float, shown: list[str], minutes: list[float]
    ) -> None:
        """A cron job of every hour runs again when the clock shows the hour again, but not for a small correction."""
        timed = Timed()
        ticks = Ticks(timed)
        timed.scheduler.add(ticks, Cron("0 * * * *"))

        async with timed.running():
            await anyio.sleep(61 * MINUTE)
            timed.clock.step(-back)
            await anyio.sleep(60 * MINUTE)

        assert [f"{wall:%H:%M}" for wall in ticks.walls] == shown
        assert ticks.minutes == minutes

    @pytest.mark.needs("cronsim")
    async def test_that_follow_the_clock_keep_a_run_that_is_put_off_when_it_is_set_back(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A run that `jitter` puts off is not lost when the clock is set back, but not to before its time."""
        monkeypatch.setattr("random.random", lambda: 0.5)
        timed = Timed()
        ticks = Ticks(timed)
        job = timed.scheduler.add(ticks, Cron("0 * * * *"), jitter=20 * MINUTE)

        async with timed.running():
            await anyio.sleep(65 * MINUTE)
            timed.clock.step(-MINUTE)
            await anyio.sleep(10 * MINUTE)
            history = told(job.history)

        assert history == [(60, "succeeded", None)]
        assert ticks.minutes == [71]

    async def test_do_not_search_through_all_that_a_clock_passes_over(self) -> None:
        """A clock that is set forward by fifty years is caught up with at once."""
        timed = Timed()
        ticks = Ticks(timed)
        job = timed.scheduler.add(ticks, Daily(*(f"{hour}:{minute:02}" for hour in range(24) for minute in range(60))))

        async with timed.running():
            await anyio.sleep(100)
            timed.clock.step(timedelta(days=18_250))
            await anyio.sleep(50)

        assert [f"{run.planned:%Y %H:%M}" for run in job.history if run.reason is None] == [
            "2026 09:01",
            "2076 09:02",
        ]

    async def test_come_to_their_end(self) -> None:
        """A job whose schedule has ended stays, and is due no more."""
        timed = Timed()
        ticks = Ticks(timed)
        job = timed.scheduler.add(ticks, Daily("10:00").until(START + timedelta(days=1)))

        async with timed.running():
            await anyio.sleep(2 * HOUR)
            await leap(3 * DAY)
            next_run = job.next_run

        assert ticks.minutes == [60]
        assert next_run is None

    @pytest.mark.parametrize("at_the_start", [False, True])
    async def test_do_not_end_by_a_clock_that_was_wrong(self, *, at_the_start: bool) -> None:
        """A clock that was past a schedule's end for a while, or at the start, has not ended it for good."""
        timed = Timed()
        ticks, gone = Ticks(timed), Ticks(timed)
        wrong = timedelta(days=1000)
        schedule = Daily("10:00").until(START + timedelta(days=2))
        if at_the_start:
            timed.clock.step(wrong)
        timed.scheduler.add(ticks, schedule)
        removed = timed.scheduler.add(gone, schedule.excluding(START.date()))

        async with timed.running():
            if not at_the_start:
                await anyio.sleep(1.2 * MINUTE)
                timed.clock.step(wrong)
            await anyio.sleep(2 * MINUTE)
            removed.remove()
            timed.clock.step(-wrong)
            await anyio.sleep(HOUR)
            for _ in range(3):
                await leap(DAY)

        made_up_for = [] if at_the_start else [1.5]
        assert ticks.minutes == [*made_up_for, 60, 60 + DAY / MINUTE]
        assert gone.minutes == made_up_for

    @pytest.mark.long
    async def test_are_spread_by_chance(self) -> None:
        """With `jitter` each run is put off by a little, and the plan stays as it is."""
        timed = Timed()
        ticks = Ticks(timed)
        job = timed.scheduler.add(ticks, Daily("10:00"), jitter=600)

        async with timed.running():
            await anyio.sleep(2 * HOUR)
            for _ in range(9):
                block(22.5 * HOUR)
                await anyio.sleep(1.5 * HOUR)
            planned = {f"{run.planned:%H:%M:%S}" for run in job.history}

        assert planned == {"10:00:00"}
        assert len(set(ticks.minutes)) == len(ticks.minutes) == 10
        assert all(0 <= minute - 60 - 24 * 60 * day <= 10 for day, minute in enumerate(ticks.minutes))

    async def test_are_due_again_by_the_hour_that_a_clock_shows_twice(self) -> None:
        """Which of two runs is first is told by the instant, not by what the clock shows."""
        timed = Timed()
        timed.clock.step(datetime(2026, 10, 24, 23, 30, tzinfo=UTC) - START)
        ticks = Ticks(timed)
        timed.scheduler.add(ticks, Daily("02:30", "03:30", tz="Europe/Berlin"))

        await timed.run_for(5 * HOUR)

        assert ticks.minutes == [60, 180]  # 02:30 in summer time, 03:30 in winter time

    @pytest.mark.needs("cronsim")
    async def test_that_were_missed_in_the_hour_that_a_clock_shows_twice_have_their_record(self) -> None:
        """Two runs for which the clock shows the same time are two, also when one makes up for both."""
        timed = Timed()
        timed.clock.step(datetime(2026, 10, 25, 0, 20, tzinfo=UTC) - START)
        job = timed.scheduler.add(Ticks(timed), Cron("30 * * * *", tz="Europe/Berlin"))

        async with timed.running():
            await anyio.sleep(MINUTE)
            timed.clock.step(75 * MINUTE)
            await anyio.sleep(MINUTE)

        assert [(f"{run.planned:%H:%M%z}", run.reason) for run in job.history] == [
            ("02:30+0200", "missed by 1 h 6 min, with all until the next"),
            ("02:30+0100", None),
        ]


async def test_an_idle_scheduler_without_calendars_does_not_wake_up() -> None:
    """Without jobs by the calendar the wall clock is read only when something is due."""
    readings = []

    def now() -> datetime:
        readings.append(anyio.current_time())
        return START

    timed = Timed()
    timed.scheduler = Scheduler(now=now)

    async def nothing() -> None:
        pass

    timed.scheduler.add(nothing, Every(hours=12))
    began = anyio.current_time()

    async with timed.running():
        await anyio.sleep(DAY + 1)
        idle = [round(reading - began) for reading in readings]
        timed.scheduler.add(nothing, Daily("08:00"))
        await anyio.sleep(95)
        watching = [round(reading - began - DAY) for reading in readings[len(idle) :]]

    assert sorted(set(idle)) == [0, 12 * HOUR, DAY]
    assert sorted(set(watching)) == [1, 31, 61, 91]


async def test_waits_a_millisecond_at_least() -> None:
    """Runs that are due within a millisecond of each other come together, at most that late."""
    timed = Timed()
    ticks = Ticks(timed)
    timed.scheduler.add(ticks, Every(0.0101))
    timed.scheduler.add(ticks, Every(0.0105))

    await timed.run_for(0.0125)

    assert [minute * MINUTE for minute in ticks.minutes] == pytest.approx([0.0101, 0.0111])


def job_of(schedule: Schedule, jitter: float = 0.0) -> JobEntry:
    """Return a job that is in no scheduler."""

    def nothing() -> None:
        """Do nothing."""

    job = Scheduler().add(nothing, schedule, jitter=jitter)
    assert isinstance(job, JobEntry)
    return job


@settings(deadline=None)
@given(
    period=st.floats(0.001, 1e5),
    gaps=st.lists(st.floats(0, 1e6), max_size=20),
    jitter=st.sampled_from([0.0, 0.5]),
)
@example(period=10.0, gaps=[20.0], jitter=0.0)  # the next one is due at this very instant
@example(period=1.1, gaps=[999_999.0], jitter=0.0)  # its place comes after that instant, the sum of floats does not
def test_intervals_pass_over_nothing_and_run_nothing_early(period: float, gaps: list[float], jitter: float) -> None:
    """However late the scheduler looks, each place on the grid is told once, in order, and none before its time."""
    schedule = Every(period)
    period = schedule.period
    job = job_of(schedule, jitter * period)
    queue = MonotonicQueue()
    now = 1000.0
    queue.schedule(job, Reading(START, now))
    last = now
    for gap in gaps:
        now += gap
        for _, first, latest, late in queue.take_due(Reading(START, now)):
            assert first == pytest.approx(last + period)
            assert first <= latest <= now
            assert late >= 0
            assert isinstance(job.due_at, float)
            assert jitter or (job.due_at > now and job.due_at == pytest.approx(latest + period))
            last = latest
    following = queue.first()
    assert following is not None
    assert following > now
    assert following - last <= period * (1 + jitter) + 1e-6


@settings(deadline=None)
@given(
    gaps=st.lists(st.integers(0, 10**7), max_size=10),
    times=st.lists(st.times(), min_size=1, max_size=3),
)
@example(gaps=[DAY * 3 + 45], times=[time(10), time(10, 0, 30)])  # both within the last minute
@example(gaps=[DAY * 2], times=[time(10)])  # one at this very instant
def test_calendars_catch_up_with_the_last_run(gaps: list[int], times: list[object]) -> None:
    """However far the clock has gone on, the last run that was passed over is found, and the one after it is next."""
    schedule = Daily(*(f"{each:%H:%M:%S}" for each in times), tz="Europe/Berlin")
    job = job_of(schedule)
    queue = WallClockQueue()
    now = START
    queue.schedule(job, Reading(now, 0))
    planned = schedule.next_after(START)
    for gap in gaps:
        now += timedelta(seconds=gap)
        for _, first, latest, _late in queue.take_due(Reading(now, 0)):
            assert first == planned
            assert latest.astimezone(UTC) <= now
            planned = schedule.next_after(latest)
            assert planned is not None
            assert planned.astimezone(UTC) > now
    assert planned is not None
    assert queue.first() == planned
    assert planned.astimezone(UTC) > now


@pytest.mark.parametrize(
    ("origin", "period", "place"),
    [(371793.3555623072, 1 / 3, 570175), (619439.4316940026, 4.374220033019328, 540974)],
)
def test_a_rounding_error_passes_over_nothing(origin: float, period: float, place: int) -> None:
    """At the instant of a place on the grid, and just before it, the division may err by one; the plan does not."""
    schedule = Every(seconds=1)
    job = job_of(schedule)
    job.origin, job.period = origin, period
    instant = origin + place * period

    assert _last_passed(job, instant) == place
    assert _last_passed(job, math.nextafter(instant, 0)) == place - 1


@pytest.mark.parametrize("apart", [0, 1])
def test_forgotten_jobs_do_not_pile_up(apart: float) -> None:
    """A scheduler whose jobs come and go by the thousand keeps no trace of those that are gone."""
    queue = MonotonicQueue()
    kept = job_of(Every(hours=1))
    queue.schedule(kept, Reading(START, 0))

    for number in range(1000):
        job = job_of(Every(hours=1))
        queue.schedule(job, Reading(START, number * apart))
        queue.unschedule(job)
        queue.unschedule(job)

    assert len(queue._instants) + sum(map(len, queue._jobs.values())) < 200
    assert queue.first() == HOUR


def test_most_jobs_are_forgotten_when_most_are_removed() -> None:
    """A scheduler that has had many jobs at a time holds on to few of them when they are gone."""
    queue = MonotonicQueue()
    kept, *others = [job_of(Every(hours=1)) for _ in range(1001)]
    for job in (kept, *others):
        queue.schedule(job, Reading(START, 0))

    for job in others:
        queue.unschedule(job)

    assert sum(map(len, queue._jobs.values())) < 200
