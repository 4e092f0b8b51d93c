"""Adding, finding, steering and removing jobs, before the scheduler runs, while it runs, and after."""

import math
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import anyio
import pytest
from anyio import to_thread
from scheduled import HOUR, MINUTE, START, Timed, at, hosted, log_lines, nothing, told

from hostkit import BackgroundService, StoppingToken
from hostkit.scheduling import Daily, Every, Missed, Monthly, Outcome, Overlap, Schedule, Scheduler


def nothing_on_a_thread() -> None:
    """Do nothing either."""


async def takes_two(first: int, second: int) -> None:
    """Be no job."""


def wants_more(stopping_token: StoppingToken, more: int) -> None:
    """Be no job."""


async def generates() -> AsyncIterator[int]:
    """Be no job."""
    yield 1


def generates_too() -> Iterator[int]:
    """Be no job."""
    yield 1


class Report:
    async def __call__(self, stopping_token: StoppingToken) -> None:
        """Do nothing."""


class TestAdd:
    def test_names_jobs_after_their_functions(self) -> None:
        """A job is called like its function, with hyphens, and a number if that name is taken."""
        scheduler = Scheduler()

        for function in (nothing, nothing, partial(takes_two, 1, 2), Report(), nothing_on_a_thread):
            scheduler.add(function, Every(hours=1))
        scheduler.add(nothing, Every(hours=1), name="Night shift")

        assert list(scheduler.jobs) == [
            "nothing",
            "nothing-2",
            "takes-two",
            "report",
            "nothing-on-a-thread",
            "Night shift",
        ]

    def test_finds_a_name_even_if_the_number_is_taken(self) -> None:
        """A number that somebody has given himself is passed over; a name that is free again is used again."""
        scheduler = Scheduler()
        scheduler.add(nothing, Every(hours=1), name="nothing-2")
        first = scheduler.add(nothing, Every(hours=1))

        third = scheduler.add(nothing, Every(hours=1))
        first.remove()
        again = scheduler.add(nothing, Every(hours=1))

        assert (first.name, third.name, again.name) == ("nothing", "nothing-3", "nothing")

    def test_a_name_is_taken_once(self) -> None:
        """Two jobs of one name are an error, unless the second is to replace the first."""
        scheduler = Scheduler()
        first = scheduler.add(nothing, Every(hours=1), name="job")

        with pytest.raises(ValueError, match="there is a job named 'job' already; replace=True"):
            scheduler.add(nothing, Every(hours=2), name="job")
        second = scheduler.add(nothing, Every(hours=2), name="job", replace=True)
        third = scheduler.add(nothing, Every(hours=3), replace=True)
        fourth = scheduler.add(nothing, Every(hours=4), replace=True)

        assert scheduler.jobs == {"job": second, "nothing": fourth}
        assert first.next_run is third.next_run is None

    def test_offers_what_it_was_told(self) -> None:
        """A job shows its options, durations in seconds, and says what it is."""
        scheduler = Scheduler()

        job = scheduler.add(
            nothing,
            Daily("03:00"),
            overlap=Overlap.ALLOW,
            concurrency=3,
            missed=Missed.SKIP,
            timeout=timedelta(minutes=1),
            jitter=2,
        )

        assert job.function is nothing
        assert job.schedule == Daily("03:00")
        assert (job.overlap, job.concurrency, job.missed) == (Overlap.ALLOW, 3, Missed.SKIP)
        assert (job.grace, job.timeout, job.jitter) == (1, 60, 2)
        assert repr(job) == "<ScheduledJob 'nothing': every day at 03:00 UTC>"
        assert (job.history, job.last_run, job.running, job.paused) == ((), None, 0, False)

    def test_decorates(self) -> None:
        """`@scheduler.job(...)` adds the function and leaves it as it is."""
        scheduler = Scheduler()

        @scheduler.job(Every(seconds=30), name="orders", overlap=Overlap.QUEUE)
        async def sync_orders(stopping_token: StoppingToken) -> None:
            """Do nothing."""

        assert scheduler.jobs["orders"].function is sync_orders
        assert scheduler.jobs["orders"].overlap is Overlap.QUEUE

    @pytest.mark.parametrize(
        ("job", "complaint"),
        [
            (5, "a job is a function .*, got 5"),
            (takes_two, "missing a required argument: 'first'; it may have the parameters stopping_token"),
            (wants_more, "missing a required argument: 'more'"),
            (generates, "a job is a function without yield, got <function generates"),
            (generates_too, "a job is a function without yield, got <function generates"),
        ],
    )
    def test_refuses_what_is_no_job(self, job: Callable[..., object], complaint: str) -> None:
        """What cannot be called with the token alone is refused where it is added."""
        with pytest.raises(TypeError, match=complaint):
            Scheduler().add(job, Every(hours=1))

    @pytest.mark.parametrize(
        ("options", "error", "complaint"),
        [
            ({"name": 5}, TypeError, "name must be a str, got 5"),
            ({"name": " "}, ValueError, "name must not be empty, got ' '"),
            ({"schedule": "* * * * *"}, TypeError, "schedule must be an Every, Daily, .* or Cron, got '"),
            ({"concurrency": 2}, ValueError, "concurrency is for overlap=Overlap.ALLOW, .* got skip with 2"),
            ({"overlap": Overlap.ALLOW}, ValueError, "must be at least 2 there .* got allow with 1"),
            ({"concurrency": 0}, ValueError, "got skip with 0"),
            ({"concurrency": 1.5}, TypeError, "concurrency must be an int, got 1.5"),
            ({"concurrency": True}, TypeError, "concurrency must be an int, got True"),
            ({"concurrency": "2"}, TypeError, "concurrency must be an int, got '2'"),
            ({"overlap": None}, ValueError, "None is not a valid Overlap"),
            ({"overlap": "sometimes"}, ValueError, "'sometimes' is not a valid Overlap"),
            ({"missed": "sometimes"}, ValueError, "'sometimes' is not a valid Missed"),
            ({"grace": -1}, ValueError, "grace must not be negative"),
            ({"grace": math.nan}, ValueError, "grace must not be negative or NaN, got nan"),
            ({"timeout": 0}, ValueError, "timeout must be more than 0 seconds"),
            ({"timeout": math.nan}, ValueError, "timeout must not be negative or NaN, got nan"),
            ({"timeout": "1 s"}, TypeError, "timeout must be seconds"),
            ({"jitter": 3600}, ValueError, "jitter must be less than the interval of 3600 s, got 3600"),
            ({"jitter": None}, TypeError, "jitter must be seconds"),
            ({"jitter": True}, TypeError, "jitter must be seconds"),
            ({"when": True}, TypeError, "when must be a function without parameters, got True"),
            ({"when": generates}, TypeError, "when must be a function without parameters, got <function generates"),
            ({"when": generates_too}, TypeError, "when must be a function without parameters, got <function generates"),
            (
                {"when": lambda now: now},
                TypeError,
                "when must be a function without parameters, got .*: missing a required argument: 'now'",
            ),
            ({"replace": 1}, TypeError, "replace must be a bool, got 1"),
            ({"run_at_start": "no"}, TypeError, "run_at_start must be a bool, got 'no'"),
        ],
    )
    def test_refuses_options_that_make_no_sense(
        self, options: dict[str, Any], error: type[Exception], complaint: str
    ) -> None:
        """A wrong option fails at the line that gave it, and nothing is added."""
        scheduler = Scheduler()

        with pytest.raises(error, match=complaint):
            scheduler.add(nothing, **{"schedule": Every(hours=1), **options})

        assert scheduler.jobs == {}

    def test_refuses_to_cancel_threads(self) -> None:
        """A function that runs in a thread cannot be cancelled, so a policy that would have to is refused."""
        with pytest.raises(ValueError, match="runs in a thread cannot be cancelled"):
            Scheduler().add(nothing_on_a_thread, Every(hours=1), overlap=Overlap.CANCEL_RUNNING)

    def test_takes_functions_that_do_not_tell_their_parameters(self) -> None:
        """A function written in C may not tell its parameters; it is called without any, or with a run if it must."""
        scheduler = Scheduler(on_failed=bool)

        job = scheduler.add(min, Every(hours=1), when=dict)

        assert scheduler.jobs == {"min": job}

    @pytest.mark.parametrize(
        ("options", "error", "complaint"),
        [
            ({"threads": 0}, ValueError, "threads must be at least 1, got 0"),
            ({"history": 0}, ValueError, "history must be at least 1, got 0"),
            ({"threads": 1.5}, TypeError, "threads must be an int, got 1.5"),
            ({"history": True}, TypeError, "history must be an int, got True"),
            ({"history": 10**30}, ValueError, "history must be at most"),
            ({"threads": -1}, ValueError, "threads must be at least 1, got -1"),
            ({"now": 3}, TypeError, r"Scheduler\(now=...\) takes a function, got 3"),
            ({"now": nothing}, TypeError, "takes a synchronous function"),
            ({"on_failed": 3}, TypeError, "on_failed must be a function that takes a Run, got 3"),
            (
                {"on_failed": lambda: None},
                TypeError,
                "on_failed must be a function that takes a Run, got .*: too many positional arguments",
            ),
        ],
    )
    def test_a_scheduler_checks_its_options(
        self, options: dict[str, Any], error: type[Exception], complaint: str
    ) -> None:
        """The limits of a scheduler are whole numbers from 1 on, its clock is a function."""
        with pytest.raises(error, match=complaint):
            Scheduler(**options)

    async def test_while_it_runs(self) -> None:
        """A job that is added while the scheduler runs takes part at once."""
        timed = Timed()
        minutes: list[float] = []

        async def job() -> None:
            minutes.append(timed.minutes())

        async with timed.running():
            await anyio.sleep(10 * MINUTE)
            timed.scheduler.add(job, Daily("09:30"))
            timed.scheduler.add(job, Every(hours=1), run_at_start=True)
            await anyio.sleep(70 * MINUTE)

        assert minutes == [10, 30, 70]


