"""What keeps a worker from starting is one clear error; a database that comes later is waited for."""

import re
from contextlib import nullcontext
from typing import Any

import anyio
import procrastinate
import psycopg
import pytest
from durable import QUICK, SOON, Database, Server, hosted, log_lines, noting, until
from psycopg.rows import dict_row

from hostkit import HostFailedError, HostOptions, HostStateError, StartupTimeoutError
from hostkit.ext.procrastinate import ProcrastinateWorker, WorkerNotRunningError, _database, _engine, apply_schema
from hostkit.testing import ManualStoppingToken


def app_on(conninfo: Any, **options: Any) -> procrastinate.App:  # noqa: ANN401  # whatever a pool takes
    """Return an app with an address of any kind."""
    return procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=conninfo, **options))


async def error_of(app: procrastinate.App) -> Exception:
    """Return the only error with which a host with a worker of *app* fails to start."""
    with pytest.raises(HostFailedError) as caught:
        async with hosted(ProcrastinateWorker(app, **QUICK)):
            pytest.fail("it has started")
    (error,) = caught.value.exceptions
    return error


async def test_a_missing_schema_is_an_error(any_server: Server) -> None:
    """Without the engine's tables the error names the command, and the option."""
    error = await error_of(app_on(any_server.new_database()))

    assert isinstance(error, HostStateError)
    assert str(error).startswith("the tables of procrastinate are missing; apply them with")
    assert "apply_schema=True" in str(error)


async def test_an_old_schema_is_an_error(any_database: Database) -> None:
    """Tables of an older version are told from missing ones, and the error says what to do."""
    any_database.execute("ALTER FUNCTION procrastinate_retry_job_v2 RENAME TO procrastinate_retry_job_v0")

    error = await error_of(any_database.app())

    assert "are older than procrastinate 3." in str(error)
    assert "no procrastinate_retry_job_v2(); apply its migrations" in str(error)


async def test_an_app_that_is_open_is_checked_too(server: Server) -> None:
    """The tables are looked at also where the app was opened by somebody else."""
    app = app_on(server.new_database())
    async with app.open_async():
        error = await error_of(app)

    assert "are missing" in str(error)


@pytest.mark.parametrize(
    ("words", "address"),
    [
        ('the database refuses the connection: .*database "nowhere" does not exist', "{uri}&dbname=nowhere"),
        ('the database refuses the connection: .*role "nobody" does not exist', "{uri}&user=nobody"),
        ("the database's address is wrong: .*nonsense.*", "nonsense=1"),
    ],
)
async def test_a_wrong_address_is_an_error_at_once(server: Server, words: str, address: str) -> None:
    """What will not get better by waiting is told at once, with what the server says, in one line."""
    error = await error_of(app_on(address.format(uri=server.uri())))

    assert isinstance(error, HostStateError)
    assert re.fullmatch(words, str(error))  # in one line


async def test_a_database_that_is_not_there_yet_is_waited_for(database: Database) -> None:
    """A worker may start before its database; the log says so once."""
    asked: list[int] = []

    async def conninfo() -> str:
        asked.append(1)
        return database.uri if len(asked) > 2 else "host=/nowhere"

    with log_lines() as lines:
        async with hosted(ProcrastinateWorker(app_on(conninfo), **QUICK)):
            pass

    assert len([line for line in lines if line.startswith("WARNING")]) == 1
    assert lines[0].startswith("WARNING waiting for the database: connection is bad: ")
    assert lines[1] == "INFO the database is there, after 3 tries"


async def test_a_database_that_never_comes_fails_the_start_in_time() -> None:
    """The host's ``startup_timeout`` is the limit."""
    options = HostOptions(log_level="ERROR", startup_timeout=0.3)
    with pytest.RaisesGroup(StartupTimeoutError):
        async with hosted(ProcrastinateWorker(app_on("host=127.0.0.1 port=1"), **QUICK), options=options):
            pytest.fail("it has started")


async def test_options_of_connections_may_be_functions(database: Database) -> None:
    """What the pool takes for its connections is taken by the first one too."""
    app = app_on(lambda: database.uri, kwargs=lambda: {"application_name": "orders"})
    async with hosted(ProcrastinateWorker(app, **QUICK)):
        names = database.execute(
            "SELECT DISTINCT application_name FROM pg_stat_activity WHERE datname = %s", database.name
        )

    assert ("orders",) in names


async def test_connections_may_have_rows_of_their_own_kind(database: Database) -> None:
    """Whatever connections make of their rows, the tables are found."""
    async with hosted(worker := ProcrastinateWorker(database.app(kwargs={"row_factory": dict_row}), **QUICK)):
        await worker.check()


@pytest.mark.parametrize("opens", [True, False])
async def test_connections_may_be_configured(server: Server, opens: bool) -> None:  # noqa: FBT001  # a parameter
    """What the app does with each connection, such as naming a schema, is done with those of the start as well."""

    async def configure(connection: psycopg.AsyncConnection[Any]) -> None:
        await connection.execute("SET search_path TO jobs")
        await connection.commit()

    database = Database(server, server.new_database())
    database.execute("CREATE SCHEMA jobs")
    app = database.app(configure=configure)
    async with app.open_async() if opens else nullcontext():
        assert await apply_schema(app)
        async with hosted(worker := ProcrastinateWorker(app, **QUICK)):
            await worker.check()

    assert database.execute("SELECT schemaname FROM pg_tables WHERE tablename = 'procrastinate_jobs'") == [("jobs",)]


