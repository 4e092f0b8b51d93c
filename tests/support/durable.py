"""PostgreSQL servers for tests, each test with a database of its own, and what tests of durable jobs share."""

import asyncio
import contextlib
import json
import os
import pwd
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import anyio
import procrastinate
import psutil
import psycopg
from children import directory
from loguru import logger
from procrastinate.job_context import JobContext

from hostkit import Backoff, Host, HostBuilder, HostedService, HostOptions
from hostkit.ext.local_postgres import LocalPostgres
from hostkit.ext.procrastinate import ProcrastinateWorker

DEBIAN = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
TEMPLATE = "with_tables"
QUICK: dict[str, Any] = {"heartbeat_every": 0.2, "stalled_after": 0.7, "sweep_every": 0.2, "poll_every": 0.5}
"""A worker that notices soon. What comes before it listens comes by polling, as always."""
QUIET = HostOptions(log_level="ERROR", shutdown_timeout=30, cancellation_timeout=5)
SHORT = HostOptions(log_level="ERROR", shutdown_timeout=1.8, cancellation_timeout=3)
SOON = Backoff(initial=0.1, maximum=0.2)
PATIENCE = 30.0


class Server:
    """A running PostgreSQL server, whose databases are copies of one that has the engine's tables."""

    def __init__(self, uri: Callable[[str], str]) -> None:
        self._uri = uri
        self._numbers = count(1)

    def uri(self, database: str = "postgres") -> str:
        return self._uri(database)

    def execute(self, statement: str, database: str = "postgres") -> list[tuple[Any, ...]]:
        with psycopg.connect(self.uri(database), autocommit=True) as connection:
            cursor = connection.execute(statement)
            return cursor.fetchall() if cursor.description else []

    def new_database(self, template: str = "template0") -> str:
        name = f"test_{os.getpid()}_{next(self._numbers)}"
        self.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        return self.uri(name)

    def prepare(self) -> None:
        """Make the template: with the engine's tables, and one that jobs write into."""
        for option in ("fsync", "full_page_writes", "synchronous_commit"):
            self.execute(f"ALTER SYSTEM SET {option} = off")  # its data are not to survive
        self.execute("SELECT pg_reload_conf()")
        self.execute(f"CREATE DATABASE {TEMPLATE} TEMPLATE template0")
        schema = procrastinate.schema.SchemaManager.get_schema()
        self.execute(schema, TEMPLATE)
        self.execute("CREATE TABLE effects (id bigserial PRIMARY KEY, what text, job bigint, process int)", TEMPLATE)
        self.execute("CREATE TABLE payments (number int PRIMARY KEY)", TEMPLATE)


@contextmanager
def wheel_server() -> Iterator[Server]:
    """Run the server of the wheel."""
    with directory() as path:
        postgres = LocalPostgres(path / "data")
        anyio.run(postgres.start)
        uri = postgres.uri
        try:
            server = Server(lambda database: uri.replace("/postgres?", f"/{database}?"))
            server.prepare()
            yield server
        finally:
            # At once, without writing down what is thrown away.
            process = psutil.Process(int((path / "data" / "postmaster.pid").read_text().split()[0]))
            process.send_signal(signal.SIGQUIT)
            process.wait(PATIENCE)
            anyio.run(postgres.stop)


@contextmanager
def debian_server() -> Iterator[Server]:
    """Run a server of Debian's packages, as their user where this is root."""
    with directory() as path:
        user: dict[str, Any] = {}
        if os.geteuid() == 0:
            owner = pwd.getpwnam("postgres")
            os.chown(path, owner.pw_uid, owner.pw_gid)
            user = {"user": owner.pw_uid, "group": owner.pw_gid, "extra_groups": []}
        programs, data = DEBIAN[-1], path / "data"

        def run(program: str, *arguments: str | Path) -> None:
            command = [programs / program, "-D", data, *arguments]
            subprocess.run(command, check=True, capture_output=True, cwd=path, timeout=60, **user)

        run("initdb", "--auth=trust", "--username=postgres", "--no-sync")
        run("pg_ctl", "-w", "-l", path / "log", "-o", f"-h '' -k {path}", "start")
        try:
            server = Server(lambda database: f"postgresql://postgres@/{database}?host={path}")
            server.prepare()
            yield server
        finally:
            run("pg_ctl", "-w", "-m", "immediate", "stop")