class TestNextRun:
    def test_before_the_start_is_as_if_it_started_now(self) -> None:
        """Without a running scheduler a job tells when it would run next."""
        timed = Timed()

        soon = timed.scheduler.add(nothing, Every(minutes=5))
        monthly = timed.scheduler.add(nothing, Monthly("last fri", "12:00", tz="Europe/Berlin"))

        assert soon.next_run == START + timedelta(minutes=5)
        assert str(monthly.next_run) == "2026-11-27 12:00:00+01:00"

    async def test_while_it_runs(self) -> None:
        """Every job tells when it is due next, in its own time zone."""
        timed = Timed()
        interval = timed.scheduler.add(nothing, Every(minutes=5))
        daily = timed.scheduler.add(nothing, Daily("10:03", tz="Europe/Berlin"))

        async with timed.running():
            await anyio.sleep(4 * MINUTE)
            found = [interval.next_run, daily.next_run]

        assert list(map(str, found)) == ["2026-11-02 09:05:00+00:00", "2026-11-03 10:03:00+01:00"]

    async def test_is_none_while_paused_and_when_removed(self) -> None:
        """A job that is paused or removed is not due."""
        timed = Timed()
        paused = timed.scheduler.add(nothing, Every(minutes=5))
        removed = timed.scheduler.add(nothing, Every(minutes=5))

        async with timed.running():
            await anyio.sleep(1)
            paused.pause()
            removed.remove()
            found = [paused.next_run, removed.next_run]
            paused.resume()
            again = paused.next_run

        assert found == [None, None]
        assert again == START + timedelta(minutes=5)