async def test_the_schema_is_applied_where_there_is_none(any_server: Server) -> None:
    """With ``apply_schema`` a worker creates the tables, and finds them the next time."""
    uri = any_server.new_database()
    for _ in range(2):
        async with hosted(ProcrastinateWorker(app_on(uri), apply_schema=True, **QUICK)) as host:
            pass

    assert host.lifetime.exit_code == 0


async def test_of_many_at_once_one_applies_the_schema(any_server: Server) -> None:
    """Any number of processes may apply it at the same time."""
    uri = any_server.new_database()
    applied: list[bool] = []

    async def apply() -> None:
        applied.append(await apply_schema(app_on(uri)))

    async with anyio.create_task_group() as group:
        for _ in range(4):
            group.start_soon(apply)

    assert sorted(applied) == [False, False, False, True]


async def test_the_first_failure_of_the_engine_is_one_of_the_start(database: Database) -> None:
    """A worker that cannot register fails the start: the service is ready when the database knows it."""
    database.execute(
        "CREATE OR REPLACE FUNCTION procrastinate_register_worker_v1() RETURNS TABLE(worker_id bigint) "
        "LANGUAGE plpgsql AS $$ BEGIN RAISE 'no more workers'; END $$"
    )

    error = await error_of(database.app())

    assert isinstance(error, HostStateError)
    assert str(error) == "the database refuses the worker: RaiseException: no more workers"


async def test_a_database_that_does_not_answer_yet_is_waited_for(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A migration may hold the engine's tables when a worker starts: that takes longer, and is no failure."""
    monkeypatch.setattr(_engine, "ANSWER_TIMEOUT", 0.3)
    app = database.app()
    runs = noting(app)

    with log_lines("WARNING") as lines:
        async with await psycopg.AsyncConnection.connect(database.uri) as migration, anyio.create_task_group() as group:
            await migration.execute("LOCK TABLE procrastinate_workers")

            async def let_go() -> None:
                await until(lambda: lines)
                await migration.commit()

            group.start_soon(let_go)
            async with hosted(ProcrastinateWorker(app, **QUICK, backoff=SOON)):
                database.defer("note")
                await until(lambda: runs)

    assert set(lines) == {"WARNING waiting for the database: it does not answer"}


async def test_a_stop_during_the_start_leaves_nothing_behind(database: Database) -> None:
    """A service that is stopped before its worker is there ends at once."""
    options = HostOptions(log_level="ERROR", shutdown_timeout=3)
    async with anyio.create_task_group() as group:
        worker = ProcrastinateWorker(app_on("host=/nowhere"), **QUICK)

        async def live() -> None:
            async with hosted(worker, options=options) as host:
                await host.wait()

        group.start_soon(live)
        await anyio.sleep(0.1)
        group.cancel_scope.cancel()

    with pytest.raises(WorkerNotRunningError, match="has not started, or has ended"):
        await worker.check()


async def test_it_can_be_started_again(database: Database) -> None:
    """A worker may have several lives, and the app is opened for each."""
    app = database.app()
    runs = noting(app)
    worker = ProcrastinateWorker(app, **QUICK)
    for number in (1, 2):
        async with hosted(worker):
            database.defer("note")
            await until(lambda: len(runs) == number)  # noqa: B023  # awaited in the loop

    assert database.states() == ["succeeded"] * 2


async def test_a_stop_while_the_app_opens_leaves_no_pool_behind(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A start that is cancelled in the middle of opening the pool closes it again; the next one opens it anew."""
    app = database.app()
    open_async = app.open_async
    opens = True

    async def opened() -> None:
        await open_async()
        if opens:
            await anyio.sleep_forever()

    monkeypatch.setattr(app, "open_async", opened)
    worker = ProcrastinateWorker(app, **QUICK)
    with pytest.RaisesGroup(StartupTimeoutError):
        async with hosted(worker, options=HostOptions(log_level="ERROR", startup_timeout=1)):
            pytest.fail("it has started")
    with pytest.raises(procrastinate.exceptions.AppNotOpen):
        await app.check_connection_async()
    opens = False
    async with hosted(worker) as host:
        await worker.check()

    assert host.lifetime.exit_code == 0


async def test_a_pool_that_was_closed_is_opened_anew(database: Database) -> None:
    """An app whose pool somebody has closed, without saying so to the app, can be used again."""
    app = database.app()
    await app.open_async()
    await _database.pool_of(app).close()
    async with hosted(worker := ProcrastinateWorker(app, **QUICK)):
        await worker.check()

    with pytest.raises(procrastinate.exceptions.AppNotOpen):
        await app.check_connection_async()


class TestTrio:
    @pytest.fixture
    def anyio_backend(self) -> str:
        """The backend on which procrastinate does not run."""
        return "trio"

    async def test_is_refused(self) -> None:
        """On trio there is a clear error before anything is connected to."""
        worker = ProcrastinateWorker(app_on("host=/nowhere"))

        with pytest.raises(
            HostStateError, match=r"procrastinate needs asyncio or uvloop, not trio; see .* \(HOSTKIT_BACKEND\)"
        ):
            await worker.execute(ManualStoppingToken())
