"""The worker of procrastinate that hostkit hosts, beside the engine's own: throughput, latency, and what idling costs.

Each run starts a PostgreSQL server of the wheel, with the engine's tables. The trials with outages and killed processes
are in ``tests/durable/trials.py``. The extras are imported on use: the other measures run without them.
"""

import asyncio
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from statistics import quantiles
from typing import TYPE_CHECKING, Any

import anyio
from loguru import logger

from benchmarks._measure import HOSTKIT, Budget, Contestant, Figure, Figures, Measure
from benchmarks._runner import ROOT, child_environment
from hostkit import HostBuilder, HostOptions

if TYPE_CHECKING:
    import procrastinate
    import psycopg

OWN = "procrastinate"
JOBS = 3_000
JOBS_FOR_THREE = 6_000
SINGLE_JOBS = 300
PAUSE = 0.02
"""Seconds between two single jobs: enough for a worker to be idle again."""
SETTLE = 3.0
"""Seconds until a worker that has been started is idle."""
IDLE = 60.0
PATIENCE = 200.0
"""Seconds for the work of a run: less than its process has, so that the server is stopped in any case."""
LEAST = 0.95
"""The share of the engine's own throughput that is asked for."""
A_JOB = Figure("a job", "µs")
DELAYS = (
    Figure("enqueue to run, p50", "ms", per_item=False),
    Figure("enqueue to run, p99", "ms", per_item=False),
)
IDLING = (
    Figure("processor", "s", per_item=False),
    Figure("transactions", "", per_item=False),
    Figure("wake-ups", "", per_item=False),
)
Worker = Callable[["procrastinate.App", int, asyncio.Event], Awaitable[None]]
"""Runs a worker until it is told to stop."""


@contextmanager
def database() -> Iterator[str]:
    """Run a server, and give the address of a database that has the engine's tables."""
    import procrastinate

    from hostkit.ext.local_postgres import LocalPostgres

    logger.disable("hostkit.ext.local_postgres")  # it warns that it is not for production
    with tempfile.TemporaryDirectory(prefix="hostkit-benchmark-") as name:
        folder = Path(name)
        folder.chmod(0o755)  # as root, the server runs as another user
        postgres = LocalPostgres(folder / "data")
        anyio.run(postgres.start)
        try:
            with connect(postgres.uri) as connection:
                connection.execute(procrastinate.schema.SchemaManager.get_schema())
            yield postgres.uri
        finally:
            anyio.run(postgres.stop)


def run(work: Coroutine[Any, Any, Figures]) -> Figures:
    """Run the work of a contestant, which must come to an end."""
    return asyncio.run(asyncio.wait_for(work, PATIENCE))


async def hostkit_worker(app: "procrastinate.App", concurrency: int, stop: asyncio.Event) -> None:
    """Run a worker in a host."""
    from hostkit.ext.procrastinate import ProcrastinateWorker

    logger.remove()  # a line for each run would stand in the table
    builder = HostBuilder(HostOptions(log_level="CRITICAL"))
    builder.add_service(ProcrastinateWorker(app, concurrency=concurrency))
    async with builder.build():
        await stop.wait()


async def own_worker(app: "procrastinate.App", concurrency: int, stop: asyncio.Event) -> None:
    """Run the engine's own worker."""
    async with app.open_async():
        running = asyncio.ensure_future(app.run_worker_async(concurrency=concurrency, install_signal_handlers=False))
        await stop.wait()
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running


WORKERS: dict[str, Worker] = {OWN: own_worker, HOSTKIT: hostkit_worker}


def make_app(uri: str) -> "procrastinate.App":
    """Return an app on a database."""
    import procrastinate

    return procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=uri))


def connect(uri: str) -> "psycopg.Connection[Any]":
    """Connect to a database."""
    import psycopg

    return psycopg.connect(uri, autocommit=True)


def insert(uri: str, jobs: int) -> None:
    """Make jobs that do nothing."""
    statement = """
        INSERT INTO procrastinate_jobs (queue_name, task_name) SELECT 'default', 'nothing' FROM generate_series(1, %s)
    """
    with connect(uri) as connection:
        connection.execute(statement, (jobs,))


def at_once(count: int, side: str, concurrency: int) -> Figures:
    """Run many jobs that wait already."""

    async def main(uri: str) -> Figures:
        app = make_app(uri)
        stop = asyncio.Event()
        began = ended = 0.0
        done = 0

        @app.task(name="nothing")
        async def nothing() -> None:
            nonlocal began, ended, done
            began = began or time.perf_counter()
            done += 1
            if done == count:
                ended = time.perf_counter()
                stop.set()

        insert(uri, count)
        await WORKERS[side](app, concurrency, stop)
        return {A_JOB.name: (ended - began) / count * 1e6}

    with database() as uri:
        return run(main(uri))


