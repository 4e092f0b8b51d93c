"""The worker of procrastinate that hostkit hosts, beside the engine's own: throughput, latency, and what idling costs.

All run on one PostgreSQL server of the wheel, each run in a database of its own and in processes of their own. The
trials with outages and killed processes are in ``tests/durable/trials.py``.
"""

import asyncio
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import ExitStack, suppress
from itertools import count
from pathlib import Path
from statistics import quantiles
from typing import Any

import anyio
import procrastinate
import psycopg
from loguru import logger

from benchmarks.servers._measure import ROOT, Contestant, Figures, Row, child_environment, in_child, interleave
from hostkit import HostBuilder, HostOptions
from hostkit.ext.local_postgres import LocalPostgres
from hostkit.ext.procrastinate import ProcrastinateWorker

HOSTKIT, OWN = "hostkit", "procrastinate"
SIDES = (HOSTKIT, OWN)
JOBS = 2_000
JOBS_FOR_THREE = 4_000
SINGLE_JOBS = 250
PAUSE = 0.02
"""Seconds between two single jobs: enough for a worker to be idle again."""
IDLE = 60.0
LEAST = 0.95
"""The share of the engine's own throughput that is asked for."""
TEMPLATE = "with_tables"
Worker = Callable[[procrastinate.App, int, asyncio.Event], Awaitable[None]]
"""Runs a worker until it is told to stop."""


def measure(rounds: int) -> list[Row]:
    """Measure both sides in turn."""
    rows: list[Row] = []
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="hostkit-benchmark-")))
        folder.chmod(0o755)
        postgres = LocalPostgres(folder / "data")
        anyio.run(postgres.start)
        stack.callback(anyio.run, postgres.stop)
        databases = Databases(postgres.uri)
        for concurrency in (10, 100):
            rows += interleave(
                f"durable, {concurrency} at a time",
                contestants(run_jobs, databases, concurrency),
                rounds,
                units={"a job": "µs"},
                baseline=OWN,
                budgets={(HOSTKIT, "a job"): 1 / LEAST},
            )
        rows += interleave(
            "durable, three processes of 10",
            {side: lambda side=side: run_three(side, databases) for side in SIDES},  # type: ignore[misc]
            rounds,
            units={"a job": "µs"},
            baseline=OWN,
            budgets={(HOSTKIT, "a job"): 1 / LEAST},
        )
        rows += interleave(
            "durable, one by one",
            contestants(run_single_jobs, databases, 10),
            rounds,
            units={"enqueue to run, p50": "ms", "enqueue to run, p99": "ms"},
            baseline=OWN,
            budgets={(HOSTKIT, "enqueue to run, p50"): 1 / LEAST, (HOSTKIT, "enqueue to run, p99"): 1 / LEAST},
        )
        rows += interleave(
            f"durable, idle for {IDLE:.0f} s",
            contestants(run_idle, databases, 10),
            1,
            units={"processor": "s", "transactions": "", "wake-ups": ""},
            baseline=OWN,
        )
    return rows


class Databases:
    """Makes databases that have the engine's tables."""

    def __init__(self, uri: str) -> None:
        """Make the template on the server at *uri*."""
        self._uri = uri
        self._numbers = count(1)
        self._execute(f"CREATE DATABASE {TEMPLATE} TEMPLATE template0")
        with psycopg.connect(self._address(TEMPLATE), autocommit=True) as connection:
            connection.execute(procrastinate.schema.SchemaManager.get_schema())

    def new(self) -> str:
        """Return the address of a new one."""
        name = f"run_{next(self._numbers)}"
        self._execute(f"CREATE DATABASE {name} TEMPLATE {TEMPLATE}")
        return self._address(name)

    def _address(self, name: str) -> str:
        return self._uri.replace("/postgres?", f"/{name}?")

    def _execute(self, statement: str) -> None:
        with psycopg.connect(self._uri, autocommit=True) as connection:
            connection.execute(statement)


def contestants(
    run: Callable[[str, str, int], Figures], databases: Databases, concurrency: int
) -> dict[str, Contestant]:
    """Return what runs each side in a child process."""
    return {side: lambda side=side: in_child(run, side, databases.new(), concurrency) for side in SIDES}  # type: ignore[misc]


async def hostkit_worker(app: procrastinate.App, concurrency: int, stop: asyncio.Event) -> None:
    """Run a worker in a host."""
    logger.remove()  # a line for each run would stand in the table
    builder = HostBuilder(HostOptions(log_level="CRITICAL"))
    builder.add_service(ProcrastinateWorker(app, concurrency=concurrency))
    async with builder.build():
        await stop.wait()


async def own_worker(app: procrastinate.App, concurrency: int, stop: asyncio.Event) -> None:
    """Run the engine's own worker."""
    async with app.open_async():
        running = asyncio.ensure_future(app.run_worker_async(concurrency=concurrency, install_signal_handlers=False))
        await stop.wait()
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running