class TestSteering:
    @pytest.mark.parametrize("schedule", [Daily("09:10"), Every(minutes=10)])
    async def test_of_jobs_that_are_due_together_one_is_removed(self, schedule: Schedule) -> None:
        """The others run at their instant."""
        timed = Timed()
        jobs = [timed.scheduler.add(nothing, schedule) for _ in range(5)]

        async with timed.running():
            await anyio.sleep(MINUTE)
            jobs[1].remove()
            await anyio.sleep(10 * MINUTE)

        assert [len(job.history) for job in jobs] == [1, 0, 1, 1, 1]

    async def test_a_paused_job_is_left_out(self) -> None:
        """Runs that are due while a job is paused are left out and kept in the history; it then goes on on its grid."""
        timed = Timed()
        job = timed.scheduler.add(nothing, Every(minutes=1), name="job")

        with log_lines() as lines:
            async with timed.running():
                await anyio.sleep(1.5 * MINUTE)
                job.pause()
                paused = job.paused
                await anyio.sleep(MINUTE)
                job.resume()
                await anyio.sleep(MINUTE)
                history = told(job.history)

        assert paused
        assert history == [(1, "succeeded", None), (2, "skipped", "paused"), (3, "succeeded", None)]
        assert lines == ["INFO scheduler: job job skipped: paused"]

    async def test_a_job_may_be_paused_before_the_start(self) -> None:
        """A job that was paused before the start does not run at the start either, but when it is told to."""
        timed = Timed()
        job = timed.scheduler.add(nothing, Every(minutes=1), run_at_start=True)
        job.pause()

        async with timed.running():
            await anyio.sleep(30)
            job.run_now()
            await anyio.sleep(10)
            history = told(job.history)

        assert history == [(0, "skipped", "paused"), (0.5, "succeeded", None)]

    async def test_a_job_runs_when_it_is_told_to(self) -> None:
        """`run_now` is a run beside the plan; the plan stays as it is."""
        timed = Timed()
        job = timed.scheduler.add(nothing, Every(minutes=10))

        async with timed.running():
            await anyio.sleep(3 * MINUTE)
            job.run_now()
            await anyio.sleep(8 * MINUTE)
            minutes = [at(run) for run in job.history]

        assert minutes == [3, 10]

    async def test_a_job_may_be_told_before_the_start(self) -> None:
        """`run_now` before the start is done at the start, once."""
        timed = Timed()
        job = timed.scheduler.add(nothing, Every(minutes=10))
        job.run_now()
        job.run_now()

        await timed.run_for(MINUTE)
        async with timed.running():
            await anyio.sleep(MINUTE)
            minutes = [at(run) for run in job.history]

        assert minutes == [0]

    async def test_a_job_runs_at_the_start(self) -> None:
        """With `run_at_start` a job runs at the start as well."""
        timed = Timed()
        interval = timed.scheduler.add(nothing, Every(minutes=10), run_at_start=True)
        daily = timed.scheduler.add(nothing, Daily("09:05"), run_at_start=True)

        await timed.run_for(11 * MINUTE)

        assert [at(run) for run in interval.history] == [0, 10]
        assert [at(run) for run in daily.history] == [0, 5]

    @pytest.mark.parametrize("from_a_thread", [False, True])
    async def test_a_removed_job_runs_no_more(self, *, from_a_thread: bool) -> None:
        """A job that is removed is not due any more; the run that goes on goes on, the one that waits is dropped."""
        timed = Timed()
        ended: list[float] = []

        async def slow() -> None:
            await anyio.sleep(3 * MINUTE)
            ended.append(timed.minutes())

        job = timed.scheduler.add(slow, Every(minutes=1), overlap=Overlap.QUEUE)

        async with timed.running():
            await anyio.sleep(2.5 * MINUTE)
            for _ in range(2):
                await to_thread.run_sync(job.remove) if from_a_thread else job.remove()
            await anyio.sleep(HOUR)
            history = told(job.history)

        assert ended == [4]
        assert history == [(1, "succeeded", None), (2, "skipped", "removed")]
        assert timed.scheduler.jobs == {}
        with pytest.raises(ValueError, match="job 'slow' was removed"):
            job.run_now()

    async def test_jobs_may_remove_themselves(self) -> None:
        """A job can be steered from inside a run: this one removes itself, and what is due with it is removed too."""
        timed = Timed()
        ran: list[str] = []

        async def once() -> None:
            ran.append("once")
            timed.scheduler.jobs["once"].remove()

        async def slow() -> None:
            ran.append("slow")
            await anyio.sleep(MINUTE - 1e-9)
            timed.scheduler.jobs["slow"].remove()

        timed.scheduler.add(once, Every(minutes=1))
        timed.scheduler.add(slow, Every(minutes=1))

        await timed.run_for(HOUR)

        assert sorted(ran) == ["once", "slow"]

    async def test_a_job_that_was_removed_in_the_last_moment_does_not_begin(self) -> None:
        """Who removes a job while it is due, and busy, has removed it."""
        timed = Timed()
        began: list[float] = []

        async def slow() -> None:
            began.append(timed.minutes())
            await anyio.sleep(MINUTE)
            job.remove()

        job = timed.scheduler.add(slow, Every(minutes=1))

        await timed.run_for(HOUR)

        assert began == [1]

    async def test_a_job_is_replaced_while_it_runs(self) -> None:
        """The new job has the name and a plan of its own; the old one's run goes on."""
        timed = Timed()
        ran: list[str] = []

        async def old() -> None:
            await anyio.sleep(5 * MINUTE)
            ran.append("old")

        async def new() -> None:
            ran.append("new")

        timed.scheduler.add(old, Every(minutes=1), name="job")

        async with timed.running():
            await anyio.sleep(1.5 * MINUTE)
            timed.scheduler.add(new, Every(minutes=3), name="job", replace=True)
            await anyio.sleep(5 * MINUTE)

        assert ran == ["new", "old"]


