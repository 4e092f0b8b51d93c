"""Running jobs, seeing what they do, and steering them from code."""

import asyncio
import json
import logging
import os
import threading
from dataclasses import asdict
from typing import Any

import pytest
from durable import QUICK, Database, hosted, log_lines, noting, until
from procrastinate.exceptions import AlreadyEnqueued
from procrastinate.job_context import JobContext

from hostkit.ext.procrastinate import ProcrastinateWorker, WorkerNotRunningError, _database, _retry, retry_strategy
from hostkit.jobs import Retry, RetryAfterError


def at_once(attempts: int) -> Any:  # noqa: ANN401  # a strategy
    """Return a strategy without waits."""
    return retry_strategy(Retry(attempts=attempts, backoff=lambda _: 0))


async def test_an_order_and_its_job_are_made_together_or_not_at_all(any_database: Database) -> None:
    """A job that is made in a transaction is there when that is committed, and never when it is rolled back."""
    app = any_database.app()
    runs: list[str] = []

    @app.task(name="note")
    async def note(what: str) -> None:
        runs.append(what)

    async with hosted(ProcrastinateWorker(app, **QUICK)):
        async with _database.pool_of(app).connection() as connection:
            for what, rolled_back in (("lost", True), ("kept", False)):
                async with connection.transaction(force_rollback=rolled_back):
                    await connection.execute("INSERT INTO effects (what) VALUES (%s)", (what,))
                    await app.configure_task("note", connection=connection).defer_async(what=what)
        await until(lambda: any_database.states() == ["succeeded"])

    assert runs == ["kept"]
    assert any_database.execute("SELECT what FROM effects") == [("kept",)]


async def test_a_lock_that_is_taken_does_not_spoil_a_savepoint(database: Database) -> None:
    """``AlreadyEnqueued`` in a savepoint leaves the rest of the transaction as it is."""
    app = database.app()
    async with app.open_async(), _database.pool_of(app).connection() as connection, connection.transaction():
        await connection.execute("INSERT INTO effects (what) VALUES ('order')")
        for _ in range(2):
            try:
                async with connection.transaction():
                    await app.configure_task("note", queueing_lock="one", connection=connection).defer_async()
            except AlreadyEnqueued:
                await connection.execute("INSERT INTO effects (what) VALUES ('waits already')")

    assert database.states() == ["todo"]
    assert database.execute("SELECT what FROM effects ORDER BY id") == [("order",), ("waits already",)]


async def test_a_job_runs_as_often_as_its_retry_says(database: Database) -> None:
    """``Retry(attempts=11)`` is eleven runs, under the engine as in a queue of hostkit's."""
    app = database.app()
    runs: list[int] = []

    @app.task(name="fail", retry=at_once(11))
    async def fail() -> None:
        runs.append(1)
        raise OSError

    async with hosted(ProcrastinateWorker(app, **{**QUICK, "poll_every": 0.02})):
        database.defer("fail")
        await until(lambda: database.states() == ["failed"])

    assert len(runs) == 11


async def test_a_job_may_say_when_it_comes_again(database: Database) -> None:
    """``RetryAfterError`` sets when the next run is due."""
    app = database.app()

    @app.task(name="later", retry=at_once(3))
    async def later() -> None:
        raise RetryAfterError(3600)

    async with hosted(ProcrastinateWorker(app, **QUICK)):
        database.defer("later")
        await until(lambda: database.execute("SELECT 1 FROM procrastinate_jobs WHERE status = 'todo' AND attempts = 1"))

    ((left,),) = database.execute("SELECT extract(epoch FROM scheduled_at - now())::int FROM procrastinate_jobs")
    assert 3500 < left <= 3600


async def test_the_engines_own_strategies_count_failures_alone_too(database: Database) -> None:
    """A task with ``retry=2`` runs three times, whatever cuts and crashes there were."""
    app = database.app()
    runs: list[int] = []

    @app.task(name="fail", retry=2)
    async def fail() -> None:
        runs.append(1)
        raise OSError

    database.begin("fail", None)
    async with hosted(ProcrastinateWorker(app, **{**QUICK, "poll_every": 0.1})):
        await until(lambda: database.states() == ["failed"])

    assert len(runs) == 3