class Database:
    """A database of one test."""

    def __init__(self, server: Server, uri: str) -> None:
        self.server = server
        self.uri = uri

    def app(self, **options: Any) -> procrastinate.App:  # noqa: ANN401  # those of the pool
        """Return an app of its own, as each process has."""
        return procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=self.uri, **options))

    def execute(self, statement: str, *arguments: object) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.uri, autocommit=True) as connection:
            cursor = connection.execute(statement, arguments or None)
            return cursor.fetchall() if cursor.description else []

    def states(self) -> list[str]:
        """Return the states of all jobs, by number."""
        return [state for (state,) in self.execute("SELECT status FROM procrastinate_jobs ORDER BY id")]

    def defer(self, task: str, queue: str = "default", /, **kwargs: Any) -> int:  # noqa: ANN401  # arguments of the task
        """Make a job, as another process would, and return its number."""
        statement = """
            INSERT INTO procrastinate_jobs (queue_name, task_name, args) VALUES (%s, %s, %s) RETURNING id
        """
        ((number,),) = self.execute(statement, queue, task, json.dumps(kwargs))
        return int(number)

    def defer_for_tomorrow(self, task: str, queueing_lock: str | None = None) -> None:
        """Make a job that waits all through the test."""
        statement = """
            INSERT INTO procrastinate_jobs (queue_name, task_name, queueing_lock, scheduled_at)
            VALUES ('default', %s, %s, now() + interval '1 day')
        """
        self.execute(statement, task, queueing_lock)

    def begin(self, task: str, /, heartbeat_age: float | None, **columns: object) -> int:
        """Make a job that a worker seems to run, whose last heartbeat is so many seconds old; None: that has gone."""
        job = self.defer(task)
        worker = None
        if heartbeat_age is not None:
            statement = """
                INSERT INTO procrastinate_workers (last_heartbeat) VALUES (now() - make_interval(secs => %s))
                RETURNING id
            """
            ((worker,),) = self.execute(statement, heartbeat_age)
        for column, value in {"status": "doing", "worker_id": worker, **columns}.items():
            self.execute(f"UPDATE procrastinate_jobs SET {column} = %s WHERE id = %s", value, job)  # noqa: S608  # names of ours
        return job

    def wake(self) -> bool:
        """Have all workers look for jobs; return False, for use with `until`."""
        payload = json.dumps({"type": "job_inserted", "job_id": 0})
        self.execute("SELECT pg_notify('procrastinate_any_queue_v1', %s)", payload)
        return False

    @property
    def name(self) -> str:
        """Its name on its server."""
        return self.uri.split("/")[3].partition("?")[0]

    def end_connections(self) -> None:
        """End every connection, as a server that restarts does."""
        with psycopg.connect(self.server.uri(), autocommit=True) as connection:
            statement = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s"
            connection.execute(statement, (self.name,))

    @contextmanager
    def away(self) -> Iterator[None]:
        """Have nobody reach it, for the block."""
        self.server.execute(f"ALTER DATABASE {self.name} ALLOW_CONNECTIONS false")
        self.end_connections()
        try:
            yield
        finally:
            self.server.execute(f"ALTER DATABASE {self.name} ALLOW_CONNECTIONS true")