class TestRecords:
    async def test_a_run_is_told_in_full(self) -> None:
        """The record of a run has its plan, its start, its duration and its outcome."""
        timed = Timed()

        async def slow() -> None:
            await anyio.sleep(90)

        job = timed.scheduler.add(slow, Daily("09:10", tz="UTC"))

        async with timed.running():
            await anyio.sleep(11 * MINUTE)
            before = job.last_run
            running = job.running
            await anyio.sleep(MINUTE)
            run = job.last_run

        assert (before, running) == (None, 1)
        assert run is not None
        assert run.planned == run.started == datetime(2026, 11, 2, 9, 10, tzinfo=UTC)
        assert (run.duration, run.outcome, run.reason, run.error) == (90, Outcome.SUCCEEDED, None, None)
        assert job.history == (run,)
        assert repr(run).startswith("Run(planned=datetime.datetime(2026, 11, 2, 9, 10, tzinfo=")
        assert repr(run).endswith("duration=90.0, outcome=<Outcome.SUCCEEDED: 'succeeded'>, reason=None, error=None)")

    async def test_a_failure_is_told_and_the_job_comes_round_again(self) -> None:
        """A job that fails is logged with its error, kept in the history, and runs again when it is due."""
        timed = Timed()

        async def fail() -> None:
            await anyio.sleep(1)
            message = "no route"
            raise OSError(message)

        job = timed.scheduler.add(fail, Every(minutes=1))

        with log_lines() as lines:
            await timed.run_for(2.5 * MINUTE)

        assert [(run.outcome, repr(run.error), run.duration) for run in job.history] == [
            (Outcome.FAILED, "OSError('no route')", 1)
        ] * 2
        assert lines == ["ERROR scheduler: job fail failed after 1 s: OSError('no route')"] * 2

    @pytest.mark.parametrize(
        ("level", "expected"),
        [
            (
                "DEBUG",
                ["DEBUG: job well succeeded after", "ERROR: job badly failed", "INFO: job late skipped"],
            ),
            ("INFO", ["ERROR: job badly failed", "INFO: job late skipped"]),
            ("WARNING", ["ERROR: job badly failed"]),
            ("CRITICAL", []),
        ],
    )
    async def test_no_line_is_below_the_host_s_log_level(self, level: str, expected: list[str]) -> None:
        """Failures are errors, left out runs information, and all others are told on DEBUG."""
        timed = Timed()

        async def well() -> None:
            pass

        async def badly() -> None:
            raise OSError

        late = timed.scheduler.add(nothing, Every(minutes=1), name="late")
        late.pause()
        timed.scheduler.add(well, Every(minutes=1))
        timed.scheduler.add(badly, Every(minutes=1))

        with log_lines("DEBUG") as lines:
            await timed.run_for(1.5 * MINUTE, log_level=level)

        found = sorted(line.replace(" scheduler:", ":") for line in lines)
        assert len(found) == len(expected)
        assert all(line.startswith(start) for line, start in zip(found, expected, strict=True))