WORKERS: dict[str, Worker] = {HOSTKIT: hostkit_worker, OWN: own_worker}


def make_app(uri: str) -> procrastinate.App:
    """Return an app on a database."""
    return procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=uri))


def insert(uri: str, jobs: int) -> None:
    """Make jobs that do nothing."""
    statement = """
        INSERT INTO procrastinate_jobs (queue_name, task_name) SELECT 'default', 'nothing' FROM generate_series(1, %s)
    """
    with psycopg.connect(uri, autocommit=True) as connection:
        connection.execute(statement, (jobs,))


def run_jobs(side: str, uri: str, concurrency: int) -> Figures:
    """Run many jobs that wait already."""

    async def main() -> Figures:
        app = make_app(uri)
        stop = asyncio.Event()
        began = ended = 0.0
        done = 0

        @app.task(name="nothing")
        async def nothing() -> None:
            nonlocal began, ended, done
            began = began or time.perf_counter()
            done += 1
            if done == JOBS:
                ended = time.perf_counter()
                stop.set()

        insert(uri, JOBS)
        await WORKERS[side](app, concurrency, stop)
        return {"a job": (ended - began) / JOBS * 1e6}

    return asyncio.run(main())


def run_single_jobs(side: str, uri: str, concurrency: int) -> Figures:
    """Run a job at a time, when nothing else is to be done."""

    async def main() -> Figures:
        app = make_app(uri)
        stop = asyncio.Event()
        delays: list[float] = []

        @app.task(name="late")
        async def late(since: float) -> None:
            delays.append(time.perf_counter() - since)

        worker = asyncio.ensure_future(WORKERS[side](app, concurrency, stop))
        await asyncio.sleep(1)  # it listens by then
        deferrer = app.configure_task("late")
        for _ in range(SINGLE_JOBS):
            await deferrer.defer_async(since=time.perf_counter())
            await asyncio.sleep(PAUSE)
        await asyncio.sleep(1)
        stop.set()
        await worker
        assert len(delays) == SINGLE_JOBS
        cuts = quantiles(delays, n=100)
        return {"enqueue to run, p50": cuts[49] * 1e3, "enqueue to run, p99": cuts[98] * 1e3}

    return asyncio.run(main())


def run_idle(side: str, uri: str, concurrency: int) -> Figures:
    """Run a worker that has nothing to do."""

    def transactions() -> int:
        statement = "SELECT xact_commit::int FROM pg_stat_database WHERE datname = current_database()"
        with psycopg.connect(uri, autocommit=True) as connection:
            row = connection.execute(statement).fetchone()
            assert row
            return int(row[0])

    async def main() -> Figures:
        stop = asyncio.Event()
        worker = asyncio.ensure_future(WORKERS[side](make_app(uri), concurrency, stop))
        await asyncio.sleep(3)
        commits, processor, switches = transactions(), time.process_time(), voluntary_switches()
        await asyncio.sleep(IDLE)
        processor, switches = time.process_time() - processor, voluntary_switches() - switches
        commits = transactions() - commits
        stop.set()
        await worker
        return {"processor": processor, "transactions": commits, "wake-ups": switches}

    return asyncio.run(main())


def voluntary_switches() -> int:
    """Return how often the process has waited."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_nvcsw


def run_three(side: str, databases: Databases) -> Figures:
    """Have three processes run many jobs that come all at once."""
    uri = databases.new()
    command = [sys.executable, "-c", "from benchmarks import durable; durable.main()", side, uri]
    with ExitStack() as stack, psycopg.connect(uri, autocommit=True) as connection:
        for _ in range(3):
            process = subprocess.Popen(command, cwd=ROOT, env=child_environment(), stdin=subprocess.PIPE)
            stack.enter_context(process)
            stack.callback(process.communicate)  # the end of its standard input is its end
        listening = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'LISTEN%'"
        wait_for(connection, listening, 3)
        began = time.perf_counter()
        insert(uri, JOBS_FOR_THREE)
        wait_for(connection, "SELECT count(*) FROM procrastinate_jobs WHERE status IN ('todo', 'doing')", 0)
        return {"a job": (time.perf_counter() - began) / JOBS_FOR_THREE * 1e6}


def wait_for(connection: psycopg.Connection[Any], question: str, answer: int) -> None:
    """Ask the database again and again until it gives this answer."""
    while (row := connection.execute(question).fetchone()) and row[0] != answer:
        time.sleep(0.01)


def main() -> None:
    """Be one of three processes, until standard input ends."""
    side, uri = sys.argv[1:]

    async def work() -> None:
        app = make_app(uri)

        @app.task(name="nothing")
        async def nothing() -> None: ...

        stop = asyncio.Event()
        asyncio.get_running_loop().add_reader(0, lambda: None if os.read(0, 1) else stop.set())
        await WORKERS[side](app, 10, stop)

    asyncio.run(work())
