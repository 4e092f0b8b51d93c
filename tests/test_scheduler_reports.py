"""What a scheduler tells of its runs: the run itself, a hook, events, counts, details, log lines."""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from loguru import logger
from puppet import live
from scheduled import DAY, HOUR, MINUTE, START, Timed, at, hosted, log_lines, nothing, told

from hostkit import HostBuilder, HostFailedError, HostOptions, ServiceCancelledError, StoppingToken, ThreadStoppingToken
from hostkit.events import HostEvent, RunFinished, RunSkipped
from hostkit.scheduling import Daily, Every, Outcome, Overlap, Run, Scheduler

if TYPE_CHECKING:
    from loguru import Message


async def fail() -> None:
    """Fail."""
    message = "no route"
    raise OSError(message)


class TestRunOfAJob:
    async def test_is_given_to_the_job(self) -> None:
        """A parameter named `run` is filled with the run's record: its planned instant, its job."""
        timed = Timed()
        seen: list[tuple[str, Run]] = []

        async def alone(run: Run) -> None:
            seen.append(("alone", run))

        async def with_token(stopping_token: StoppingToken, *, run: Run) -> None:
            assert not stopping_token.stop_requested
            seen.append(("with token", run))

        def on_a_thread(stopping_token: ThreadStoppingToken, run: Run) -> None:
            assert not stopping_token.stop_requested
            seen.append(("on a thread", run))

        class Report:
            async def __call__(self, run: Run) -> None:
                seen.append(("callable", run))

        jobs = [timed.scheduler.add(each, Daily("10:00")) for each in (alone, with_token, on_a_thread, Report())]

        await timed.run_for(2 * HOUR)

        assert sorted(name for name, _ in seen) == ["alone", "callable", "on a thread", "with token"]
        assert {run.planned for _, run in seen} == {START.replace(hour=10)}
        assert [job.history for job in jobs] == [(run,) for job in jobs for _, run in seen if run.scheduled_job is job]

    async def test_is_left_alone_where_the_caller_has_given_it(self) -> None:
        """A `run` that a `partial` has filled is the caller's own."""
        timed = Timed()
        seen: list[object] = []

        async def job(run: object) -> None:
            seen.append(run)

        timed.scheduler.add(partial(job, run="mine"), Every(minutes=1))
        timed.scheduler.add(partial(partial(job), "mine too"), Every(minutes=1))

        await timed.run_for(1.5 * MINUTE)

        assert sorted(map(str, seen)) == ["mine", "mine too"]

    async def test_is_that_of_the_plan_however_late(self) -> None:
        """A run that has waited for another one still knows for when it was planned."""
        timed = Timed()
        planned: list[float] = []

        async def job(run: Run) -> None:
            planned.append(at(run))
            await anyio.sleep(90)

        timed.scheduler.add(job, Every(minutes=1), overlap=Overlap.QUEUE)

        await timed.run_for(4.2 * MINUTE)

        assert planned == [1, 2, 3]