async def test_a_result_is_asked_nothing(database: Database) -> None:
    """A job may return any object, also one without a truth value, such as a table of data."""

    class Table:
        def __bool__(self) -> bool:
            message = "the truth value of a table is ambiguous"
            raise ValueError(message)

    app = database.app()

    @app.task(name="load")
    async def load() -> Table:
        return Table()

    async with hosted(ProcrastinateWorker(app, **QUICK)):
        database.defer("load")
        await until(lambda: database.states() == ["succeeded"])

    assert database.execute("SELECT attempts FROM procrastinate_jobs") == [(1,)]


async def test_a_task_that_nobody_knows_fails(database: Database) -> None:
    """A name is accepted when a job is made; it is the worker that finds out."""
    async with hosted(worker := ProcrastinateWorker(database.app(), **QUICK)):
        database.defer("unknown")
        await until(lambda: database.states() == ["failed"])
        (failed,) = await worker.failed()

    assert (failed.task, failed.error) == ("unknown", None)


class TestSteering:
    async def test_counts_and_lists_jobs(self, any_database: Database) -> None:
        """What is in the database is counted by state and listed, the last first, ready for JSON."""
        app = any_database.app()

        @app.task(name="work")
        async def work(fails: bool) -> None:  # noqa: FBT001  # the argument of a task
            if fails:
                message = "no route"
                raise OSError(message)

        async with hosted(worker := ProcrastinateWorker(app, **QUICK)):
            for fails in (False, True, True):
                any_database.defer("work", fails=fails)
                await until(lambda: "todo" not in any_database.states() and "doing" not in any_database.states())
            counts = await worker.counts()
            failed = await worker.failed()
            recent = await worker.recent(limit=2)

        assert counts == {"todo": 0, "doing": 0, "succeeded": 1, "failed": 2, "cancelled": 0, "aborted": 0}
        assert [(job.id, job.state, job.error) for job in failed] == [
            (3, "failed", "OSError: no route"),
            (2, "failed", "OSError: no route"),
        ]
        assert [job.id for job in recent] == [3, 2]
        assert json.loads(json.dumps(asdict(failed[0])))["kwargs"] == {"fails": True}
        assert failed[0].at is not None
        assert failed[0].at.endswith("+00:00")

    async def test_tells_how_long_a_job_has_been_ready(self, any_database: Database) -> None:
        """By the job that waits for longest: since it was deferred, or since its instant; what is to come does not."""
        app = any_database.app()
        ages: list[float | None] = []

        async with hosted(worker := ProcrastinateWorker(app, queues=["mail"], **QUICK)):
            any_database.defer("other", "reports")
            ages.append(await worker.oldest_waiting_age())
            held = any_database.begin("work", 0, queue_name="mail", lock="one")  # so nobody takes the others
            for seconds in (-1000, 60, None):
                statement = """
                    INSERT INTO procrastinate_jobs (queue_name, task_name, lock, scheduled_at)
                    VALUES ('mail', 'work', 'one', now() - make_interval(secs => %s)) RETURNING id
                """
                ((job,),) = any_database.execute(statement, seconds)
                ages.append(await worker.oldest_waiting_age())
            statement = "UPDATE procrastinate_events SET at = now() - make_interval(secs => 3600) WHERE job_id = %s"
            any_database.execute(statement, job)
            ages.append(await worker.oldest_waiting_age())
            any_database.execute("DELETE FROM procrastinate_jobs WHERE lock = 'one' AND id <> %s", held)

        nothing, to_come, planned, both, deferred = ages
        assert (nothing, to_come) == (None, None)
        assert planned is not None
        assert both is not None
        assert deferred is not None
        assert 60 <= planned <= both < 3600 <= deferred

    async def test_tells_how_long_a_job_has_been_back(self, any_database: Database) -> None:
        """A job that a stop or a sweep has given back waits since then."""
        app = any_database.app()
        any_database.begin("work", 0, lock="one")  # so nobody takes the other
        job = any_database.begin("work", 0)
        statement = "SELECT procrastinate_retry_job_v2(%s, %s, NULL, NULL, 'one')"
        any_database.execute(statement, job, _retry.ABORTED_MARK)
        async with hosted(worker := ProcrastinateWorker(app, **{**QUICK, "stalled_after": 60})):
            age = await worker.oldest_waiting_age()

        assert age is not None
        assert 0 <= age < 3600

    async def test_keeps_to_its_own_queues(self, database: Database) -> None:
        """A worker with queues counts and lists those alone."""
        app = database.app()
        database.defer("one", "mail")
        database.defer("other", "reports")
        async with hosted(worker := ProcrastinateWorker(app, queues=["mail"], **QUICK)):
            await until(lambda: database.states() == ["failed", "todo"])
            counts = await worker.counts()
            failed = await worker.failed()
            details = worker.details()

        assert (counts["failed"], counts["todo"]) == (1, 0)
        assert [job.task for job in failed] == ["one"]
        assert details["queues"] == ["mail"]
        assert details["counts"] == counts

    async def test_retries_a_failed_job_with_all_its_attempts(self, any_database: Database) -> None:
        """A failed job that is retried runs at once, and begins anew; nothing else can be retried."""
        app = any_database.app()
        runs: list[int] = []

        @app.task(name="fail", retry=at_once(2))
        async def fail() -> None:
            runs.append(1)
            raise OSError

        async with hosted(worker := ProcrastinateWorker(app, **{**QUICK, "poll_every": 0.1})):
            number = any_database.defer("fail")
            await until(lambda: any_database.states() == ["failed"])
            assert await worker.retry(number)
            await until(lambda: len(runs) == 4)
            await until(lambda: any_database.states() == ["failed"])
            assert not await worker.retry(4711)
            any_database.execute("UPDATE procrastinate_jobs SET status = 'succeeded'")
            assert not await worker.retry(number)

    async def test_retries_a_job_that_was_to_be_cancelled(self, any_database: Database) -> None:
        """A job that failed while it was asked to abort runs again like any other, without being asked once more."""
        app = any_database.app()
        noting(app)
        number = any_database.begin("note", None, status="failed", abort_requested=True)
        async with hosted(worker := ProcrastinateWorker(app, **QUICK)):
            assert await worker.retry(number)
            await until(lambda: any_database.states() == ["succeeded"])

    async def test_does_not_retry_a_job_whose_place_is_taken(self, database: Database) -> None:
        """Another job that waits with its queueing lock is an error of the call."""
        app = database.app()
        database.begin("gone", None, queueing_lock="one", status="failed")
        database.defer_for_tomorrow("gone", "one")
        async with hosted(worker := ProcrastinateWorker(app, **QUICK)):
            with pytest.raises(AlreadyEnqueued, match="job 1 cannot be retried: another job waits"):
                await worker.retry(1)

        assert database.states() == ["failed", "todo"]

    async def test_cancels_a_job_that_waits(self, database: Database) -> None:
        """A job that waits is cancelled; one that has ended, or is not there, is not."""
        app = database.app()
        database.defer_for_tomorrow("later")
        async with hosted(worker := ProcrastinateWorker(app, **QUICK)):
            assert await worker.cancel(1)
            assert not await worker.cancel(1)
            assert not await worker.cancel(4711)

        assert database.states() == ["cancelled"]

    async def test_deletes_a_job_that_has_failed_and_no_other(self, database: Database) -> None:
        """Only failed jobs can be deleted."""
        app = database.app()
        database.begin("gone", None, status="failed")
        database.begin("gone", None, status="succeeded")
        async with hosted(worker := ProcrastinateWorker(app, **QUICK)):
            assert await worker.delete(1)
            assert not await worker.delete(1)
            assert not await worker.delete(2)

        assert database.states() == ["succeeded"]

    async def test_needs_a_worker_that_runs(self, database: Database) -> None:
        """Before the start and after the end every method says so."""
        worker = ProcrastinateWorker(database.app(), **QUICK)
        calls = [worker.counts(), worker.failed(), worker.recent(), worker.retry(1), worker.cancel(1), worker.delete(1)]
        for call in [*calls, worker.oldest_waiting_age(), worker.check()]:
            with pytest.raises(WorkerNotRunningError, match="the worker does not run"):
                await call

        assert worker.details()["concurrency"] == 10
        assert "running" not in worker.details()


