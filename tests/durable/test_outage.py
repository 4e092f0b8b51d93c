"""The database goes away and comes back; workers of the engine end by themselves."""

import asyncio
import logging
import re
from contextlib import ExitStack

import anyio
import procrastinate
import psycopg
import pytest
from durable import QUICK, SOON, Database, Jobs, Silencer, hosted, log_lines, noting, outage, until
from procrastinate.job_context import JobContext
from psycopg_pool import AsyncNullConnectionPool

from hostkit import Backoff, HostFailedError, HostOptions
from hostkit.ext.procrastinate import (
    JobsNotReturnedError,
    ProcrastinateWorker,
    WorkerNotRunningError,
    _engine,
    retry_strategy,
)
from hostkit.jobs import Retry


@pytest.fixture(params=["asyncio", "uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, object]]:
    """Both event loops on which procrastinate runs."""
    return "asyncio", {"use_uvloop": request.param == "uvloop"}


def names_of(lines: list[str]) -> list[str]:
    """Return the lines of the worker's own, each by its first words."""
    return [" ".join(line.split()[:4]) for line in lines]


async def test_an_outage_is_one_line_and_its_end_another(database: Database, caplog: pytest.LogCaptureFixture) -> None:
    """A worker is replaced when the database is back; the log has one line while it lasts."""
    app = database.app()
    runs = noting(app)
    caplog.set_level(logging.WARNING)
    with log_lines() as lines:
        async with hosted(worker := ProcrastinateWorker(app, **{**QUICK, "poll_every": 600}, backoff=SOON)):
            with database.away():
                await until(lambda: worker.details()["connected"] is False)
                with pytest.raises(WorkerNotRunningError, match="no worker runs since 0 s"):
                    await worker.check()
                await asyncio.sleep(1)
            await until(lambda: worker.details()["connected"])
            database.defer("note")
            await until(lambda: database.wake() or runs)  # it may not listen yet, also when it has fetched one
            database.defer("note")
            await until(lambda: database.wake() or database.states() == ["succeeded"] * 2)
            await worker.check()
            restarts = worker.details()["restarts"]

    assert names_of(lines) == ["WARNING the worker fetches", "INFO a new worker"]
    assert re.search(r"begins in 0\.\d s: \w+: .+", lines[0])
    # psycopg has words of its own for a query that was cancelled while the server ended its connection.
    assert [record.message for record in caplog.records if not record.name.startswith("psycopg")] == []
    assert restarts == 1


async def test_jobs_of_a_worker_that_has_ended_finish_beside_the_new_one(database: Database) -> None:
    """A worker that ends by itself fetches no more, and its jobs go on; together they are not too many."""
    app = database.app()
    running: set[int | None] = set()
    most: list[int] = []
    let_go = asyncio.Event()

    @app.task(name="wait", pass_context=True)
    async def wait(context: JobContext) -> None:
        running.add(context.job.id)
        most.append(len(running))
        try:
            await let_go.wait()
        finally:
            running.discard(context.job.id)

    async with hosted(worker := ProcrastinateWorker(app, **QUICK, concurrency=2, backoff=SOON)):
        first = database.defer("wait")
        await until(lambda: running == {first})
        await outage(database, worker)
        others = [database.defer("wait") for _ in range(2)]
        await until(lambda: running == {first, others[0]})
        await until(lambda: database.states() == ["doing"] * 3)
        let_go.set()
        await until(lambda: database.states() == ["succeeded"] * 3)

    assert max(most) == 2
    assert database.execute("SELECT DISTINCT attempts FROM procrastinate_jobs") == [(1,)]


async def test_jobs_of_a_worker_that_has_ended_can_be_cancelled(database: Database) -> None:
    """A job that goes on after its worker was replaced is asked to abort like any other."""
    jobs = Jobs(database)
    async with hosted(worker := jobs.worker(backoff=SOON)):
        number = database.defer("wait")
        await until(lambda: jobs.began)
        await outage(database, worker)
        assert await worker.cancel(number)
        await until(lambda: database.states() == ["aborted"])


async def test_what_could_not_be_written_down_runs_again(database: Database) -> None:
    """A job that ends while the database refuses its outcome is swept up, and the end of the outage says so."""
    jobs = Jobs(database, timeout=0.3)
    with log_lines() as lines:
        async with hosted(worker := jobs.worker(backoff=SOON)):
            database.defer("wait")
            await until(lambda: jobs.began)
            with database.away():
                await until(lambda: worker.details()["connected"] is False)
                jobs.let_go.set()
                await until(lambda: not worker.details()["running"])
            await until(lambda: database.states() == ["succeeded"])

    assert len(jobs.began) == 2
    assert "WARNING job wait[1] runs again: its outcome could not be written down" in lines
    assert any("jobs whose end could not be written down, and that run again: 1" in line for line in lines)


@pytest.mark.parametrize("patience", [30, 0.05])
async def test_a_stop_while_the_database_is_away_is_bounded(database: Database, patience: float) -> None:
    """Jobs that cannot be given back are a failure that names them, however long the pool would wait."""
    app = database.app(timeout=patience)
    began = asyncio.Event()

    @app.task(name="wait")
    async def wait() -> None:
        began.set()
        await asyncio.Event().wait()

    options = HostOptions(log_level="ERROR", shutdown_timeout=3, cancellation_timeout=3)
    with pytest.raises(HostFailedError) as caught, ExitStack() as stack:
        async with hosted(ProcrastinateWorker(app, **QUICK, backoff=SOON), options=options):
            database.defer("wait")
            await began.wait()
            stack.enter_context(database.away())

    (error,) = caught.value.exceptions
    assert isinstance(error, JobsNotReturnedError)
    assert error.jobs == ("wait[1]",)


async def test_a_pool_without_connections_needs_no_renewal(database: Database) -> None:
    """An app that connects for each query is hosted like any other."""
    app = database.app(pool_factory=AsyncNullConnectionPool)
    runs = noting(app)
    async with hosted(worker := ProcrastinateWorker(app, **QUICK, backoff=SOON)):
        await outage(database, worker)
        database.defer("note")
        await until(lambda: runs)

    assert database.states() == ["succeeded"]


async def test_an_app_that_was_open_stays_open(database: Database) -> None:
    """The service closes only what it has opened, and recovers with a pool that is not its own."""
    app = database.app()
    noting(app)
    async with app.open_async():
        async with hosted(worker := ProcrastinateWorker(app, **QUICK, backoff=SOON)):
            await outage(database, worker)
        number = await app.configure_task("note").defer_async()

    assert database.execute("SELECT status FROM procrastinate_jobs WHERE id = %s", number) == [("todo",)]


async def test_an_app_that_is_closed_under_the_worker_is_opened_again(database: Database) -> None:
    """A block in the same process that opens and closes the app, as a web app's lifespan does, ends no worker."""
    app = database.app()
    runs = noting(app)
    async with hosted(worker := ProcrastinateWorker(app, **QUICK, backoff=SOON)) as host:
        async with app.open_async():
            pass
        await until(lambda: worker.details()["restarts"] and worker.details()["connected"])
        database.defer("note")
        await until(lambda: runs)

    assert app.connector.get_sync_connector() is not app.connector  # closed
    assert host.lifetime.exit_code == 0


async def test_an_outage_of_an_app_that_was_opened_again_is_one_line_too(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    """The new pool of an app that was closed under the worker has another name, and is as quiet as the first."""
    app = database.app()
    async with hosted(worker := ProcrastinateWorker(app, **QUICK, backoff=SOON)):
        await app.close_async()
        await until(lambda: worker.details()["restarts"] and worker.details()["connected"])
        with database.away():
            await asyncio.sleep(1)
        await until(lambda: worker.details()["connected"])

    assert [record.message for record in caplog.records if "error connecting" in record.message] == []


async def test_an_app_whose_end_was_cut_short_is_opened_again(database: Database) -> None:
    """A block that closes the app while its task is cancelled leaves a pool that is closed, and not known to be."""
    app = database.app()
    runs = noting(app)
    async with hosted(ProcrastinateWorker(app, **QUICK, backoff=SOON)):
        with anyio.CancelScope() as scope:
            async with app.open_async():
                scope.cancel()
        database.defer("note")
        await until(lambda: runs)

    assert scope.cancelled_caught


async def test_a_loop_that_fails_is_replaced(database: Database) -> None:
    """A worker whose query fails while its connections are well is replaced, although a job of it still runs."""
    jobs = Jobs(database)
    with log_lines("WARNING") as lines:
        async with hosted(worker := jobs.worker(backoff=SOON)):
            database.defer("wait")
            await until(lambda: jobs.began)
            database.execute("ALTER FUNCTION procrastinate_fetch_job_v2 RENAME TO elsewhere")
            await until(lambda: worker.details()["connected"] is False)
            database.execute("ALTER FUNCTION elsewhere RENAME TO procrastinate_fetch_job_v2")
            await until(lambda: worker.details()["connected"])
            database.defer("wait")
            await until(lambda: len(jobs.began) == 2)
            jobs.let_go.set()
            await until(lambda: database.states() == ["succeeded"] * 2)
            await worker.check()

    assert "UndefinedFunction: function procrastinate_fetch_job_v2" in lines[0]


async def test_an_outcome_that_is_refused_runs_again_beside_a_worker_that_lives(database: Database) -> None:
    """A job whose outcome the database does not take runs again, also when its worker goes on; no attempt is gone."""
    app = database.app()
    runs = noting(app)
    with log_lines() as lines:
        async with hosted(worker := ProcrastinateWorker(app, **QUICK)):
            database.execute("ALTER FUNCTION procrastinate_finish_job_v1 RENAME TO elsewhere")
            database.defer("note")
            await until(lambda: len(runs) > 1)
            database.execute("ALTER FUNCTION elsewhere RENAME TO procrastinate_finish_job_v1")
            await until(lambda: database.states() == ["succeeded"])
            restarts = worker.details()["restarts"]

    assert restarts == 0
    assert "WARNING job note[1] runs again: its outcome could not be written down" in lines


async def test_an_outcome_that_another_has_written_stays(database: Database) -> None:
    """A job that has ended elsewhere meanwhile does not run again."""
    app = database.app()
    runs: list[int] = []

    @app.task(name="note", pass_context=True)
    async def note(context: JobContext) -> None:
        runs.append(1)
        database.execute("UPDATE procrastinate_jobs SET status = 'succeeded' WHERE id = %s", context.job.id)

    async with hosted(worker := ProcrastinateWorker(app, **QUICK)):
        database.defer("note")
        await until(lambda: runs)
        looked = worker.details()["swept"]
        other = database.begin("note", None)
        await until(lambda: database.states()[other - 1] == "succeeded")

    assert looked == 0
    assert len(runs) == 2


async def test_one_that_cannot_go_back_yet_is_tried_again(database: Database) -> None:
    """Where another job waits with its queueing lock, it goes back when that has gone."""
    app = database.app()
    runs: list[int] = []

    @app.task(name="note")
    async def note() -> None:
        runs.append(1)
        if len(runs) == 1:
            database.execute("ALTER FUNCTION procrastinate_finish_job_v1 RENAME TO elsewhere")
            database.defer_for_tomorrow("note", "one")

    async with hosted(ProcrastinateWorker(app, **QUICK)):
        number = await app.configure_task("note", queueing_lock="one").defer_async()
        await until(lambda: runs)
        await asyncio.sleep(3 * QUICK["sweep_every"])
        states = database.states()
        database.execute("ALTER FUNCTION elsewhere RENAME TO procrastinate_finish_job_v1")
        database.execute("DELETE FROM procrastinate_jobs WHERE id <> %s", number)
        await until(lambda: database.states() == ["succeeded"])

    assert states == ["doing", "todo"]
    assert len(runs) == 2


async def test_connections_that_fall_silent_are_an_outage(database: Database) -> None:
    """A worker whose heartbeats do not get through is replaced, with new connections, and the log says so."""
    silencer = Silencer(database)
    async with silencer as address:
        app = procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=address))
        runs = noting(app)
        with log_lines() as lines:
            async with hosted(worker := ProcrastinateWorker(app, **QUICK, backoff=SOON)) as host:
                database.defer("note")
                await until(lambda: database.states() == ["succeeded"] and not worker.details()["running"])
                silencer.silence()
                database.defer("note")
                await until(lambda: database.states() == ["succeeded"] * 2 and not worker.details()["running"])
                await worker.check()

    assert len(runs) == 2
    assert names_of(lines) == ["WARNING the worker fetches", "INFO a new worker"]
    assert lines[0].endswith("TimeoutError: no heartbeat gets through, for 0.4 s")
    assert host.lifetime.exit_code == 0


@pytest.mark.parametrize(
    "words",
    [
        b"procrastinate_prune_stalled_workers",
        b"procrastinate_register_worker",
        b"procrastinate_fetch_job",
        b"procrastinate_defer_periodic_job",
        b"procrastinate_unregister_worker",
    ],
)
async def test_one_connection_that_falls_silent_is_one_as_well(
    database: Database, monkeypatch: pytest.MonkeyPatch, words: bytes
) -> None:
    """A worker that has no answer to a question is replaced, although its heartbeats go on; what it had, runs."""
    monkeypatch.setattr(_engine, "ANSWER_TIMEOUT", 0.5)
    silencer = Silencer(database)
    unprepared = {"prepare_threshold": None}  # the words are there each time
    async with silencer as address:
        connector = procrastinate.PsycopgConnector(conninfo=address, kwargs=unprepared)
        app = procrastinate.App(connector=connector)
        runs = noting(app)

        @app.periodic(cron="* * * * * *")
        @app.task(name="tick")
        async def tick(timestamp: int) -> None: ...

        def engines() -> list[asyncio.Task[object]]:
            return [task for task in asyncio.all_tasks() if "Worker.run at" in str(task.get_coro())]

        async with hosted(worker := ProcrastinateWorker(app, **QUICK, backoff=SOON)) as host:
            silencer.silence_at(words)
            database.defer("note")
            if b"worker" in words:
                database.end_connections()
            await until(lambda: worker.details()["restarts"])
            await until(lambda: runs and len(engines()) == 1)

    assert host.lifetime.exit_code == 0


async def test_the_log_says_that_a_fetch_has_had_no_answer(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that is replaced as the engine's table is held by something else names that as the cause."""
    monkeypatch.setattr(_engine, "ANSWER_TIMEOUT", 0.3)
    with log_lines("WARNING") as lines:
        async with (
            await psycopg.AsyncConnection.connect(database.uri) as migration,
            hosted(ProcrastinateWorker(database.app(), **QUICK)),
        ):
            await migration.execute("LOCK TABLE procrastinate_jobs")
            await until(lambda: lines)
            await migration.commit()

    assert lines[0].endswith("TimeoutError: the database has not answered for 0.3 s")


async def test_a_look_for_jobs_to_be_cancelled_that_falls_silent_is_not_the_last(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker goes on to look for what was to be cancelled, also when it has once had no answer to that."""
    monkeypatch.setattr(_engine, "ANSWER_TIMEOUT", 0.5)
    silencer = Silencer(database)
    async with silencer as address:
        connector = procrastinate.PsycopgConnector(conninfo=address, kwargs={"prepare_threshold": None})
        app = procrastinate.App(connector=connector)
        began = asyncio.Event()

        @app.task(name="wait")
        async def wait() -> None:
            began.set()
            await asyncio.sleep(600)

        options = {**QUICK, "listen_notify": False, "abort_job_polling_interval": 0.2}
        async with hosted(worker := ProcrastinateWorker(app, **options)):
            database.defer("wait")
            await began.wait()
            silencer.silence_at(b"abort_requested")
            await until(lambda: silencer.is_silent)
            database.execute("UPDATE procrastinate_jobs SET abort_requested = true")
            await until(lambda: database.states() == ["aborted"])
            restarts = worker.details()["restarts"]

    assert restarts == 0


async def test_a_job_whose_outcome_falls_into_silence_runs_again(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A job that ends on a connection that has fallen silent runs again: no answer would ever come."""
    monkeypatch.setattr(_engine, "OUTCOME_TIMEOUT", 1.0)
    silencer = Silencer(database)
    runs: list[int] = []
    async with silencer as address:
        app = procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=address))

        @app.task(name="note")
        async def note() -> None:
            runs.append(1)
            if len(runs) == 1:
                silencer.silence()

        async with hosted(worker := ProcrastinateWorker(app, **QUICK, backoff=SOON)) as host:
            database.defer("note")
            await until(lambda: database.states() == ["succeeded"] and not worker.details()["running"])

    assert len(runs) == 2
    assert host.lifetime.exit_code == 0


async def test_a_job_that_fails_once_more_into_silence_runs_again(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The database is asked nothing about a failure before its outcome is written down, which has a bound."""
    monkeypatch.setattr(_engine, "OUTCOME_TIMEOUT", 1.0)
    silencer = Silencer(database)
    runs: list[int] = []
    async with silencer as address:
        app = procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=address))

        @app.task(name="fail", retry=retry_strategy(Retry(attempts=3, backoff=lambda _: 0)))
        async def fail() -> None:
            runs.append(1)
            if len(runs) == 2:
                silencer.silence()
            if len(runs) < 3:
                raise OSError

        async with hosted(worker := ProcrastinateWorker(app, **QUICK, backoff=SOON)) as host:
            database.defer("fail")
            await until(lambda: database.states() == ["succeeded"] and not worker.details()["running"])

    assert len(runs) == 3
    assert host.lifetime.exit_code == 0


async def test_a_stop_need_not_wait_for_the_backoff(database: Database) -> None:
    """A worker that waits until it tries again ends at once with the stop."""
    backoff = Backoff(initial=600, maximum=600)
    async with hosted(worker := ProcrastinateWorker(database.app(), **QUICK, backoff=backoff)) as host:
        with database.away():
            await until(lambda: worker.details()["connected"] is False)
        await host.stop()

    assert host.lifetime.exit_code == 0