def single(count: int, side: str, concurrency: int) -> Figures:
    """Run a job at a time, when nothing else is to be done."""

    async def main(uri: str) -> Figures:
        app = make_app(uri)
        stop = asyncio.Event()
        delays: list[float] = []

        @app.task(name="late")
        async def late(since: float) -> None:
            delays.append(time.perf_counter() - since)
            if len(delays) == count:
                stop.set()

        worker = asyncio.ensure_future(WORKERS[side](app, concurrency, stop))
        await asyncio.sleep(SETTLE)
        deferrer = app.configure_task("late")
        for _ in range(count):
            await deferrer.defer_async(since=time.perf_counter())
            await asyncio.sleep(PAUSE)
        await worker
        cuts = quantiles(delays, n=100)
        return {figure.name: cuts[cut] * 1e3 for figure, cut in zip(DELAYS, (49, 98), strict=True)}

    with database() as uri:
        return run(main(uri))


def idle(concurrency: int, side: str) -> Figures:
    """Run a worker that has nothing to do."""

    def transactions(uri: str) -> int:
        statement = "SELECT xact_commit::int FROM pg_stat_database WHERE datname = current_database()"
        with connect(uri) as connection:
            row = connection.execute(statement).fetchone()
            assert row
            return int(row[0])

    async def main(uri: str) -> Figures:
        stop = asyncio.Event()
        worker = asyncio.ensure_future(WORKERS[side](make_app(uri), concurrency, stop))
        await asyncio.sleep(SETTLE)
        commits, processor, switches = transactions(uri), time.process_time(), voluntary_switches()
        await asyncio.sleep(IDLE)
        processor, switches = time.process_time() - processor, voluntary_switches() - switches
        commits = transactions(uri) - commits
        stop.set()
        await worker
        return {"processor": processor, "transactions": commits, "wake-ups": switches}

    with database() as uri:
        return run(main(uri))


def voluntary_switches() -> int:
    """Return how often the process has waited."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_nvcsw


def three(count: int, side: str, concurrency: int) -> Figures:
    """Have three processes run many jobs that come all at once."""
    with ExitStack() as stack:
        uri = stack.enter_context(database())
        connection = stack.enter_context(connect(uri))
        command = [sys.executable, "-c", "from benchmarks import durable; durable.main()", side, uri, str(concurrency)]
        for _ in range(3):
            process = subprocess.Popen(command, cwd=ROOT, env=child_environment(), stdin=subprocess.PIPE)
            stack.enter_context(process)
            stack.callback(process.communicate)  # the end of its standard input is its end
        listening = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'LISTEN%'"
        wait_for(connection, listening, 3)
        began = time.perf_counter()
        insert(uri, count)
        wait_for(connection, "SELECT count(*) FROM procrastinate_jobs WHERE status = 'succeeded'", count)
        return {A_JOB.name: (time.perf_counter() - began) / count * 1e6}


def wait_for(connection: "psycopg.Connection[Any]", question: str, answer: int) -> None:
    """Ask the database again and again until it gives this answer."""
    until = time.monotonic() + PATIENCE / 2
    while (row := connection.execute(question).fetchone()) and row[0] != answer:
        assert time.monotonic() < until, (question, row)
        time.sleep(0.01)


def main() -> None:
    """Be one of three processes, until standard input ends."""
    side, uri, concurrency = sys.argv[1:]

    async def work() -> None:
        app = make_app(uri)

        @app.task(name="nothing")
        async def nothing() -> None: ...

        stop = asyncio.Event()
        asyncio.get_running_loop().add_reader(0, lambda: None if os.read(0, 1) else stop.set())
        await WORKERS[side](app, int(concurrency), stop)

    asyncio.run(work())


def sides(function: Callable[..., Figures], *arguments: object) -> tuple[Contestant, ...]:
    """Return both sides of the same work."""
    return tuple(Contestant(side, function, (side, *arguments)) for side in WORKERS)


def budgets(size: int, *figures: Figure) -> tuple[Budget, ...]:
    """Return the share of the engine's own throughput as a budget of each of the figures."""
    return tuple(Budget(figure.name, size, 1 / LEAST, OWN) for figure in figures)


MEASURES = (
    Measure(
        "durable",
        "{size} durable jobs, 10 at a time",
        (A_JOB,),
        (JOBS,),
        sides(at_once, 10),
        baseline=OWN,
        budgets=budgets(JOBS, A_JOB),
        requires=OWN,
    ),
    Measure(
        "durable_100",
        "{size} durable jobs, 100 at a time",
        (A_JOB,),
        (JOBS,),
        sides(at_once, 100),
        baseline=OWN,
        budgets=budgets(JOBS, A_JOB),
        requires=OWN,
    ),
    Measure(
        "durable_processes",
        "{size} durable jobs, three processes of 10",
        (A_JOB,),
        (JOBS_FOR_THREE,),
        sides(three, 10),
        baseline=OWN,
        budgets=budgets(JOBS_FOR_THREE, A_JOB),
        requires=OWN,
    ),
    Measure(
        "durable_single",
        "{size} durable jobs, one by one",
        DELAYS,
        (SINGLE_JOBS,),
        sides(single, 10),
        baseline=OWN,
        budgets=budgets(SINGLE_JOBS, *DELAYS),
        requires=OWN,
    ),
    Measure(
        "durable_idle",
        "a worker for {size} durable jobs at a time, idle for a minute",
        IDLING,
        (10,),
        sides(idle),
        baseline=OWN,
        requires=OWN,
    ),
)