async def test_shows_what_runs_and_where(database: Database) -> None:
    """The details name each job that runs, with its line, for async and blocking ones; JSON can hold them."""
    app = database.app()
    let_go, let_thread_go = asyncio.Event(), threading.Event()

    @app.task(name="wait")
    async def wait() -> None:
        await asyncio.wait_for(let_go.wait(), 60)

    @app.task(name="block")
    def block() -> None:
        let_thread_go.wait()

    async with hosted(worker := ProcrastinateWorker(app, **QUICK)):
        database.defer("wait")
        database.defer("block")
        await until(lambda: len(running_of(worker)) == 2 and all(job["waiting_at"] for job in running_of(worker)))
        await until(lambda: worker.details()["waiting"] == 0)
        details = json.loads(json.dumps(worker.details()))
        let_go.set()
        let_thread_go.set()

    assert details["connected"] is True
    assert {job["task"]: job["waiting_at"].rpartition(" ")[2].rpartition(".")[2] for job in details["running"]} == {
        "wait": "wait",
        "block": "block",
    }
    assert all(__file__ in job["waiting_at"] for job in details["running"])
    assert [job["attempt"] for job in details["running"]] == [1, 1]


def running_of(worker: ProcrastinateWorker) -> list[dict[str, Any]]:
    """Return the jobs that the details show."""
    jobs = worker.details()["running"]
    assert isinstance(jobs, list)
    return jobs


