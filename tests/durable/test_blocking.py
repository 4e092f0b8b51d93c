"""Blocking jobs, on threads, which nobody can cancel: what becomes of them at the stop."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from durable import QUICK, SHORT, Database, hosted, log_lines, no_engine_left, until
from procrastinate.exceptions import JobAborted
from procrastinate.job_context import JobContext

from hostkit.ext.procrastinate import JobsNotReturnedError, ProcrastinateWorker


@pytest.fixture(params=["asyncio", "uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, object]]:
    """Both event loops on which procrastinate runs."""
    return "asyncio", {"use_uvloop": request.param == "uvloop"}


class Block:
    """An app with a task ``block``, whose jobs block their thread until they are let go."""

    def __init__(self, database: Database) -> None:
        self.app = database.app()
        self.ran: list[int | None] = []
        self.began, self.let_go = threading.Event(), threading.Event()
        self.app.task(name="block", pass_context=True)(self.block)

    def block(self, context: JobContext) -> None:
        self.ran.append(context.job.id)
        self.began.set()
        self.let_go.wait()

    def worker(self) -> ProcrastinateWorker:
        return ProcrastinateWorker(self.app, **QUICK)


async def test_one_that_asks_goes_back(database: Database) -> None:
    """A blocking job hears by ``should_abort()`` that it is cut."""
    app = database.app()
    began = threading.Event()

    @app.task(name="block", pass_context=True)
    def block(context: JobContext) -> None:
        began.set()
        while not context.should_abort():
            threading.Event().wait(0.01)
        raise JobAborted

    async with hosted(ProcrastinateWorker(app, **QUICK), options=SHORT) as host:
        database.defer("block")
        await until(began.is_set)

    assert host.lifetime.exit_code == 0
    assert database.states() == ["todo"]


async def test_one_that_ends_in_time_has_succeeded(database: Database) -> None:
    """A blocking job that goes on to its end is not run again."""
    job = Block(database)
    async with hosted(job.worker()) as host:
        database.defer("block")
        await until(job.began.is_set)
        host.lifetime.request_stop()
        await host.lifetime.wait_stopping()
        job.let_go.set()

    assert database.states() == ["succeeded"]


async def test_one_that_raises_stop_iteration_has_failed(database: Database) -> None:
    """``next()`` of nothing is a failure like any other, although a future cannot hold what it raises."""
    app = database.app()

    @app.task(name="first")
    def first() -> object:
        return next(iter([]))

    async with hosted(worker := ProcrastinateWorker(app, **QUICK)):
        database.defer("first")
        await until(lambda: database.states() == ["failed"])
        (failed,) = await worker.failed()

    assert failed.error == "RuntimeError: the job raised StopIteration"


async def test_one_that_does_not_is_never_given_back_while_its_thread_runs(database: Database) -> None:
    """A blocking job that ignores the stop keeps its row, is named with its line, and is a failure of the host."""
    job = Block(database)
    with log_lines("WARNING") as lines, pytest.RaisesGroup(JobsNotReturnedError) as caught:
        try:
            async with hosted(job.worker(), options=SHORT):
                database.defer("block")
                await until(job.began.is_set)
        finally:
            states = database.states()
            job.let_go.set()
            await no_engine_left()

    assert states == ["doing"]
    assert "1 job could not be given back (block[1]): it runs again 0.7 s later" in str(caught.value.exceptions[0])
    (line,) = [line for line in lines if "goes on in spite of the stop" in line]
    assert f"{__file__}:" in line
    assert line.endswith("block")


async def test_one_that_waits_for_a_thread_is_not_begun_any_more(database: Database) -> None:
    """A blocking job that the loop has no thread for when it is cut goes back without having run."""
    job = Block(database)
    asyncio.get_running_loop().set_default_executor(executor := ThreadPoolExecutor(1))
    try:
        with pytest.RaisesGroup(JobsNotReturnedError):
            async with hosted(job.worker(), options=SHORT):
                database.defer("block")
                await until(job.began.is_set)
                database.defer("block")
                await until(lambda: database.states() == ["doing", "doing"])
        states = database.states()
    finally:
        job.let_go.set()
        executor.shutdown()
        await no_engine_left()

    assert states == ["doing", "todo"]
    assert job.ran == [1]


async def test_a_cancelled_one_is_not_over_before_its_thread(database: Database) -> None:
    """When the loop cancels everything, the outcome of a blocking job waits for its thread."""
    job = Block(database)
    async with hosted(job.worker()):
        number = database.defer("block")
        await until(job.began.is_set)
        (task,) = [task for task in asyncio.all_tasks() if task.get_name() == f"process job block[{number}]"]
        task.cancel()
        await asyncio.sleep(0.1)
        before = database.states()
        job.let_go.set()
        await until(lambda: database.states() != ["doing"])

    assert before == ["doing"]
    assert database.states() == ["failed"]