class Silencer:
    """A way to a database on which connections can fall silent, without an end; new ones are well."""

    def __init__(self, database: Database) -> None:
        self._target = psycopg.conninfo.conninfo_to_dict(database.uri)
        self._open: list[asyncio.Event] = []
        self._last_words: bytes | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> str:
        """Return the address of the database behind it."""
        self._server = await asyncio.start_server(self._connect, "127.0.0.1")
        port = self._server.sockets[0].getsockname()[1]
        return psycopg.conninfo.make_conninfo(**{**self._target, "host": "127.0.0.1", "port": port})

    async def __aexit__(self, *_: object) -> None:
        for each in self._open:
            each.set()
        self._server.close()
        await asyncio.gather(*self._tasks)
        await self._server.wait_closed()

    def silence(self) -> None:
        """Let nothing through any more, on the connections that there are."""
        for each in self._open:
            each.clear()

    def silence_at(self, words: bytes) -> None:
        """Let nothing through any more on the one connection that sends *words* next, from these on."""
        self._last_words = words

    @property
    def is_silent(self) -> bool:
        """Whether a connection is."""
        return not all(each.is_set() for each in self._open)

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        still_open = asyncio.Event()
        still_open.set()
        self._open.append(still_open)
        path = f"{self._target['host']}/.s.PGSQL.{self._target.get('port', 5432)}"
        there, back = await asyncio.open_unix_connection(path)

        async def pass_on(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
            try:
                while data := await source.read(65536):
                    if self._last_words is not None and self._last_words in data:
                        self._last_words = None
                        still_open.clear()
                    await still_open.wait()
                    target.write(data)
            except ConnectionError:
                pass  # an end of the connection like any other
            finally:
                target.close()

        await asyncio.gather(pass_on(reader, back), pass_on(there, writer))


def free_port() -> int:
    """Return a free port below those that the system gives away by itself."""
    for port in range(20_000 + os.getpid() % 1_000 * 10, 32_000):
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
    message = "no port is free"
    raise LookupError(message)


async def until(condition: Callable[[], object], within: float = PATIENCE) -> None:
    """Wait, in real time, until something holds that tells nobody, such as what is in a database."""
    with anyio.fail_after(within):
        while not condition():
            await anyio.sleep(0.02)


async def no_engine_left() -> None:
    """Wait until the tasks of the engine have ended that a host had to leave behind."""

    def code_of(task: asyncio.Task[object]) -> str:
        return str(getattr(task.get_coro(), "cr_code", ""))

    await until(lambda: not [task for task in asyncio.all_tasks() if "procrastinate" in code_of(task)])


async def outage(database: Database, worker: ProcrastinateWorker) -> None:
    """Have nobody reach the database until *worker* has noticed, and wait until it runs again."""
    with database.away():
        await until(lambda: worker.details()["connected"] is False)
    await until(lambda: worker.details()["connected"])


def hosted(*services: HostedService, options: HostOptions = QUIET) -> Host:
    """Return a host with *services*."""
    builder = HostBuilder(options)
    for service in services:
        builder.add_service(service)
    return builder.build()


def noting(app: procrastinate.App) -> list[int | None]:
    """Give *app* a task ``note``, and return the list to which its jobs add their numbers."""
    runs: list[int | None] = []

    @app.task(name="note", pass_context=True)
    async def note(context: JobContext) -> None:
        runs.append(context.job.id)

    return runs


class Jobs:
    """An app with a task ``wait``, whose jobs say when they begin, and wait until they are let go."""

    def __init__(self, database: Database, **options: Any) -> None:  # noqa: ANN401  # those of the pool
        self.database = database
        self.app = database.app(**options)
        self.began: list[int | None] = []
        self.ended: list[int | None] = []
        self.let_go = asyncio.Event()
        self.cleanup = 0.0
        self.app.task(name="wait", pass_context=True)(self.wait)

    async def wait(self, context: JobContext) -> None:
        self.began.append(context.job.id)
        try:
            await self.let_go.wait()
        finally:
            await asyncio.sleep(self.cleanup)
        self.ended.append(context.job.id)

    def worker(self, **options: Any) -> ProcrastinateWorker:  # noqa: ANN401  # its options
        return ProcrastinateWorker(self.app, **{**QUICK, **options})


@contextmanager
def log_lines(level: str = "INFO") -> Iterator[list[str]]:
    """Collect the lines that hostkit writes."""
    lines: list[str] = []
    sink = logger.add(lambda line: lines.append(str(line).rstrip()), level=level, format="{level} {message}")
    try:
        yield lines
    finally:
        logger.remove(sink)