async def test_keeps_the_last_errors_only(database: Database) -> None:
    """So many errors are kept in memory; they go with the process."""
    app = database.app()

    @app.task(name="fail")
    async def fail(text: str) -> None:
        raise OSError(text)

    async with hosted(worker := ProcrastinateWorker(app, keep_failures=1, **QUICK)):
        for number in (1, 2):
            database.defer("fail", text=str(number))
            await until(lambda: database.states() == ["failed"] * number)  # noqa: B023  # awaited in the loop
        database.defer("fail", text="")
        await until(lambda: database.states() == ["failed"] * 3)
        errors = [job.error for job in await worker.failed()]

    assert errors == ["OSError", None, None]
    assert worker.details()["last_error"] == "OSError"


async def test_warns_of_more_blocking_jobs_than_threads(database: Database) -> None:
    """Blocking tasks share the loop's threads: a concurrency that these cannot give is told."""
    app = database.app()

    @app.task(name="block")
    def block() -> None: ...

    threads = min(32, (os.cpu_count() or 1) + 4)
    with log_lines("WARNING") as lines:
        async with hosted(ProcrastinateWorker(app, concurrency=threads, **QUICK)):
            pass
        assert lines == []
        async with hosted(ProcrastinateWorker(app, concurrency=threads + 1, **QUICK)):
            pass

    assert (
        f"blocking tasks (block) share the threads of the event loop's default executor, which are {threads}"
        in lines[0]
    )


async def test_options_of_the_engine_are_passed_on(database: Database, caplog: pytest.LogCaptureFixture) -> None:
    """Name, context, and middlewares of one's own are kept beside those of the service."""
    app = database.app()
    app.worker_defaults["delete_jobs"] = "successful"
    seen: list[object] = []

    @app.task(name="look", pass_context=True)
    async def look(context: JobContext) -> None:
        seen.append((context.worker_name, context.additional_context["shop"]))

    @app.task(name="block")
    def block() -> None: ...

    async def around(call_next: Any, context: JobContext, worker: object) -> object:  # noqa: ANN401  # a middleware
        seen.append("around")
        return await call_next()

    def in_thread(call_next: Any, context: JobContext, worker: object) -> object:  # noqa: ANN401  # a middleware
        seen.append("in thread")
        return call_next()

    options: dict[str, Any] = {
        "name": "orders",
        "additional_context": {"shop": "corner"},
        "worker_middleware": [around],
        "task_middleware": [in_thread],
    }
    caplog.set_level(logging.INFO, "procrastinate")
    async with hosted(ProcrastinateWorker(app, **QUICK, **options)):
        for task in ("look", "block"):
            database.defer(task)
            await until(lambda: not database.states())

    assert seen == ["around", ("orders", "corner"), "around", "in thread"]
    assert "procrastinate.worker.orders" in {record.name for record in caplog.records}
