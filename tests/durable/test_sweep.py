"""Jobs whose worker has gone run again, and nothing else does."""

import asyncio
from typing import Any

import pytest
from durable import QUICK, SOON, Database, Jobs, hosted, log_lines, noting, until
from procrastinate.jobs import Job

from hostkit.ext.procrastinate import ProcrastinateWorker, retry_strategy
from hostkit.jobs import Retry

GONE = 3600.0
"""The age of a heartbeat that was long ago."""


def worker_of(database: Database, **options: Any) -> tuple[ProcrastinateWorker, list[int | None]]:  # noqa: ANN401
    """Return a worker whose only task says that it ran."""
    app = database.app()
    runs = noting(app)
    return ProcrastinateWorker(app, **{**QUICK, **options}), runs


@pytest.mark.parametrize("age", [GONE, None], ids=["old heartbeat", "no worker"])
async def test_a_job_whose_worker_has_gone_runs_again(any_database: Database, age: float | None) -> None:
    """A job is swept up when its worker has sent no heartbeat for long, or is not known any more."""
    worker, runs = worker_of(any_database, poll_every=600)
    job = any_database.begin("note", age)
    with log_lines() as lines:
        async with hosted(worker):
            await until(lambda: any_database.states() == ["succeeded"])

    assert runs == [job]
    assert f"WARNING job note[{job}] runs again: its worker has gone" in lines


async def test_a_job_that_was_to_be_cancelled_does_not_run_again(any_database: Database) -> None:
    """A job that was asked to abort when its worker went is failed, and that is what the log says."""
    worker, runs = worker_of(any_database)
    job = any_database.begin("note", GONE, abort_requested=True)
    with log_lines() as lines:
        async with hosted(worker):
            await until(lambda: any_database.states() == ["failed"])
            await until(lambda: any("note" in line for line in lines))
            swept = worker.details()["swept"]

    assert (swept, runs) == (0, [])
    assert f"WARNING job note[{job}] is failed, as it was to be cancelled: its worker has gone" in lines


async def test_a_worker_that_was_silent_for_a_while_only_keeps_its_jobs(database: Database) -> None:
    """It is ``stalled_after`` that counts, and not what the engine does when another worker starts."""
    worker, runs = worker_of(database, stalled_after=60)
    database.begin("note", 40)  # the engine's own limit is 30 s
    async with hosted(worker):
        other = database.begin("note", GONE)
        await until(lambda: database.states()[other - 1] == "succeeded")

    assert database.states() == ["doing", "succeeded"]
    assert runs == [other]


async def test_a_worker_does_not_sweep_up_its_own_jobs(database: Database) -> None:
    """A job that runs here stays, whatever has become of the worker's row."""
    jobs = Jobs(database)
    noting(jobs.app)
    async with hosted(jobs.worker()):
        database.defer("wait")
        await until(lambda: jobs.began)
        database.execute("DELETE FROM procrastinate_workers")
        other = database.begin("note", None)
        await until(lambda: database.states()[other - 1] == "succeeded")
        jobs.let_go.set()
        await until(lambda: database.states() == ["succeeded", "succeeded"])

    assert database.execute("SELECT attempts FROM procrastinate_jobs WHERE id = 1") == [(1,)]


async def test_only_the_workers_own_queues_are_swept(database: Database) -> None:
    """A worker with queues leaves the jobs of others to those."""
    worker, _ = worker_of(database, queues=["default"])
    database.begin("note", GONE, queue_name="other")
    mine = database.begin("note", GONE)
    async with hosted(worker):
        await until(lambda: database.states()[mine - 1] == "succeeded")

    assert database.states() == ["doing", "succeeded"]


async def test_a_job_whose_place_is_taken_waits_for_the_next_sweep(database: Database) -> None:
    """A job that cannot go back keeps no other from it."""
    worker, runs = worker_of(database)
    database.begin("note", GONE, queueing_lock="one")
    database.defer_for_tomorrow("note", "one")
    other = database.begin("note", GONE)
    async with hosted(worker):
        await until(lambda: database.states()[other - 1] == "succeeded")
        states = database.states()
        database.execute("DELETE FROM procrastinate_jobs WHERE status = 'todo'")
        await until(lambda: database.states() == ["succeeded", "succeeded"])

    assert states == ["doing", "todo", "succeeded"]
    assert runs == [other, 1]