class TestHook:
    @pytest.mark.parametrize("asynchronous", [False, True])
    async def test_is_given_each_run_that_has_failed(self, *, asynchronous: bool) -> None:
        """`on_failed` is called with the record of a run that has failed, complete; sync and async functions may be."""
        failed: list[Run] = []

        async def report_later(run: Run) -> None:
            await anyio.sleep(1)
            failed.append(run)

        timed = Timed(on_failed=report_later if asynchronous else failed.append)
        job = timed.scheduler.add(fail, Every(minutes=1))
        timed.scheduler.add(nothing, Every(minutes=1))

        await timed.run_for(2.5 * MINUTE)

        assert failed == list(job.history)
        assert [(run.scheduled_job.name, repr(run.error)) for run in failed] == [("fail", "OSError('no route')")] * 2

    async def test_is_waited_for_at_the_stop(self) -> None:
        """The stop waits for a hook as for a job."""
        done: list[float] = []

        async def report(run: Run) -> None:
            await anyio.sleep(2 * MINUTE)
            done.append(timed.minutes())

        timed = Timed(on_failed=report)
        timed.scheduler.add(fail, Every(minutes=1))

        await timed.run_for(1.5 * MINUTE)

        assert done == [3]

    async def test_is_cancelled_with_the_scheduler(self) -> None:
        """A hook that is not over in time at the stop is cancelled like a job, and the log says so."""
        cancelled: list[float] = []

        async def report(run: Run) -> None:
            try:
                await anyio.sleep(HOUR)
            finally:
                cancelled.append(timed.minutes())

        timed = Timed(on_failed=report)
        timed.scheduler.add(fail, Every(minutes=1))

        with log_lines() as lines, pytest.raises(ExceptionGroup):
            await timed.run_for(1.5 * MINUTE, shutdown_timeout=30)

        assert cancelled == [2]
        assert lines[1:] == [
            "ERROR scheduler: on_failed of job fail cancelled: it was not over when the scheduler was cancelled"
        ]

    async def test_that_fails_is_logged(self) -> None:
        """An error of the hook is logged, and changes nothing else."""

        def report(run: Run) -> None:
            raise LookupError

        timed = Timed(on_failed=report)
        job = timed.scheduler.add(fail, Every(minutes=1), name="job")

        with log_lines() as lines:
            await timed.run_for(2.5 * MINUTE)

        assert len(job.history) == 2
        assert lines[1] == "ERROR scheduler: on_failed of job job failed: LookupError()"

    @pytest.mark.parametrize("asynchronous", [False, True])
    async def test_that_meets_a_cancellation_of_others_is_logged(
        self, anyio_backend_name: str, *, asynchronous: bool
    ) -> None:
        """A hook that awaits something that was cancelled elsewhere has failed, and the scheduler goes on."""
        cancelled = anyio.get_cancelled_exc_class()

        async def report_later(run: Run) -> None:
            await anyio.lowlevel.checkpoint()
            report(run)

        def report(run: Run) -> None:
            raise cancelled

        if anyio_backend_name == "trio":
            return  # there only the loop makes one
        timed = Timed(on_failed=report_later if asynchronous else report)
        job = timed.scheduler.add(fail, Every(minutes=1), name="job")

        with log_lines() as lines:
            await timed.run_for(2.5 * MINUTE)

        assert len(job.history) == 2
        assert lines[1::2] == ["ERROR scheduler: on_failed of job job failed: CancelledError()"] * 2

    async def test_whose_task_is_cancelled_does_not_end_the_scheduler_quietly(self, anyio_backend_name: str) -> None:
        """A cancelled task ends its whole group on asyncio, without an error: the scheduler has failed all the same."""
        if anyio_backend_name == "trio":
            return  # there only the loop makes a cancellation
        timed = Timed(on_failed=lambda _: fail())
        timed.scheduler.add(fail, Every(minutes=1))

        @timed.scheduler.job(Every(minutes=1))
        async def cleans_up() -> None:
            try:
                await anyio.sleep_forever()
            finally:
                await anyio.lowlevel.cancel_shielded_checkpoint()

        def cancel(line: "Message") -> None:
            if "on_failed" in line:
                raise anyio.get_cancelled_exc_class()

        sink = logger.add(cancel)

        try:
            with pytest.raises(HostFailedError) as caught:
                await live(hosted(timed.scheduler))
        finally:
            logger.remove(sink)

        assert [str(error) for error in caught.value.exceptions] == [str(ServiceCancelledError("scheduler"))]

    async def test_that_exits_ends_the_host(self) -> None:
        """A hook may ask the host to stop, as a job may."""

        def report(run: Run) -> None:
            raise SystemExit(5)

        timed = Timed(on_failed=report)
        timed.scheduler.add(fail, Every(minutes=1))
        host = hosted(timed.scheduler)

        with pytest.raises(SystemExit):
            await live(host)

        assert host.lifetime.exit_code == 5


