"""Limits of a scheduler's options: grace and jitter to the instant of the run, clocks and numbers at their edges."""

import math
import random
import threading
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint
from puppet import live
from scheduled import DAY, HOUR, MINUTE, START, Timed, at, block, hosted, leap, log_lines, nothing, told

from hostkit.scheduling import Cron, Daily, Every, Missed, Monthly, Outcome, Overlap, Schedule, Scheduler


class TestGrace:
    async def test_counts_while_a_run_waits_for_another_one(self) -> None:
        """A run that waits for the one before it is left out when it would begin later than `grace`."""
        timed = Timed()
        durations = iter([10 * MINUTE] + 100 * [1.0])

        async def sync_orders() -> None:
            await anyio.sleep(next(durations))

        job = timed.scheduler.add(
            sync_orders, Every(minutes=1), overlap=Overlap.QUEUE, missed=Missed.SKIP, grace=30, name="sync-orders"
        )

        await timed.run_for(13.5 * MINUTE)

        late = [(run.started - run.planned).total_seconds() for run in job.history if run.started]
        assert max(late) <= 30
        assert told(job.history)[1] == (2, "skipped", "missed by 9 min")
        assert told(job.history)[-2:] == [(12, "succeeded", None), (13, "succeeded", None)]

    @pytest.mark.parametrize(("first", "outcome"), [(29.9, Outcome.SUCCEEDED), (30.1, Outcome.SKIPPED)])
    async def test_counts_from_the_call_of_run_now(self, first: float, outcome: Outcome) -> None:
        """A run that was asked for is due at that instant."""
        timed = Timed()
        durations = iter([first, 0])

        async def sync_orders() -> None:
            await anyio.sleep(next(durations))

        job = timed.scheduler.add(sync_orders, Every(hours=1), overlap=Overlap.QUEUE, grace=30)

        async with timed.running():
            job.run_now()
            await checkpoint()
            job.run_now()
            await anyio.sleep(40)

        assert [run.outcome for run in job.history] == [Outcome.SUCCEEDED, outcome]

    async def test_counts_while_when_thinks(self) -> None:
        """A run whose `when` takes longer than `grace` is left out; what `when` takes is not the run's duration."""
        timed = Timed()
        delays = iter([20.0, 40.0, 20.0])

        async def think() -> bool:
            await anyio.sleep(next(delays))
            return True

        job = timed.scheduler.add(nothing, Every(minutes=1), when=think, grace=30)

        await timed.run_for(3.5 * MINUTE)

        assert told(job.history) == [
            (1, "succeeded", None),
            (2, "skipped", "missed by 40 s"),
            (3, "succeeded", None),
        ]
        assert [run.duration for run in job.history] == [0, None, 0]
        assert [run.started for run in job.history] == [
            START + timedelta(seconds=80),
            None,
            START + timedelta(seconds=200),
        ]

    async def test_counts_while_a_run_waits_for_a_thread(self) -> None:
        """A sync run that gets its thread later than `grace` is left out, and its function is not called."""
        timed = Timed(threads=1)
        begun, go, ran = threading.Event(), threading.Event(), []

        def first() -> None:
            begun.set()
            go.wait(20)

        timed.scheduler.add(first, Every(hours=1), run_at_start=True)
        job = timed.scheduler.add(lambda: ran.append(1), Every(hours=1), run_at_start=True, grace=30)

        async with timed.running():
            while not (begun.is_set() and job.runs and job.runs[0].started):
                await checkpoint()
            block(40)
            go.set()
            while not job.history:
                await checkpoint()

        assert told(job.history) == [(0, "skipped", "missed by 40 s")]
        assert ran == []

    @pytest.mark.parametrize(("late", "runs"), [(0.01, True), (0.09, True), (0.2, False)])
    async def test_of_nothing_is_a_tenth_of_a_second(self, late: float, *, runs: bool) -> None:
        """Timers are not finer: with `grace=0` a run begins that is on time by the clock of a real event loop."""
        timed = Timed()
        job = timed.scheduler.add(nothing, Every(minutes=1), grace=0)

        async with timed.running():
            await anyio.sleep(30)
            block(30 + late)
            await anyio.sleep(1)

        assert [run.outcome for run in job.history] == [Outcome.SUCCEEDED if runs else Outcome.SKIPPED]
        assert job.grace == 0

    @pytest.mark.real_time
    async def test_of_nothing_runs_in_real_time(self) -> None:
        """A job with `grace=0` runs on a real clock."""
        scheduler = Scheduler()
        job = scheduler.add(nothing, Every(seconds=0.02), grace=0)

        async with hosted(scheduler):
            while Outcome.SUCCEEDED not in {run.outcome for run in job.history}:
                await anyio.sleep(0.01)

    async def test_may_be_without_end(self) -> None:
        """An infinite `grace` is none."""
        timed = Timed()
        job = timed.scheduler.add(nothing, Every(minutes=1), grace=math.inf, timeout=math.inf)

        async with timed.running():
            await anyio.sleep(1)
            block(HOUR)
            await anyio.sleep(1)

        assert told(job.history)[-1] == (60, "succeeded", None)