class TestLives:
    async def test_a_second_life_starts_afresh(self) -> None:
        """The same scheduler in a second life of its host: the jobs are there, their grids begin again."""
        timed = Timed()
        job = timed.scheduler.add(nothing, Every(minutes=10))
        host = hosted(timed.scheduler)
        minutes: list[list[float]] = []

        for _ in range(2):
            began = anyio.current_time()
            count = len(job.history)
            async with host:
                await anyio.sleep(25 * MINUTE)
            minutes.append([at(run) - (began - anyio.current_time()) / MINUTE for run in job.history[count:]])
            await anyio.sleep(3 * MINUTE)

        assert [round(minute) for minute in minutes[0]] == [35, 45]
        assert len(minutes[1]) == 2
        assert minutes[1][0] - minutes[0][0] == pytest.approx(28)

    async def test_a_run_that_was_cut_is_forgotten(self) -> None:
        """What was running when the last life was cut does not count as running in the next."""
        timed = Timed()
        began: list[float] = []

        async def slow() -> None:
            began.append(timed.minutes())
            await anyio.sleep(10 * MINUTE)

        timed.scheduler.add(slow, Every(minutes=1))

        for _ in range(2):
            with pytest.raises(ExceptionGroup):
                await timed.run_for(2.5 * MINUTE, shutdown_timeout=5)

        assert began == [1, 1]

    async def test_jobs_may_be_added_and_steered_between_two_lives(self) -> None:
        """A scheduler that has stopped takes jobs for its next lifecycle."""
        timed = Timed()

        await timed.run_for(1)
        job = timed.scheduler.add(nothing, Every(minutes=1))
        job.run_now()
        await timed.run_for(1.5 * MINUTE)

        assert [run.outcome for run in job.history] == [Outcome.SUCCEEDED] * 2


def test_is_a_service_like_any_other() -> None:
    """The scheduler is a background service, and its schedules and policies are values that print well."""
    assert issubclass(Scheduler, BackgroundService)
    assert isinstance(Every(hours=1), Schedule)
    assert [str(value) for value in (Overlap.CANCEL_RUNNING, Missed.RUN_ONCE, Outcome.SKIPPED)] == [
        "cancel running",
        "run once",
        "skipped",
    ]