async def test_events_of_runs_reach_the_host_s_listeners() -> None:
    """A listener of the host is told of each run that has ended, and of each that did not happen."""
    timed = Timed()

    async def slow() -> None:
        await anyio.sleep(90)

    timed.scheduler.add(slow, Every(minutes=1))
    timed.scheduler.add(fail, Every(minutes=2))
    again = timed.scheduler.add(slow, Every(hours=1), overlap=Overlap.CANCEL_RUNNING, name="again")
    builder = HostBuilder(HostOptions(shutdown_timeout=HOUR))
    builder.add_service(timed.scheduler, name="nightly")
    heard: list[HostEvent] = []
    builder.on_event(heard.append)

    async with builder.build():
        await anyio.sleep(2.2 * MINUTE)
        again.run_now()
        again.run_now()
        await anyio.sleep(MINUTE / 2)

    finished = [event for event in heard if isinstance(event, RunFinished)]
    skipped = [event for event in heard if isinstance(event, RunSkipped)]
    assert {event.service for event in (*finished, *skipped)} == {"nightly"}
    assert sorted((event.job, event.outcome, event.duration) for event in finished) == [
        ("again", "succeeded", 90),
        ("fail", "failed", 0),
        ("slow", "succeeded", 90),
    ]
    assert [repr(event.error) for event in finished if event.error] == ["OSError('no route')"]
    assert [(event.job, event.reason) for event in skipped] == [
        ("slow", "still running"),
        ("again", "the next run was due"),
    ]
    assert finished[-1].started > finished[0].planned


async def test_a_listener_that_comes_later_hears_what_ends_then() -> None:
    """A listener that is added while a run goes on hears of its end."""
    timed = Timed()

    async def slow() -> None:
        await anyio.sleep(90)

    timed.scheduler.add(slow, Every(minutes=2))
    heard: list[HostEvent] = []

    async with timed.running() as host:
        await anyio.sleep(2.5 * MINUTE)
        host.on_event(heard.append)
        await anyio.sleep(1.1 * MINUTE)

    assert any(isinstance(event, RunFinished) for event in heard)


class TestPause:
    async def test_of_all(self) -> None:
        """While the scheduler is paused no job runs, but when it is told to; a job paused by itself stays so."""
        timed = Timed()
        job = timed.scheduler.add(nothing, Every(minutes=1), name="job")
        other = timed.scheduler.add(nothing, Every(minutes=1), name="other")
        other.pause()
        timed.scheduler.pause()
        paused = timed.scheduler.paused

        async with timed.running():
            await anyio.sleep(1.5 * MINUTE)
            job.run_now()
            next_run = job.next_run
            timed.scheduler.resume()
            await anyio.sleep(MINUTE)

        assert (paused, timed.scheduler.paused, next_run) == (True, False, None)
        assert told(job.history) == [
            (1, "skipped", "the scheduler is paused"),
            (1.5, "succeeded", None),
            (2, "succeeded", None),
        ]
        assert told(other.history) == [(1, "skipped", "paused"), (2, "skipped", "paused")]

    def test_is_kept_by_a_job_that_replaces_another(self) -> None:
        """A job that takes the place of one that was paused is paused."""
        scheduler = Scheduler()
        scheduler.add(nothing, Every(hours=1), name="job").pause()

        replaced = scheduler.add(nothing, Every(hours=2), name="job", replace=True)
        replaced.resume()
        again = scheduler.add(nothing, Every(hours=3), name="job", replace=True)

        assert (replaced.schedule, again.paused) == (Every(hours=2), False)
        assert scheduler.add(nothing, Every(hours=1), name="other", replace=True).paused is False


class TestCounts:
    async def test_are_never_bounded(self) -> None:
        """The counts by outcome go on where the history forgets, and the last success is remembered."""
        timed = Timed(history=2)
        fails = iter([False, True, False, True, True])

        async def job() -> None:
            if next(fails):
                raise OSError

        scheduled = timed.scheduler.add(job, Every(minutes=1))
        before = dict(scheduled.counts)

        async with timed.running():
            await anyio.sleep(5.5 * MINUTE)
            scheduled.pause()
            await anyio.sleep(2 * MINUTE)

        assert set(before.values()) == {0}
        assert scheduled.counts == {
            Outcome.SUCCEEDED: 2,
            Outcome.FAILED: 3,
            Outcome.CANCELLED: 0,
            Outcome.SKIPPED: 2,
        }
        assert scheduled.last_success is not None
        assert at(scheduled.last_success) == 3
        assert scheduled.last_run is not None
        assert at(scheduled.last_run) == 5
        assert [at(run) for run in scheduled.history] == [6, 7]

    async def test_runs_are_those_that_go_on(self) -> None:
        """`runs` shows the runs that go on, with their start, and what they are planned for."""
        timed = Timed()

        async def slow() -> None:
            await anyio.sleep(2.5 * MINUTE)

        job = timed.scheduler.add(slow, Every(minutes=1), overlap=Overlap.ALLOW, concurrency=2)

        async with timed.running():
            await anyio.sleep(2.5 * MINUTE)
            running = job.runs
            await anyio.sleep(1.2 * MINUTE)
            later = job.runs

        assert [at(run) for run in running] == [1, 2]
        assert all(run.started == run.planned for run in running)
        assert later == running[1:]
        assert job.runs == ()


