"""One job for each planned instant, over any number of hosts."""

from datetime import UTC, datetime, timedelta

import anyio
import procrastinate
import psycopg
import pytest
from durable import QUICK, Database, Silencer, hosted, log_lines, until
from procrastinate.exceptions import AppNotOpen, ConnectorException

from hostkit.ext.procrastinate import ProcrastinateWorker, _defer, defer
from hostkit.scheduling import Daily, Every, Outcome, Scheduler

EVENING = datetime(2026, 11, 28, 20, 0, tzinfo=UTC)
TICKS = Daily(*[f"20:00:0{second}" for second in range(2, 7)], tz="UTC")
"""Five, a second apart."""


class Clock:
    """A wall clock that shows the evening when it is made, and may be behind."""

    def __init__(self, behind: float = 0.0) -> None:
        self._began = anyio.current_time()
        self._behind = behind

    def now(self) -> datetime:
        return EVENING + timedelta(seconds=anyio.current_time() - self._began - self._behind)


async def test_twenty_hosts_make_one_job_for_each_instant(database: Database) -> None:
    """Twenty hosts with one schedule, one of them a tick and a half behind: five ticks are five jobs."""
    app = database.app(max_size=8)
    schedulers = [Scheduler(now=Clock(behind=1.5 if number == 0 else 0).now) for number in range(20)]
    jobs = [
        scheduler.add(defer(app, "reports.build", queue="reports", shop="corner"), TICKS, name="nightly")
        for scheduler in schedulers
    ]
    async with app.open_async(), hosted(*schedulers):
        await until(lambda: all(len(job.history) == 5 for job in jobs))

    found = database.execute("SELECT task_name, queue_name, args FROM procrastinate_jobs ORDER BY id")
    assert [run.outcome for job in jobs for run in job.history] == [Outcome.SUCCEEDED] * 100
    assert found == [
        ("reports.build", "reports", {"shop": "corner", "timestamp": int(EVENING.timestamp()) + second})
        for second in range(2, 7)
    ]


async def test_hosts_may_name_an_instant_by_the_clocks_of_different_zones(database: Database) -> None:
    """It is the instant that has one job, and not what the clock shows."""
    app = database.app()
    schedulers = [Scheduler(now=Clock().now) for _ in range(2)]
    schedules = [Daily("20:00:01", tz="UTC"), Daily("23:00:01", tz="Europe/Istanbul")]
    jobs = [
        scheduler.add(defer(app, "reports.build"), schedule, name="nightly")
        for scheduler, schedule in zip(schedulers, schedules, strict=True)
    ]
    async with app.open_async(), hosted(*schedulers):
        await until(lambda: all(job.history for job in jobs))

    assert database.states() == ["todo"]


async def run_once(scheduler: Scheduler) -> None:
    """Run what a scheduler has, once."""
    async with hosted(scheduler):
        (job,) = scheduler.jobs.values()
        job.run_now()
        await until(lambda: job.history)


async def test_the_task_is_run_with_the_planned_instant(any_database: Database) -> None:
    """The code of the task is on the worker, and takes ``timestamp``."""
    app = any_database.app()
    instants: list[int] = []

    @app.task(name="reports.build")
    async def build(timestamp: int) -> None:
        instants.append(timestamp)

    scheduler = Scheduler()
    job = scheduler.add(defer(app, "reports.build", priority=3, lock="reports"), Daily("03:00", tz="UTC"))
    async with hosted(ProcrastinateWorker(app, **QUICK), scheduler):
        job.run_now()
        await until(lambda: instants)

    assert job.history[0].planned.timestamp() == pytest.approx(instants[0], abs=1)
    assert any_database.execute("SELECT priority, lock FROM procrastinate_jobs") == [(3, "reports")]


async def test_what_is_not_given_is_the_tasks(database: Database) -> None:
    """A task that is known here has its queue, locks and priority."""
    app = database.app()

    @app.task(name="reports.build", queue="reports", lock="one", queueing_lock="waits", priority=5)
    async def build(timestamp: int) -> None: ...

    scheduler = Scheduler()
    scheduler.add(defer(app, "reports.build"), Daily("03:00", tz="UTC"))
    async with app.open_async():
        await run_once(scheduler)

    found = database.execute("SELECT queue_name, lock, queueing_lock, priority FROM procrastinate_jobs")
    assert found == [("reports", "one", "waits", 5)]


async def test_an_interval_is_refused(database: Database) -> None:
    """The ticks of `Every` are each host's own, so that each host would make a job."""
    app = database.app()
    scheduler = Scheduler()
    job = scheduler.add(defer(app, "reports.build"), Every(hours=1))

    await run_once(scheduler)

    assert isinstance(job.history[0].error, ValueError)
    assert "has no instants that hosts share" in str(job.history[0].error)
    assert database.states() == []


