"""What becomes of running jobs at the stop: finished, or given back while there is time."""

import asyncio
import logging
from typing import Any

import anyio
import pytest
from durable import QUICK, QUIET, SHORT, SOON, Database, Jobs, hosted, log_lines, no_engine_left, until
from procrastinate.exceptions import AppNotOpen, JobAborted
from procrastinate.job_context import JobContext

from hostkit import HostBuilder, HostFailedError, HostOptions, StoppingToken
from hostkit.ext.procrastinate import (
    JobCutError,
    JobsNotReturnedError,
    ProcrastinateWorker,
    _statements,
    retry_strategy,
)
from hostkit.jobs import Retry
from hostkit.testing import ManualStoppingToken


@pytest.fixture(params=["asyncio", "uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, object]]:
    """Both event loops on which procrastinate runs."""
    return "asyncio", {"use_uvloop": request.param == "uvloop"}


async def run_until_cut(jobs: Jobs, time_left: float) -> None:
    """Run a worker, and stop it with this time left while it runs a job."""
    token = ManualStoppingToken(time_left=time_left)
    async with anyio.create_task_group() as group:
        group.start_soon(jobs.worker().execute, token)
        jobs.database.defer("wait")
        await until(lambda: jobs.began)
        token.request_stop()


async def test_a_job_that_ends_in_time_is_finished(database: Database) -> None:
    """A running job may end within the shutdown timeout, and nothing new is begun."""
    jobs = Jobs(database)
    with log_lines() as lines:
        async with hosted(jobs.worker()) as host:
            database.defer("wait")
            await until(lambda: jobs.began)
            host.lifetime.request_stop()
            await until(lambda: "INFO jobs that run, and have 28.0 s: 1" in lines)
            database.defer("wait")
            await asyncio.sleep(0.1)
            jobs.let_go.set()

    assert jobs.ended == [1]
    assert database.states() == ["succeeded", "todo"]


async def test_a_job_that_does_not_is_given_back_and_run_by_another_worker_at_once(any_database: Database) -> None:
    """What still runs shortly before the cancellation goes back to the queue, and others hear of it without polling."""
    first, second = Jobs(any_database), Jobs(any_database)
    second.let_go.set()
    with log_lines() as lines:
        async with hosted(first.worker(concurrency=1), options=SHORT) as host:
            cut = any_database.defer("wait")
            await until(lambda: first.began == [cut])
            async with hosted(second.worker(poll_every=600)):
                other = any_database.defer("wait")
                await until(lambda: any_database.wake() or second.ended)  # it may not listen yet
                await until(lambda: any_database.states() == ["doing", "succeeded"])
                await host.stop()
                await until(lambda: second.ended == [other, cut])

    assert first.ended == []
    assert f"INFO back in the queue: wait[{cut}]" in lines
    assert any_database.states() == ["succeeded", "succeeded"]


@pytest.mark.parametrize("retry", [False, True])
async def test_a_task_may_be_registered_after_the_start(database: Database, retry: bool) -> None:  # noqa: FBT001  # a parameter
    """A job is given back whenever its task was registered, and whether or not it is retried; that is no failure."""
    jobs = Jobs(database)
    async with hosted(jobs.worker(), options=SHORT) as host:
        jobs.app.task(name="late", pass_context=True, retry=retry)(jobs.wait)
        database.defer("late")
        await until(lambda: jobs.began)

    assert host.lifetime.exit_code == 0
    assert database.states() == ["todo"]


async def test_a_cut_is_one_line_in_the_log(database: Database, caplog: pytest.LogCaptureFixture) -> None:
    """The engine says that a job was aborted, without a traceback."""
    jobs = Jobs(database)
    caplog.set_level(logging.INFO, "procrastinate")
    async with hosted(jobs.worker(), options=SHORT):
        database.defer("wait")
        await until(lambda: jobs.began)

    (record,) = [record for record in caplog.records if "ended with status" in record.message]
    assert "Aborted, to retry" in record.message
    assert record.exc_info is None


async def test_a_cancelled_job_is_one_line_in_the_log(database: Database, caplog: pytest.LogCaptureFixture) -> None:
    """That a job was cancelled, as somebody asked for, is told without a traceback."""
    jobs = Jobs(database)
    caplog.set_level(logging.INFO, "procrastinate")
    async with hosted(worker := jobs.worker(), options=SHORT):
        number = database.defer("wait")
        await until(lambda: jobs.began)
        assert await worker.cancel(number)
        await until(lambda: database.states() == ["aborted"])

    (record,) = [record for record in caplog.records if "ended with status" in record.message]
    assert "Aborted," in record.message
    assert record.exc_info is None


async def test_workers_may_share_an_app(database: Database) -> None:
    """The app stays open until the last of its workers has ended, whichever has opened it."""
    jobs = Jobs(database)
    builder = HostBuilder(QUIET)
    builder.add_services(jobs.worker(queues=["default"]), jobs.worker(queues=["other"]))
    builder.add_service(jobs.worker(queues=["third"]))
    async with builder.build() as host:
        database.defer("wait")
        await until(lambda: jobs.began)
        host.lifetime.request_stop()
        await until(lambda: [service.state for service in host.status().services][1] == "stopped")
        jobs.let_go.set()

    assert host.lifetime.exit_code == 0
    assert database.states() == ["succeeded"]
    with pytest.raises(AppNotOpen):
        await jobs.app.check_connection_async()


async def test_a_cut_that_is_slow_to_be_confirmed_is_confirmed(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a database that is far away, seeing what has become of the jobs takes what the stop leaves of its time."""
    kept = _statements.kept

    async def far(*given: Any) -> dict[int, str]:  # noqa: ANN401  # of the function that it stands for
        await anyio.sleep(0.4)
        return await kept(*given)

    monkeypatch.setattr(_statements, "kept", far)
    jobs = Jobs(database)
    with log_lines() as lines:
        await run_until_cut(jobs, time_left=1.8)

    assert database.states() == ["todo"]
    assert "INFO back in the queue: wait[1]" in lines


async def test_a_job_that_cleans_up_is_given_back_after_the_cancellation(database: Database) -> None:
    """A job whose service is cancelled, as by a second signal, has a second to clean up."""
    jobs = Jobs(database)
    jobs.cleanup = 0.5
    await run_until_cut(jobs, time_left=0)

    assert database.states() == ["todo"]


async def test_jobs_without_a_limit_have_as_long_as_they_take(database: Database) -> None:
    """Where nothing is going to cancel the service, nothing is cut."""
    jobs = Jobs(database)
    token = ManualStoppingToken()
    async with anyio.create_task_group() as group:
        worker = jobs.worker()
        group.start_soon(worker.execute, token)
        database.defer("wait")
        await until(lambda: jobs.began)
        token.request_stop()
        await anyio.sleep(0.1)
        jobs.let_go.set()

    assert database.states() == ["succeeded"]


@pytest.mark.parametrize("error", [JobCutError, JobAborted])
async def test_a_job_that_hears_of_the_stop_may_give_up(database: Database, error: type[Exception]) -> None:
    """A job whose token is set may go back by itself, before it is cut."""
    app = database.app()
    began: list[float] = []

    @app.task(name="listen", pass_context=True)
    async def listen(context: JobContext) -> None:
        token: StoppingToken = context.additional_context["stopping_token"]
        began.append(1)
        await token.wait()
        raise error

    with log_lines() as lines:
        async with hosted(ProcrastinateWorker(app, **QUICK)) as host:
            database.defer("listen")
            await until(lambda: began)

    assert host.lifetime.exit_code == 0
    assert database.states() == ["todo"]
    assert "INFO back in the queue: listen[1]" in lines


@pytest.mark.parametrize(("error", "state"), [(JobCutError, "failed"), (JobAborted, "aborted")])
async def test_giving_up_without_a_stop_ends_a_job(database: Database, error: type[Exception], state: str) -> None:
    """Nothing goes back to the queue without a stop: that would never end."""
    app = database.app()
    runs: list[int] = []

    @app.task(name="give-up")
    async def give_up() -> None:
        runs.append(1)
        raise error

    async with hosted(ProcrastinateWorker(app, **QUICK)):
        database.defer("give-up")
        await until(lambda: database.states() == [state])

    assert len(runs) == 1


async def test_a_cancellation_of_the_jobs_own_is_a_failure(database: Database) -> None:
    """A job that awaits what somebody else cancels fails, with its retries; it does not loop."""
    app = database.app()
    runs: list[int] = []

    @app.task(name="cancelled", retry=retry_strategy(Retry(attempts=2, backoff=lambda _: 0)))
    async def cancelled() -> None:
        runs.append(1)
        future: asyncio.Future[None] = asyncio.Future()
        future.cancel()
        await future

    async with hosted(worker := ProcrastinateWorker(app, **{**QUICK, "poll_every": 0.1})):
        database.defer("cancelled")
        await until(lambda: database.states() == ["failed"])
        (failed,) = await worker.failed()

    assert len(runs) == 2
    assert failed.error is not None
    assert failed.error.startswith("JobCancelledError: ")


async def test_a_users_abort_is_neither_retried_nor_a_failure(database: Database) -> None:
    """A job that somebody cancels while it runs is aborted, also when it would be retried."""
    jobs = Jobs(database)
    jobs.app.task(name="stubborn", pass_context=True, retry=True)(jobs.wait)
    async with hosted(worker := jobs.worker()):
        number = database.defer("stubborn")
        await until(lambda: jobs.began)
        assert await worker.cancel(number)
        await until(lambda: database.states() == ["aborted"])

    assert jobs.began == [number]


async def test_a_job_can_be_cancelled_while_the_stop_waits_for_it(database: Database) -> None:
    """A job that runs is asked to abort, also when its worker fetches no more."""
    jobs = Jobs(database)
    with log_lines() as lines:
        async with hosted(worker := jobs.worker(), options=HostOptions(log_level="ERROR", shutdown_timeout=10)) as host:
            number = database.defer("wait")
            await until(lambda: jobs.began)
            host.lifetime.request_stop()
            await until(lambda: "INFO jobs that run, and have 8.0 s: 1" in lines)
            assert await worker.cancel(number)

    assert database.states() == ["aborted"]


async def test_a_cut_job_that_was_to_be_cancelled_is_not_said_to_be_back(database: Database) -> None:
    """A job that is asked to abort while the stop cuts it ends as failed, and that is what the log says."""
    app = database.app()
    began = asyncio.Event()

    @app.task(name="wait")
    async def wait() -> None:
        began.set()
        try:
            await asyncio.Event().wait()
        finally:
            database.execute("UPDATE procrastinate_jobs SET abort_requested = true")

    options = HostOptions(log_level="ERROR", shutdown_timeout=4)
    with log_lines() as lines:
        async with hosted(ProcrastinateWorker(app, **QUICK), options=options) as host:
            database.defer("wait")
            await began.wait()

    assert host.lifetime.exit_code == 0
    assert database.states() == ["failed"]
    assert "INFO failed, as they were to be cancelled: wait[1]" in lines
    assert not any("back in the queue" in line for line in lines)


async def test_a_cut_job_that_another_worker_has_by_now_stays_there(database: Database) -> None:
    """A worker that was paused until others took its jobs over gives none of those back, for they run there."""
    jobs = Jobs(database)
    async with hosted(jobs.worker(), options=SHORT) as host:
        database.defer("wait")
        await until(lambda: jobs.began)
        other = database.execute("INSERT INTO procrastinate_workers DEFAULT VALUES RETURNING id")[0][0]
        database.execute("UPDATE procrastinate_jobs SET attempts = attempts + 1, worker_id = %s", other)

    assert host.lifetime.exit_code == 0
    assert database.execute("SELECT status, worker_id FROM procrastinate_jobs") == [("doing", other)]


@pytest.mark.parametrize("retry", [True, False])
async def test_a_failure_of_a_job_that_another_worker_has_by_now_is_not_written_down(
    database: Database,
    retry: bool,  # noqa: FBT001  # a parameter
) -> None:
    """A worker that was paused until others took its jobs over has nothing to say of their runs there."""
    app = database.app()
    began, let_go = asyncio.Event(), asyncio.Event()

    @app.task(name="fail", retry=retry)
    async def fail() -> None:
        began.set()
        await let_go.wait()
        raise OSError

    async with hosted(worker := ProcrastinateWorker(app, **QUICK)):
        database.defer("fail")
        await began.wait()
        other = database.execute("INSERT INTO procrastinate_workers DEFAULT VALUES RETURNING id")[0][0]
        database.execute("UPDATE procrastinate_jobs SET attempts = attempts + 1, worker_id = %s", other)
        let_go.set()
        await until(lambda: not worker.details()["running"])

    assert database.execute("SELECT status, worker_id FROM procrastinate_jobs") == [("doing", other)]


async def test_heartbeats_go_on_while_jobs_finish(database: Database) -> None:
    """A stop may take longer than it takes until a worker counts as dead: its jobs are not taken from it."""
    first, second = Jobs(database), Jobs(database)
    async with hosted(first.worker(), options=HostOptions(log_level="ERROR", shutdown_timeout=8)) as host:
        database.defer("wait")
        await until(lambda: first.began)
        host.lifetime.request_stop()
        await host.lifetime.wait_stopping()
        async with hosted(second.worker()):
            began = anyio.current_time()
            await until(lambda: anyio.current_time() - began > 3 * QUICK["stalled_after"])
            first.let_go.set()
            await until(lambda: database.states() == ["succeeded"])

    assert second.began == []
    assert database.execute("SELECT attempts FROM procrastinate_jobs") == [(1,)]


async def test_a_job_that_ignores_its_cancellation_is_named(database: Database) -> None:
    """An async job that goes on after it was cut keeps its row, and is a failure of the host."""
    app = database.app()
    began = asyncio.Event()
    let_go = asyncio.Event()

    @app.task(name="stubborn")
    async def stubborn() -> None:
        began.set()
        while not let_go.is_set():
            try:
                await let_go.wait()
            except asyncio.CancelledError:
                continue

    with log_lines("WARNING") as lines:
        try:
            with pytest.raises(HostFailedError) as caught:
                async with hosted(ProcrastinateWorker(app, **QUICK), options=SHORT):
                    database.defer("stubborn")
                    await until(began.is_set)
        finally:
            states = database.states()
            let_go.set()
            await no_engine_left()

    assert states == ["doing"]
    assert any(isinstance(error, JobsNotReturnedError) for error in caught.value.exceptions)
    assert any("goes on in spite of the stop, at" in line for line in lines)


async def test_a_job_whose_place_is_taken_is_not_said_to_be_back(database: Database) -> None:
    """Where another job waits with its queueing lock, a cut job stays where it is, and that is said."""
    jobs = Jobs(database)
    with log_lines() as lines, pytest.RaisesGroup(JobsNotReturnedError):
        async with hosted(jobs.worker(), options=SHORT):
            cut = await jobs.app.configure_task("wait", queueing_lock="one").defer_async()
            await until(lambda: jobs.began)
            await jobs.app.configure_task(
                "wait", queueing_lock="one", queue="elsewhere", schedule_in={"days": 1}
            ).defer_async()
    later = Jobs(database)
    states = database.states()
    async with hosted(later.worker()):
        database.execute("DELETE FROM procrastinate_jobs WHERE id <> %s", cut)
        await until(lambda: later.began == [cut])
        later.let_go.set()

    assert states == ["doing", "todo"]
    assert not any("back in the queue" in line for line in lines)


async def test_a_stop_takes_no_attempt(database: Database) -> None:
    """A run that was cut does not count: the job has all its attempts."""
    app = database.app()
    runs: list[int] = []
    waits = [True]

    @app.task(name="fail", retry=retry_strategy(Retry(attempts=2, backoff=lambda _: 0)))
    async def fail() -> None:
        runs.append(1)
        if waits[0]:
            await asyncio.Event().wait()
        raise OSError

    polling = {**QUICK, "poll_every": 0.1}
    for number in (1, 2):
        async with hosted(ProcrastinateWorker(app, **polling), options=SHORT):
            if number == 1:
                database.defer("fail")
            await until(lambda: len(runs) == number)  # noqa: B023  # awaited in the loop
    waits[0] = False
    async with hosted(ProcrastinateWorker(app, **polling)):
        await until(lambda: database.states() == ["failed"])

    assert len(runs) == 2 + 2


async def test_a_stop_without_a_database_is_quick(database: Database) -> None:
    """With no job running, a worker that cannot take itself off ends all the same, and that is no failure."""
    jobs = Jobs(database)
    async with hosted(worker := jobs.worker(backoff=SOON)) as host:
        with database.away():
            await until(lambda: worker.details()["connected"] is False)
            await host.stop()

    assert host.lifetime.exit_code == 0
