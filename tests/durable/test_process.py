"""Real processes with workers, which are stopped, killed and paused."""

import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from children import PYTHON, Child
from durable import QUICK, Database, hosted, until
from durable_child import make_app

from hostkit.ext.procrastinate import ProcrastinateWorker

SCRIPT = Path(__file__).parent.parent / "support" / "durable_child.py"
SIGNALS_OF_A_WORKER = ["heartbeat_every=0.2", "stalled_after=0.7", "sweep_every=0.2", "poll_every=0.5"]


@contextmanager
def worker_process(database: Database, *options: str) -> Iterator[Child]:
    """Run a worker in a process of its own, which is ready."""
    with Child(*PYTHON, SCRIPT, database.uri, *SIGNALS_OF_A_WORKER, *options, cwd=SCRIPT.parent) as child:
        assert child.wait_for(lambda line: line == "ready"), child.text
        yield child


def begin(child: Child, database: Database, task: str, **kwargs: float) -> int:
    """Have the process begin a job, and return its number."""
    number = database.defer(task, "default", **kwargs)
    assert child.wait_for(lambda line: line == f"begins {number}"), child.text
    return number


def this_worker(database: Database) -> ProcrastinateWorker:
    """Return a worker for this process."""
    return ProcrastinateWorker(make_app(database.uri), **QUICK)


@pytest.mark.parametrize("loop", ["uvloop=0", "uvloop=1"])
async def test_sigterm_finishes_what_is_short_and_gives_back_what_is_long(database: Database, loop: str) -> None:
    """The exit code is 0; another worker runs the long job again, which takes no time any more."""
    with worker_process(database, "shutdown_timeout=4", "cancellation_timeout=2", loop) as child:
        begin(child, database, "take", seconds=0.5)
        begin(child, database, "take", seconds=300)
        child.send(signal.SIGTERM)
        code = child.end()
        states = database.states()

    assert code == 0, child.text
    assert states == ["succeeded", "todo"]
    assert len([line for line in child.lines if line.endswith("back in the queue: take[2]")]) == 1
    assert not [line for line in child.lines if "Traceback" in line]

    database.execute("UPDATE procrastinate_jobs SET args = '{\"seconds\": 0}'")
    async with hosted(this_worker(database)):
        await until(lambda: database.states() == ["succeeded"] * 2)
    assert database.execute("SELECT what, job FROM effects ORDER BY id") == [("taken", 1), ("taken", 2)]


def test_a_second_signal_gives_jobs_back_at_once(database: Database) -> None:
    """Who cannot wait sends it again: jobs are cut, and still given back."""
    with worker_process(database, "shutdown_timeout=60", "cancellation_timeout=5") as child:
        begin(child, database, "take", seconds=300)
        child.send(signal.SIGTERM)
        assert child.wait_for(lambda line: "jobs that run, and have 58.0 s: 1" in line), child.text
        # The same signal within half a second would be the same request, come twice.
        assert child.wait_for(lambda line: "waiting for procrastinate-worker" in line), child.text
        child.send(signal.SIGTERM)
        code = child.end()

    assert code == 1, child.text  # it had to be cancelled
    assert database.states() == ["todo"]


@pytest.mark.parametrize("loop", ["uvloop=0", "uvloop=1"])
async def test_kill_9_loses_nothing(database: Database, loop: str) -> None:
    """A job whose process was killed runs again elsewhere."""
    with worker_process(database, loop) as child:
        begin(child, database, "take", seconds=300)
        child.send(signal.SIGKILL)
        child.end()
    database.execute("UPDATE procrastinate_jobs SET args = '{\"seconds\": 0}'")
    async with hosted(this_worker(database)):
        await until(lambda: database.states() == ["succeeded"])

    assert database.execute("SELECT what FROM effects") == [("taken",)]


async def test_a_blocking_job_that_ignores_the_stop(database: Database) -> None:
    """It is named with its line, the process ends all the same, and the job runs again elsewhere."""
    with worker_process(database, "shutdown_timeout=2", "cancellation_timeout=1") as child:
        begin(child, database, "stubborn", seconds=300)
        child.send(signal.SIGTERM)
        code = child.end()
        states = database.states()

    assert code == 3, child.text
    assert states == ["doing"]
    assert any(
        "job stubborn[1] goes on in spite of the stop, at" in line and "stubborn" in line for line in child.lines
    )
    database.execute("UPDATE procrastinate_jobs SET args = '{\"seconds\": 0}'")
    async with hosted(this_worker(database)):
        await until(lambda: database.states() == ["succeeded"])


def test_a_job_that_kills_its_process_does_so_no_more_than_often_enough(database: Database) -> None:
    """After ``crash_limit`` processes it is failed."""
    database.defer("crash")
    for _ in range(2):
        with Child(*PYTHON, SCRIPT, database.uri, *SIGNALS_OF_A_WORKER, "crash_limit=2", cwd=SCRIPT.parent) as child:
            assert child.end() == 9, child.text
        assert database.states() == ["doing"]
    with worker_process(database, "crash_limit=2") as child:
        assert child.wait_for(lambda line: "job crash[1] is failed, as its worker has gone 2 times" in line), child.text
        child.send(signal.SIGTERM)
        code = child.end()

    assert code == 0
    assert database.states() == ["failed"]


async def test_a_process_that_was_paused_goes_on(database: Database) -> None:
    """What a paused process had begun runs elsewhere; when it comes back, it works as before."""
    with ExitStack() as stack:
        child = stack.enter_context(worker_process(database))
        begin(child, database, "take", seconds=0.5)
        child.send(signal.SIGSTOP)
        stack.callback(child.send, signal.SIGCONT)
        async with hosted(this_worker(database)):
            await until(lambda: database.states() == ["succeeded"])
        child.send(signal.SIGCONT)
        begin(child, database, "take", seconds=0)
        await until(lambda: database.states() == ["succeeded"] * 2)
        child.send(signal.SIGTERM)
        code = child.end()

    assert code == 0, child.text
    jobs = [job for (job,) in database.execute("SELECT job FROM effects ORDER BY id")]
    assert set(jobs) == {1, 2}  # the first has had its effect twice: jobs run at least once
    assert len(jobs) <= 3