@pytest.mark.parametrize("value", ["skip", Missed.SKIP])
def test_policies_given_as_text_are_policies(value: Any) -> None:  # noqa: ANN401  # a str is no Missed for the type checker
    """A policy may be given as its text, with all that it means."""
    job = Scheduler().add(nothing, Daily(), missed=value, overlap="queue")  # type: ignore[arg-type]

    assert (job.missed, job.grace, job.overlap) == (Missed.SKIP, 1.0, Overlap.QUEUE)


class TestJitter:
    @pytest.mark.needs("cronsim")
    async def test_beyond_the_gap_is_no_lateness(self) -> None:
        """With a jitter longer than the gap between two runs none is missed while the scheduler is in time."""
        random.seed(1)
        timed = Timed(history=10_000)
        job = timed.scheduler.add(nothing, Cron("*/5 * * * *"), jitter=600, grace=60)

        async with timed.running():
            await anyio.sleep(DAY)
            history = job.history

        assert {(run.outcome, run.reason) for run in history} == {(Outcome.SUCCEEDED, None)}
        assert [at(run) for run in history] == [5 * number for number in range(1, len(history) + 1)]
        assert len(history) >= 288 - 3

    async def test_of_runs_that_are_made_up_for_is_no_lateness(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """What was put off by chance counts from when it would have begun, also when it comes after others."""
        monkeypatch.setattr("random.random", lambda: 0.5)
        timed = Timed()
        interval = timed.scheduler.add(nothing, Every(minutes=10), jitter=540, grace=300, name="interval")
        daily = timed.scheduler.add(nothing, Daily("09:10", "09:20"), jitter=540, grace=300, name="daily")

        async with timed.running():
            await anyio.sleep(1)
            block(29.5 * MINUTE - 1)  # the second is 570 s after its plan, and 300 s after its chance
            await anyio.sleep(1)
            histories = [told(job.history) for job in (interval, daily)]

        assert histories == [
            [(10, "skipped", "missed by 19 min 30 s, with all until the next"), (20, "succeeded", None)],
            [(10, "skipped", "missed by 19 min 30 s, with all until the next"), (20, "succeeded", None)],
        ]

    @pytest.mark.parametrize("schedule", [Every(hours=1), Daily()])
    @pytest.mark.parametrize("jitter", [math.inf, 1e9, 10**400])
    def test_has_an_end(self, schedule: Schedule, jitter: float) -> None:
        """A jitter that would put runs off for ever is refused at the call."""
        scheduler = Scheduler()

        with pytest.raises(ValueError, match="jitter"):
            scheduler.add(nothing, schedule, jitter=jitter)

        assert len(scheduler.jobs) == 0


class TestClocks:
    @pytest.mark.parametrize(
        ("shown", "error", "complaint"),
        [
            (datetime(2026, 11, 2), ValueError, "must show an aware datetime, got datetime"),  # noqa: DTZ001  # the error
            (1.5, TypeError, "must show a datetime, got 1.5"),
            (date(2026, 11, 2), TypeError, "must show a datetime, got datetime.date"),
            (datetime.max.replace(tzinfo=timezone(timedelta(hours=-1))), ValueError, "beyond the calendar of UTC"),
        ],
    )
    def test_that_show_no_instant_leave_no_job_behind(
        self, shown: object, error: type[Exception], complaint: str
    ) -> None:
        """A clock that shows no instant is an error at the call, and nothing is added."""
        scheduler = Scheduler(now=lambda: shown)  # type: ignore[arg-type,return-value]

        with pytest.raises(error, match=complaint):
            scheduler.add(nothing, Daily())
        job = scheduler.add(nothing, Every(hours=1))
        with pytest.raises(error, match=complaint):
            _ = job.next_run

        assert list(scheduler.jobs) == ["nothing"]

    async def test_that_fail_later_leave_no_job_behind(self) -> None:
        """A clock that shows something else while the scheduler runs fails the call, and nothing is added."""
        timed = Timed()
        naive = False

        def now() -> datetime:
            return timed.clock.now().replace(tzinfo=None) if naive else timed.clock.now()

        timed.scheduler = Scheduler(now=now)
        job = timed.scheduler.add(nothing, Every(hours=1))

        async with timed.running():
            await anyio.sleep(1)
            naive = True
            with pytest.raises(ValueError, match="aware"):
                timed.scheduler.add(nothing, Daily())
            with pytest.raises(ValueError, match="aware"):
                timed.scheduler.add(nothing, Every(minutes=1))
            with pytest.raises(ValueError, match="aware"):
                job.run_now()
            naive = False
            await anyio.sleep(2 * HOUR)

        assert list(timed.scheduler.jobs) == ["nothing"]
        assert [run.outcome for run in job.history] == [Outcome.SUCCEEDED] * 2

    async def test_that_fail_when_a_waiting_run_begins_fail_the_scheduler(self) -> None:
        """A clock that fails is the scheduler's error, whenever it is read."""
        timed = Timed()
        broken = False

        def now() -> datetime:
            if broken:
                message = "no clock"
                raise OSError(message)
            return timed.clock.now()

        async def slow() -> None:
            nonlocal broken
            await anyio.sleep(90)
            broken = True

        timed.scheduler = Scheduler(now=now)
        timed.scheduler.add(slow, Every(minutes=1), overlap=Overlap.QUEUE)

        with pytest.raises(ExceptionGroup) as caught:
            await live(hosted(timed.scheduler))

        assert repr(caught.value.exceptions[0]) == "OSError('no clock')"

    @pytest.mark.parametrize("shown", [datetime.max.replace(tzinfo=UTC), datetime.min.replace(tzinfo=UTC)])
    async def test_at_the_end_of_the_calendar(self, shown: datetime) -> None:
        """A clock at the first or the last instant of the calendar runs intervals, and no schedule overflows."""
        timed = Timed()
        timed.scheduler = Scheduler(now=lambda: shown)
        interval = timed.scheduler.add(nothing, Every(hours=1))
        refined = timed.scheduler.add(nothing, Every(hours=1).excluding(date(2026, 1, 1)), name="refined")
        daily = timed.scheduler.add(nothing, Daily(), jitter=DAY, name="daily")
        job = timed.scheduler.add(nothing, Monthly(1), name="now", run_at_start=True)

        async with timed.running():
            await anyio.sleep(2.5 * HOUR)
            shown_runs = [each.next_run for each in (interval, refined, daily)]

        assert len(interval.history) == 2
        assert isinstance(interval.history[0].planned, datetime)
        assert len(job.history) == 1
        assert (shown_runs[2] is None) == (shown.year == 9999)

    async def test_that_are_set_to_the_end_of_the_calendar(self) -> None:
        """A clock that is set far forward, to the last day there is, ends no scheduler."""
        timed = Timed()
        daily = timed.scheduler.add(nothing, Daily(), jitter=HOUR)
        ticks = timed.scheduler.add(nothing, Every(hours=1), name="ticks")

        async with timed.running():
            await anyio.sleep(MINUTE)
            timed.clock.step(datetime.max.replace(tzinfo=UTC) - timed.clock.now() - timedelta(days=1))
            for _ in range(10):
                await leap(HOUR)
            timed.clock.step(timedelta(days=-3000 * 365))
            for _ in range(30):
                await leap(HOUR)

        assert len(ticks.history) == 40
        assert Outcome.SUCCEEDED in {run.outcome for run in daily.history}


class TestSchedulesThatNeverRun:
    @pytest.mark.parametrize(
        "schedule",
        [
            Every(hours=8 * 10**7),
            Every(hours=1).until(START),
            Daily().until(datetime.min.replace(tzinfo=UTC)),
            Monthly(30, tz="UTC").until(START),
        ],
    )
    async def test_are_told_of(self, schedule: Schedule) -> None:
        """A job that has no run at all is added with a warning, has no next run, and the details name it."""
        timed = Timed()
        before: object = None

        with log_lines() as lines:
            job = timed.scheduler.add(nothing, schedule, name="never")
            before = job.next_run
            async with timed.running():
                await leap(DAY)
                next_run, details = job.next_run, timed.scheduler.details()

        assert lines == [f"WARNING None: job never never runs: {schedule}"]
        assert (before, next_run, job.history) == (None, None, ())
        if schedule.period is None or schedule.end is not None:
            assert details["without a next run"] == "never"

    async def test_are_told_of_while_the_scheduler_runs(self) -> None:
        """The same while it runs; one that has come to its end is not told of when it does."""
        timed = Timed()

        with log_lines() as lines:
            async with timed.running():
                timed.scheduler.add(nothing, Daily().until(START), name="never")
                timed.scheduler.add(nothing, Daily("10:00").until(START + timedelta(days=1)), name="once")
                await anyio.sleep(2 * HOUR)
                await leap(2 * DAY)

        assert [line.partition(": ")[2].partition(" runs")[0] for line in lines] == ["job never never"]


async def test_any_number_of_threads_is_allowed() -> None:
    """A limit that no machine has is none."""
    timed = Timed(threads=10**30)
    job = timed.scheduler.add(lambda: None, Every(minutes=1))

    await timed.run_for(1.5 * MINUTE)

    assert [run.outcome for run in job.history] == [Outcome.SUCCEEDED]
