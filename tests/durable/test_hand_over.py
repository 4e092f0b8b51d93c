"""What a queue in memory would lose goes to the engine."""

from typing import Any

import anyio
import procrastinate
import pytest
from durable import Database, hosted, log_lines
from procrastinate.job_context import JobContext

from hostkit import HostFailedError, HostkitError, HostOptions, StopTimeoutError
from hostkit.ext.procrastinate import hand_over
from hostkit.jobs import JobQueue, JobState

SHORT = HostOptions(log_level="CRITICAL", shutdown_timeout=0.1, cancellation_timeout=30)


class Mail:
    """An app with tasks of several shapes."""

    def __init__(self, database: Database) -> None:
        self.app = app = database.app()
        self.began = anyio.Event()

        @app.task(name="mail.welcome", queue="mail", lock="mail")
        async def welcome(user: int, greeting: str = "hello", **more: object) -> None:
            self.began.set()
            await anyio.sleep_forever()

        @app.task(name="mail.remind")
        def remind(user: int) -> None: ...

        @app.task(name="mail.trace", pass_context=True)
        def trace(context: JobContext, user: int) -> None: ...

        @app.task(name="mail.send")
        def send(user: int, /) -> None: ...

        @app.task(name="mail.all")
        def everyone(*users: int) -> None: ...

        self.welcome, self.remind, self.send, self.everyone = welcome, remind, send, everyone
        self.trace: Any = trace  # in a queue there is no context


async def test_jobs_that_would_be_lost_are_jobs_of_the_engine(any_database: Database) -> None:
    """Running and waiting jobs go, with their arguments by name; key and delay are kept."""
    mail = Mail(any_database)
    queue = JobQueue(concurrency=1, on_lost=hand_over(mail.app))
    with pytest.RaisesGroup(StopTimeoutError):  # of the job that had to be cancelled
        async with mail.app.open_async(), hosted(queue, options=SHORT):
            await queue.enqueue(mail.welcome.func, 1, greeting="hi", language="en")
            await mail.began.wait()
            await queue.with_options(key=7).enqueue(mail.welcome.func, 2)
            await queue.enqueue_in(3600, mail.remind, 3)
            await queue.enqueue_in(3600, mail.trace, 4)

    rows = any_database.execute(
        "SELECT task_name, queue_name, lock, queueing_lock, args, scheduled_at IS NULL "
        "FROM procrastinate_jobs ORDER BY id"
    )
    assert rows == [
        ("mail.welcome", "mail", "mail", None, {"user": 1, "greeting": "hi", "language": "en"}, True),
        ("mail.welcome", "mail", "mail", "7", {"user": 2}, True),
        ("mail.remind", "default", None, None, {"user": 3}, False),
        ("mail.trace", "default", None, None, {"user": 4}, False),
    ]
    ((left,),) = any_database.execute(
        "SELECT extract(epoch FROM max(scheduled_at) - now())::int FROM procrastinate_jobs"
    )
    assert 3500 < left <= 3600


async def test_a_long_queue_goes_in_few_statements(database: Database) -> None:
    """A stop has little time: many jobs are handed over at once, not one after the other."""
    mail = Mail(database)
    queue = JobQueue(on_lost=hand_over(mail.app))
    async with hosted(queue, options=SHORT):
        queue.pause()
        for user in range(501):
            await queue.enqueue(mail.remind, user)

    assert database.execute("SELECT count(*), count(DISTINCT xmin::text) FROM procrastinate_jobs") == [(501, 2)]


async def test_the_app_is_opened_for_it(database: Database) -> None:
    """An app that is not open is opened while jobs are handed over."""
    mail = Mail(database)
    queue = JobQueue(on_lost=hand_over(mail.app))
    async with hosted(queue) as host:
        await queue.enqueue_in(3600, mail.remind, 3)
        await host.stop()

    assert database.states() == ["todo"]
    with pytest.raises(procrastinate.exceptions.AppNotOpen):
        await mail.app.check_connection_async()


async def test_a_job_with_a_key_that_waits_already_stands_for_both(database: Database) -> None:
    """Where one waits with the key as its queueing lock, there is no second one, and no loss."""
    mail = Mail(database)
    queue = JobQueue(on_lost=hand_over(mail.app))
    async with mail.app.open_async():
        await mail.app.configure_task("mail.remind", queueing_lock="one").defer_async(user=1)
        async with hosted(queue) as host:
            await queue.with_options(key="one").enqueue_in(3600, mail.remind, 3)
            await host.stop()

    assert database.states() == ["todo"]
    assert host.lifetime.exit_code == 0


async def test_what_cannot_be_handed_over_is_named_and_a_failure(database: Database) -> None:
    """What is no task, what JSON cannot hold and what cannot be given by name keep no other job from being saved."""
    mail = Mail(database)
    queue = JobQueue(on_lost=hand_over(mail.app))
    with log_lines("ERROR") as lines, pytest.raises(HostFailedError) as caught:
        async with mail.app.open_async(), hosted(queue) as host:
            await queue.enqueue_in(3600, print, 1)
            await queue.enqueue_in(3600, mail.trace, object())
            await queue.enqueue_in(3600, mail.send, 1)
            await queue.enqueue_in(3600, mail.everyone, 1, 2)
            job = await queue.enqueue_in(3600, mail.remind, 3)
            await host.stop()

    (error,) = caught.value.exceptions
    assert isinstance(error, HostkitError)
    assert str(error) == "4 of 5 jobs could not be handed over to procrastinate, and are lost"
    assert [line.partition(":")[0] for line in lines if "handed over:" in line] == [
        "ERROR job 1 print was not handed over",
        "ERROR job 2 trace was not handed over",
        "ERROR job 3 send was not handed over",
        "ERROR job 4 everyone was not handed over",
    ]
    assert any("procrastinate gives arguments by name, and *users: int takes none" in line for line in lines)
    assert job.state is JobState.LOST
    assert database.states() == ["todo"]