@pytest.mark.real_time
async def test_details_show_what_goes_on() -> None:
    """The details have counts, and the line of each run that goes on, in a task or on a thread."""
    import threading

    scheduler = Scheduler()
    go = threading.Event()

    def blocked() -> None:
        go.wait(20)

    async def sleeping(stopping_token: StoppingToken) -> None:
        await stopping_token.wait()

    async def plain() -> None:
        while not go.is_set():
            await anyio.sleep(0.001)

    scheduler.add(blocked, Every(hours=1), run_at_start=True)
    scheduler.add(sleeping, Every(hours=1), run_at_start=True)
    scheduler.add(plain, Every(hours=1), run_at_start=True)
    queued = scheduler.add(plain, Every(hours=1), run_at_start=True, overlap=Overlap.QUEUE, name="queued")
    scheduler.add(nothing, Every(hours=1), run_at_start=True)

    async with hosted(scheduler) as host:
        while scheduler.jobs["nothing"].last_run is None:
            await anyio.sleep(0.001)
        queued.run_now()
        details = scheduler.details()
        shown = host.status().services[0].details
        go.set()

    assert {name: details[name] for name in ("jobs", "running", "waiting", "succeeded", "failed", "paused")} == {
        "jobs": 5,
        "running": 4,
        "waiting": 1,
        "succeeded": 1,
        "failed": 0,
        "paused": False,
    }
    runs = details["runs"]
    assert isinstance(runs, list)
    assert [line.partition(" at ")[0] for line in runs] == ["blocked", "sleeping", "plain", "queued"]
    for line, function in zip(runs, (blocked, sleeping, plain, plain), strict=True):
        assert line.endswith(f" in {function.__qualname__}")
    assert shown["running"] == 4