async def test_what_another_has_swept_up_already_is_left_alone(database: Database) -> None:
    """Of several that find the same job one has it run again, and a run that has begun meanwhile is left alone."""
    workers = [worker_of(database)[0] for _ in range(3)]
    jobs = [database.begin("note", GONE) for _ in range(20)]
    async with hosted(*workers):
        await until(lambda: database.states() == ["succeeded"] * len(jobs))

    assert database.execute("SELECT DISTINCT attempts FROM procrastinate_jobs") == [(2,)]


@pytest.mark.parametrize("crash_limit", [1, 10])
async def test_what_has_begun_again_is_left_alone(database: Database, crash_limit: int) -> None:
    """A job that was swept up between the look and the deed, and runs again, is neither taken nor failed."""
    worker, runs = worker_of(database, crash_limit=crash_limit)
    number = database.begin("note", 0, attempts=1)
    looks: list[int] = []

    async def look_too_late(**_: object) -> list[Job]:
        looks.append(number)
        return [Job(id=number, queue="default", lock=None, queueing_lock=None, task_name="note", attempts=0)]

    worker.app.job_manager.get_stalled_jobs = look_too_late  # type: ignore[assignment, method-assign]
    async with hosted(worker):
        await until(lambda: len(looks) > 1)
        details = worker.details()

    assert database.states() == ["doing"]
    assert (details["swept"], details["crashed"], runs) == (0, 0, [])


async def test_a_job_that_takes_its_worker_down_is_failed_in_the_end(any_database: Database) -> None:
    """After ``crash_limit`` times it is not run again, and the log says why."""
    worker, runs = worker_of(any_database, crash_limit=3)
    number = any_database.begin("note", GONE)
    with log_lines() as lines:
        async with hosted(worker):
            for _ in range(2):
                await until(lambda: any_database.states() == ["succeeded"])
                any_database.execute("UPDATE procrastinate_jobs SET status = 'doing', worker_id = NULL")
            await until(lambda: any_database.states() == ["failed"])
            await until(lambda: worker.details()["crashed"])  # counted when the database has answered
            details = worker.details()
            assert await worker.retry(number)
            await until(lambda: any_database.states() == ["succeeded"])
            any_database.execute("UPDATE procrastinate_jobs SET status = 'doing', worker_id = NULL")
            await until(lambda: any_database.states() == ["succeeded"])  # counted anew

    assert len(runs) == 2 + 2
    assert details["crashed"] == 1
    assert details["swept"] == 2
    (line,) = [line for line in lines if line.startswith("ERROR")]
    assert line.startswith(f"ERROR job note[{number}] is failed, as its worker has gone 3 times while it ran")


async def test_a_crash_takes_no_attempt(database: Database) -> None:
    """A run that has ended with its worker does not count as one that has failed."""
    app = database.app()
    runs: list[str] = []

    @app.task(name="fail", retry=retry_strategy(Retry(attempts=3, backoff=lambda _: 0)))
    async def fail() -> None:
        runs.append("fail")
        raise OSError

    database.begin("fail", GONE)
    async with hosted(ProcrastinateWorker(app, **{**QUICK, "poll_every": 0.1})):
        await until(lambda: database.states() == ["failed"])

    assert len(runs) == 3
    assert database.execute("SELECT attempts FROM procrastinate_jobs") == [(4,)]


async def test_nothing_is_swept_right_after_an_outage(database: Database) -> None:
    """Every heartbeat is old then: all workers have time for a new one first."""
    worker, _ = worker_of(database, heartbeat_every=1, stalled_after=3, backoff=SOON)
    async with hosted(worker):
        with database.away():
            await until(lambda: worker.details()["connected"] is False)
        database.begin("note", GONE)
        await until(lambda: worker.details()["connected"])
        await asyncio.sleep(4 * QUICK["sweep_every"])
        states = database.states()
        await until(lambda: database.states() == ["succeeded"])

    assert states == ["doing"]


async def test_an_error_of_the_database_holds_the_sweep_back(database: Database) -> None:
    """A sweep that fails is tried again later, and is no failure of the service."""
    worker, _ = worker_of(database)
    async with hosted(worker) as host:
        database.execute("ALTER TABLE procrastinate_events RENAME TO elsewhere")
        database.execute("ALTER TABLE procrastinate_jobs DISABLE TRIGGER ALL")
        database.begin("note", GONE)
        await asyncio.sleep(4 * QUICK["sweep_every"])
        states = database.states()
        database.execute("ALTER TABLE elsewhere RENAME TO procrastinate_events")
        database.execute("ALTER TABLE procrastinate_jobs ENABLE TRIGGER ALL")
        await until(lambda: database.states() == ["succeeded"])

    assert states == ["doing"]
    assert host.lifetime.exit_code == 0