async def test_a_lock_that_is_taken_makes_no_job(database: Database) -> None:
    """Where a job waits with the queueing lock, there is no second one, and no failure."""
    app = database.app()
    database.execute(
        "INSERT INTO procrastinate_jobs (queue_name, task_name, queueing_lock) VALUES ('default', 'other', 'reports')"
    )
    scheduler = Scheduler()
    job = scheduler.add(defer(app, "reports.build", queueing_lock="reports"), Daily("03:00", tz="UTC"))
    async with app.open_async():
        await run_once(scheduler)

    assert job.history[0].outcome is Outcome.SUCCEEDED
    assert database.states() == ["todo"]


async def test_old_instants_are_forgotten(database: Database) -> None:
    """What is known of instants that are a week old goes, of this schedule alone."""
    app = database.app()
    database.execute(
        "INSERT INTO procrastinate_periodic_defers (task_name, periodic_id, defer_timestamp) VALUES "
        "('reports.build', 'nightly@old', 1), ('reports.build', 'nightly-2@old', 1), ('other', 'nightly@old', 1), "
        "('reports.build', 'nightly@new', extract(epoch FROM now()) - 86400)"
    )
    scheduler = Scheduler()
    scheduler.add(defer(app, "reports.build"), Daily("03:00", tz="UTC"), name="nightly")
    async with app.open_async():
        await run_once(scheduler)

    left = database.execute("SELECT task_name, periodic_id FROM procrastinate_periodic_defers ORDER BY id")
    assert left[:3] == [("reports.build", "nightly-2@old"), ("other", "nightly@old"), ("reports.build", "nightly@new")]
    assert len(left) == 3 + 1


async def test_a_database_that_is_away_is_waited_for(database: Database) -> None:
    """A tick is not lost over an outage: it is tried again, and the log says so once."""
    app = database.app(timeout=0.1)
    scheduler = Scheduler()
    job = scheduler.add(defer(app, "reports.build"), Daily("03:00", tz="UTC"))
    with log_lines() as lines:
        async with app.open_async(), hosted(scheduler):
            with database.away():
                job.run_now()
                await until(lambda: any("no job reports.build yet, tried again: " in line for line in lines))
            await until(lambda: job.history)

    assert database.states() == ["todo"]
    assert len([line for line in lines if line.startswith("WARNING")]) == 1


async def test_a_database_that_does_not_answer_is_tried_again(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A tick is not lost on a connection that has fallen silent, on which no answer would ever come."""
    monkeypatch.setattr(_defer, "DEFER_TIMEOUT", 0.2)
    silencer = Silencer(database)
    scheduler = Scheduler()
    async with silencer as address:
        app = procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=address, min_size=1))
        job = scheduler.add(defer(app, "reports.build"), Daily("03:00", tz="UTC"))
        with log_lines("WARNING") as lines:
            async with app.open_async(), hosted(scheduler):
                silencer.silence()
                job.run_now()
                await until(lambda: job.history)

    assert database.states() == ["todo"]
    assert lines == ["WARNING no job reports.build yet, tried again: TimeoutError"]


async def test_a_job_that_the_database_refuses_is_not_tried_again(database: Database) -> None:
    """What can never be made, such as one with a text that PostgreSQL cannot hold, fails the run at once."""
    app = database.app()
    scheduler = Scheduler()
    job = scheduler.add(defer(app, "reports.build", title="a\0b"), Daily("03:00", tz="UTC"))
    async with app.open_async():
        await run_once(scheduler)

    assert isinstance(job.history[0].error, ConnectorException)
    assert isinstance(job.history[0].error.__cause__, psycopg.DataError)


async def test_a_stop_ends_the_wait(database: Database) -> None:
    """With the database away a stop need not wait for it: the run has failed."""
    app = database.app(timeout=0.1)
    scheduler = Scheduler()
    job = scheduler.add(defer(app, "reports.build"), Daily("03:00", tz="UTC"))
    with log_lines() as lines:
        async with app.open_async(), hosted(scheduler) as host:
            with database.away():
                job.run_now()
                await until(lambda: any("tried again" in line for line in lines))
                await host.stop()

    assert job.history[0].outcome is Outcome.FAILED
    assert isinstance(job.history[0].error, ConnectorException)


async def test_an_app_that_is_not_open_fails_the_run(database: Database) -> None:
    """The app has to be open: that is an error of the run, at once."""
    scheduler = Scheduler()
    job = scheduler.add(defer(database.app(), "reports.build"), Daily("03:00", tz="UTC"))

    await run_once(scheduler)

    assert isinstance(job.history[0].error, AppNotOpen)