class TestLines:
    async def test_the_same_again_is_told_once_a_minute(self) -> None:
        """A job that is left out every second makes one line in full, then one a minute with a count, and its end."""
        timed = Timed()
        job = timed.scheduler.add(nothing, Every(seconds=1), name="job")

        with log_lines() as lines:
            async with timed.running():
                await anyio.sleep(0.5)
                job.pause()
                await anyio.sleep(2.2 * MINUTE)
                job.resume()
                await anyio.sleep(MINUTE)
                job.pause()
                await anyio.sleep(2)

        assert lines == [
            "INFO scheduler: job job skipped: paused",
            "INFO scheduler: job job skipped again (60 times in 1 min): paused",
            "INFO scheduler: job job skipped again (60 times in 1 min): paused",
            "INFO scheduler: job job is no longer skipped; 11 more since the last line: paused",
            "INFO scheduler: job job skipped: paused",
        ]

    async def test_a_run_in_between_is_no_end(self) -> None:
        """A job that runs every other time, as it takes too long, makes no line for each time either."""
        timed = Timed()

        async def slow() -> None:
            await anyio.sleep(1.5)

        timed.scheduler.add(slow, Every(seconds=1), name="slow")

        with log_lines() as lines:
            await timed.run_for(3 * MINUTE + 0.5)

        assert lines == [
            "INFO scheduler: job slow skipped: still running",
            "INFO scheduler: job slow skipped again (30 times in 1 min): still running",
            "INFO scheduler: job slow skipped again (30 times in 1 min): still running",
        ]

    async def test_another_reason_is_told(self) -> None:
        """A skip for another reason has its own line, after the count of those before."""
        timed = Timed()
        job = timed.scheduler.add(nothing, Every(seconds=1), name="job")

        with log_lines() as lines:
            async with timed.running():
                await anyio.sleep(0.5)
                timed.scheduler.pause()
                await anyio.sleep(2)
                job.pause()
                await anyio.sleep(2)

        assert lines == [
            "INFO scheduler: job job skipped: the scheduler is paused",
            "INFO scheduler: job job skipped again (once in 1 s): the scheduler is paused",
            "INFO scheduler: job job skipped: paused",
        ]

    async def test_each_lifecycle_begins_anew(self) -> None:
        """What was left out in the last lifecycle of the host, by another loop's clock perhaps, is not counted on."""
        timed = Timed()
        timed.scheduler.add(nothing, Every(seconds=1), name="job").pause()

        with log_lines() as lines:
            for _ in range(2):
                await timed.run_for(30)

        assert lines == ["INFO scheduler: job job skipped: paused"] * 2

    @pytest.mark.parametrize(
        ("seconds", "text"),
        [(0.0, "less than 1 ms"), (0.0123, "12.3 ms"), (12.34, "12.3 s"), (60.0, "1 min"), (3_900.0, "1 h 5 min")],
    )
    async def test_durations_read_well(self, seconds: float, text: str) -> None:
        """How long a run took is told in the unit that fits."""
        timed = Timed()

        async def job() -> None:
            await anyio.sleep(seconds)

        timed.scheduler.add(job, Every(hours=2))

        with log_lines("DEBUG") as lines:
            await timed.run_for(3.5 * HOUR, log_level="DEBUG")

        assert lines == [f"DEBUG scheduler: job job succeeded after {text}"]

    async def test_have_fields(self) -> None:
        """A line of a run carries the scheduler, the job, the planned instant and the duration as fields."""
        timed = Timed()
        extras: list[dict[str, object]] = []

        def keep(message: "Message") -> None:
            if message.record["message"].startswith("job "):
                extras.append(dict(message.record["extra"]))

        timed.scheduler.add(fail, Daily("10:00", tz="Europe/Berlin"))
        sink = logger.add(keep, level="DEBUG")
        await timed.run_for(DAY)
        logger.remove(sink)

        assert extras == [
            {"service": "scheduler", "job": "fail", "planned": "2026-11-03T10:00:00+01:00", "duration": 0.0}
        ]


class Unspeakable(Exception):  # noqa: N818  # it is one
    """An error that misbehaves wherever it is asked for anything."""

    __notes__: Any = None

    def __str__(self) -> str:
        raise RuntimeError

    def __repr__(self) -> str:
        raise RuntimeError


class Numbered(Unspeakable):
    """The same, with notes that are none."""

    __notes__: Any = [1, 2]  # noqa: RUF012  # what a user's class may have


@pytest.mark.parametrize("kind", [Unspeakable, Numbered])
async def test_an_error_that_misbehaves_ends_nothing(kind: type[Exception], capsys: pytest.CaptureFixture[str]) -> None:
    """An error that cannot be shown is a failed run like any other; the scheduler goes on."""
    timed = Timed()

    async def misbehave() -> None:
        raise kind

    job = timed.scheduler.add(misbehave, Every(minutes=1))

    await timed.run_for(3.5 * MINUTE)

    assert [run.outcome for run in job.history] == [Outcome.FAILED] * 3
    assert capsys.readouterr() is not None


async def test_a_sink_that_raises_ends_nothing() -> None:
    """A log that fails is no failure of the scheduler: the runs are kept, and the next ones come."""
    timed = Timed()
    attempts: list[object] = []

    def broken(message: object) -> None:
        if "job" in str(message):
            attempts.append(message)
            raise OSError

    job = timed.scheduler.add(fail, Every(minutes=1))
    slow: Callable[[], object] = partial(anyio.sleep, 90)
    beside = timed.scheduler.add(slow, Every(minutes=1), name="slow")
    sink = logger.add(broken, catch=False)
    try:
        await timed.run_for(3.5 * MINUTE)
    finally:
        logger.remove(sink)

    assert len(attempts) >= 3
    assert [run.outcome for run in job.history] == [Outcome.FAILED] * 3
    assert Outcome.SKIPPED in {run.outcome for run in beside.history}
