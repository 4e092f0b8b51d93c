"""What the page's buttons do: each verb, its answer, its line in the log, and what is refused."""

import json
from collections.abc import Iterator
from typing import Any

import anyio
import pytest
from asgi_client import Client
from dashboard_durable import Engine, FailedJob
from dashboard_host import TOKEN, Scene, fail, forever, nothing, scene
from loguru import logger
from puppet import QUIET, Puppet

from hostkit import EndAction, HostBuilder, HostOptions, Restart
from hostkit.ext.dashboard import dashboard_app
from hostkit.jobs import JobState
from hostkit.scheduling import Every, Scheduler

pytestmark = pytest.mark.needs("starlette", "prometheus_client")


@pytest.fixture
def lines() -> Iterator[list[str]]:
    """What is logged through loguru."""
    logged: list[str] = []
    sink = logger.add(lambda line: logged.append(line.rstrip()), format="{level}: {message}", level="INFO")
    yield logged
    logger.remove(sink)


async def done(found: Scene, verb: str, **target: object) -> str:
    """Do what was asked, and return what was said."""
    answer = await found.client.act(verb, **target)
    assert answer.status == 200, answer
    return str(answer.json()["done"])


async def refused(found: Scene, verb: str, **target: object) -> tuple[int, str]:
    """Ask for what is refused, and return why."""
    answer = await found.client.act(verb, **target)
    return answer.status, answer.json()["error"]


class TestSchedules:
    async def test_run_now(self) -> None:
        """A run begins at once."""
        async with scene() as found:
            said = await done(found, "run-now", kind="schedule", name="hourly", scheduler="scheduler")
            await anyio.sleep(1)
            history = found.scheduler.jobs["hourly"].history

        assert said == "Run of hourly began."
        assert len(history) == 1

    async def test_a_name_that_has_no_encoding(self) -> None:
        """It is answered by number."""
        async with scene() as found:
            found.scheduler.add(nothing, Every(hours=1), name="\ud800")
            said = await done(found, "pause", kind="schedule", name="\ud800")

        assert said == "\ud800 is paused."

    async def test_pause_and_resume(self) -> None:
        """A schedule is paused, and resumed."""
        async with scene() as found:
            first = await done(found, "pause", kind="schedule", name="hourly")
            paused = (await found.status())["schedules"][0]
            second = await done(found, "resume", kind="schedule", name="hourly")
            await anyio.sleep(0.3)
            resumed = (await found.status())["schedules"][0]

        assert (first, second) == ("hourly is paused.", "hourly goes on.")
        assert (paused["paused"], paused["next_run"]) == (True, None)
        assert resumed["paused"] is False
        assert resumed["next_run"]

    async def test_of_two_schedulers(self) -> None:
        """The scheduler tells which of two jobs of one name is meant."""

        def prepare(builder: HostBuilder) -> None:
            builder.add_service(Scheduler(), name="other").add(nothing, Every(hours=1), name="hourly")

        async with scene(prepare) as found:
            await done(found, "pause", kind="schedule", name="hourly", scheduler="other")
            paused = {row["scheduler"]: row["paused"] for row in (await found.status())["schedules"]}

        assert paused == {"scheduler": False, "other": True}

    async def test_one_that_was_removed(self) -> None:
        """It is said that it is not there any more."""
        async with scene() as found:
            found.scheduler.jobs["hourly"].remove()
            why = await refused(found, "run-now", kind="schedule", name="hourly")

        assert why == (409, "job 'hourly' is not there any more")

    async def test_all_jobs_of_a_scheduler(self) -> None:
        """A scheduler is paused as a whole."""
        async with scene() as found:
            said = await done(found, "pause", kind="service", name="scheduler")
            row = (await found.status())["services"][2]
            await done(found, "resume", kind="service", name="scheduler")

        assert said == "scheduler is paused."
        assert row["paused"]
        assert not found.scheduler.paused


class TestQueues:
    async def test_pause_and_resume(self) -> None:
        """A queue is paused, and resumed."""
        async with scene() as found:
            first = await done(found, "pause", kind="queue", name="mail")
            paused = (await found.status())["queues"][0]["paused"]
            second = await done(found, "resume", kind="queue", name="mail")

        assert (first, second) == ("mail is paused.", "mail goes on.")
        assert paused
        assert not found.queue.paused

    async def test_requeue_one(self) -> None:
        """A failed job is run once more, and leaves the list of the failed ones."""
        async with scene() as found:
            await (await found.queue.enqueue(fail)).wait()
            said = await done(found, "requeue", kind="queue", name="mail", id=1)
            await anyio.sleep(1)
            failed = [job.id for job in found.queue.failed]

        assert said == "Job 1 is back in mail."
        assert failed == [2]

    async def test_requeue_all(self) -> None:
        """Each failed job is run once more."""
        async with scene() as found:
            for _ in range(3):
                await found.queue.enqueue(fail)
            await anyio.sleep(1)
            said = await done(found, "requeue-all", kind="queue", name="mail")
            await anyio.sleep(1)
            failed = [job.id for job in found.queue.failed]

        assert said == "3 jobs are back in mail."
        assert failed == [4, 5, 6]

    async def test_requeue_all_of_which_some_cannot(self) -> None:
        """Those that cannot go back stay where they are, and it is said why."""
        async with scene(queue={"capacity": 2, "concurrency": 1}) as found:
            for _ in range(3):
                await (await found.queue.enqueue(fail)).wait()
            await found.queue.enqueue(forever)
            await anyio.sleep(1)
            said = await done(found, "requeue-all", kind="queue", name="mail")
            failed = len(found.queue.failed)

        assert said.startswith("2 of 3 are back; 1 is not: ")
        assert "full" in said
        assert failed == 1

    async def test_requeue_all_of_which_one_has_a_key_that_is_taken(self) -> None:
        """That one stays failed, and does not keep the others from going back."""
        async with scene() as found:
            queue = found.queue.with_options(key="invoice 7")
            await (await queue.enqueue(fail)).wait()
            await (await found.queue.enqueue(fail)).wait()
            await queue.enqueue(forever)
            await anyio.sleep(1)
            said = await done(found, "requeue-all", kind="queue", name="mail")

        assert said.startswith("1 of 2 are back; 1 is not: ")

    async def test_requeue_all_of_which_none_can(self) -> None:
        """Where nothing could be done, it is an error."""
        async with scene(queue={"capacity": 1, "concurrency": 1}) as found:
            await (await found.queue.enqueue(fail)).wait()
            await found.queue.enqueue(forever)
            await anyio.sleep(1)
            await found.queue.enqueue(nothing)
            full = await refused(found, "requeue-all", kind="queue", name="mail")
            one = await refused(found, "requeue", kind="queue", name="mail", id=1)

        assert full[0] == one[0] == 409
        assert "full" in full[1]

    async def test_requeue_all_of_none(self) -> None:
        """Two people may have had the same thought."""
        async with scene() as found:
            assert await refused(found, "requeue-all", kind="queue", name="mail") == (409, "there is none any more")

    async def test_requeue_of_what_has_not_failed(self) -> None:
        """A job that runs cannot be requeued."""
        async with scene() as found:
            await found.queue.enqueue(forever)
            await anyio.sleep(1)
            status, _ = await refused(found, "requeue", kind="queue", name="mail", id=1)

        assert status == 409

    async def test_cancel(self) -> None:
        """A job that runs is cancelled; one that has ended is not."""
        async with scene() as found:
            job = await found.queue.enqueue(forever)
            await anyio.sleep(1)
            said = await done(found, "cancel", kind="queue", name="mail", id=1)
            await anyio.sleep(1)
            await (await found.queue.enqueue(fail)).wait()
            again = await refused(found, "cancel", kind="queue", name="mail", id=2)

        assert said == "Job 1 is cancelled."
        assert job.state is JobState.CANCELLED
        assert again == (409, "job 2 has ended already")

    async def test_discard(self) -> None:
        """A failed job is forgotten."""
        async with scene() as found:
            await (await found.queue.enqueue(fail)).wait()
            said = await done(found, "discard", kind="queue", name="mail", id=1)

        assert said == "Job 1 is forgotten."
        assert not found.queue.failed

    @pytest.mark.parametrize("number", [99, None, -1, 10**30])
    async def test_a_job_that_is_not_there(self, number: int | None) -> None:
        """A number that no job has, or has any more."""
        async with scene() as found:
            await (await found.queue.enqueue(fail)).wait()
            status, why = await refused(found, "requeue", kind="queue", name="mail", id=number)

        assert status == 409
        assert why == f"job {number!r} is not there any more"


class TestServices:
    async def test_restart(self) -> None:
        """A service that runs is told to stop, and started again."""
        async with scene() as found:
            said = await done(found, "restart", kind="service", name="worker")
            await anyio.sleep(1)
            row = (await found.status())["services"][0]

        assert said == "worker was restarted."
        assert row["state"] == "started"
        assert found.worker.runs == 2

    async def test_restart_of_one_that_failed(self) -> None:
        """A service whose failure was ignored runs again."""
        async with scene(worker={"on_failure": EndAction.IGNORE}) as found:
            found.worker.fail(OSError())
            await anyio.sleep(1)
            await done(found, "restart", kind="service", name="worker")
            await anyio.sleep(1)
            row = (await found.status())["services"][0]

        assert row["state"] == "started"

    async def test_restart_of_one_that_waits_for_it(self) -> None:
        """It does not wait any longer."""
        async with scene(worker={"on_failure": Restart(limit=None)}) as found:
            found.worker.fail(OSError())
            await anyio.sleep(0.1)
            await done(found, "restart", kind="service", name="worker")
            await anyio.sleep(0.1)
            row = (await found.status())["services"][0]

        assert row["state"] == "started"
        assert found.worker.runs == 2

    async def test_the_dashboard_does_not_restart_itself(self) -> None:
        """It would have to wait for the request that asks for it."""
        builder = HostBuilder(QUIET)
        client = Client(dashboard_app(builder, actions=True))

        class Shown(Puppet):
            shows_host = True

        builder.add_service(Shown(), name="dashboard")
        async with builder.build():
            answer = await client.act("restart", kind="service", name="dashboard")
            role = (await client.get("/status.json")).json()["services"][0]["role"]

        assert (answer.status, answer.json()) == (409, {"error": "the dashboard does not restart itself"})
        assert role == "dashboard"

    async def test_a_restart_that_takes_long(self) -> None:
        """The client gets its answer after a bounded time; the restart goes on."""

        class Slow(Puppet):
            async def start(self) -> None:
                await anyio.sleep(60 * len(self.calls))
                await super().start()

        async with scene(lambda builder: builder.add_service(Slow(), name="slow")) as found:
            began = anyio.current_time()
            said = await done(found, "restart", kind="service", name="slow")
            took = anyio.current_time() - began
            await anyio.sleep(300)
            state = {row["name"]: row["state"] for row in (await found.status())["services"]}["slow"]

        assert said == "slow is being restarted, and is not ready yet."
        assert took == 30
        assert state == "started"

    @pytest.mark.parametrize(
        ("verb", "target", "status", "why"),
        [
            ("restart", {"kind": "service", "name": "missing"}, 409, "service 'missing' is not there any more"),
            ("restart", {}, 409, "service '' is not there any more"),
            ("pause", {"kind": "service", "name": "worker"}, 400, "pause is nothing that worker can do"),
            ("pause", {"kind": "queue", "name": "missing"}, 409, "queue 'missing' is not there any more"),
            ("requeue", {"kind": "service", "name": "worker", "id": 1}, 400, "requeue is nothing that worker can do"),
            ("requeue", {"kind": "schedule", "name": "hourly"}, 400, "requeue is nothing that a schedule can do"),
            ("retry", {"kind": "durable", "name": "mail"}, 409, "durable worker 'mail' is not there any more"),
            ("explode", {"kind": "service", "name": "worker"}, 404, "there is no action 'explode'"),
            ("requeue", {"kind": "queue", "name": "mail", "id": "1"}, 400, 'id is a number, got "1"'),
            ("requeue", {"kind": "queue", "name": "mail", "id": True}, 400, "id is a number, got true"),
            ("requeue", {"kind": "queue", "name": "mail", "id": 1.0}, 400, "id is a number, got 1.0"),
            ("restart", {"kind": [], "name": "worker"}, 400, "kind is text, got []"),
            ("stop", {"name": {}}, 400, "name is text, got {}"),
        ],
    )
    async def test_what_cannot_be_done(self, verb: str, target: dict[str, Any], status: int, why: str) -> None:
        """Each is refused, and says why."""
        async with scene() as found:
            assert await refused(found, verb, **target) == (status, why)


class TestDurableJobs:
    @pytest.fixture
    def engine(self) -> Engine:
        engine = Engine()
        for number in (1, 2, 3):
            engine.fail(number, "mail", "welcome", None)
        return engine

    async def test_retry_and_delete(self, engine: Engine) -> None:
        """One goes back to its queue, another one is deleted."""
        async with scene(lambda builder: builder.add_service(engine, name="durable")) as found:
            await found.status()
            history = await found.history(kind="durable", name="durable")
            first = await done(found, "retry", kind="durable", name="durable", id=1)
            second = await done(found, "delete", kind="durable", name="durable", id=2)
            third = await refused(found, "retry", kind="durable", name="durable", id=1)

        assert [(item["id"], item["name"], item["text"]) for item in history["groups"][0]["items"]] == [
            (number, "welcome", "after 11 attempts: SMTPError: refused") for number in (3, 2, 1)
        ]
        assert (first, second) == ("Job 1 is back in its queue.", "Job 2 is deleted.")
        assert third == (409, "failed job 1 is not there any more")

    async def test_one_attempt_is_one(self, engine: Engine) -> None:
        """A job that was not retried has failed after 1 attempt, and with no error where none is known."""
        engine.jobs = [FailedJob(1, "mail", "welcome", None, attempts=1, error=None)]
        async with scene(lambda builder: builder.add_service(engine, name="durable")) as found:
            history = await found.history(kind="durable", name="durable")

        assert [item["text"] for item in history["groups"][0]["items"]] == ["after 1 attempt"]

    async def test_the_history_may_be_asked_for_first(self, engine: Engine) -> None:
        """A program that has not asked for the status before is answered, too."""
        async with scene(lambda builder: builder.add_service(engine, name="durable")) as found:
            history = await found.history(kind="durable", name="durable")

        assert [item["id"] for item in history["groups"][0]["items"]] == [3, 2, 1]

    async def test_retry_all(self, engine: Engine) -> None:
        """All failed jobs go back to their queues; they are counted anew at once."""
        async with scene(lambda builder: builder.add_service(engine, name="durable")) as found:
            await found.status()
            said = await done(found, "retry-all", kind="durable", name="durable")
            await anyio.sleep(0.3)
            rows = (await found.status())["durable"]

        assert said == "3 jobs are back in durable."
        assert sorted(engine.retried) == [1, 2, 3]
        assert rows[0]["counts"]["failed"] == 0

    async def test_what_the_engine_refuses(self, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
        """Its words are passed on."""

        async def retry(job_id: int) -> bool:
            if job_id == 2:
                message = "the lock is taken"
                raise ValueError(message)
            return job_id == 3

        monkeypatch.setattr(engine, "retry", retry)
        async with scene(lambda builder: builder.add_service(engine, name="durable")) as found:
            said = await done(found, "retry-all", kind="durable", name="durable")
            why = await refused(found, "retry", kind="durable", name="durable", id=2)
            odd = await refused(found, "requeue", kind="durable", name="durable", id=2)

        assert said == "1 of 3 are back; 2 are not: the lock is taken."
        assert why == (409, "the lock is taken")
        assert odd == (400, "requeue is nothing that a durable job can do")


class TestHost:
    async def test_stop(self) -> None:
        """The host stops, for a reason that names who asked."""
        async with scene() as found:
            said = await done(found, "stop")
            await found.host.lifetime.wait_stopped()

        assert said == "The host stops."
        assert found.host.lifetime.stop_reason == "asked for on the page by 127.0.0.1"

    async def test_before_and_after(self) -> None:
        """A host that does not run, or not for long, is not steered."""
        builder = HostBuilder(QUIET)
        client = Client(dashboard_app(builder, actions=True))
        unbuilt = (await client.act("stop")).json()
        builder.add_service(Puppet(drain=5))
        host = builder.build()
        before = (await client.act("stop")).json()
        async with anyio.create_task_group() as group:
            await host.start()
            group.start_soon(host.stop)
            await host.lifetime.wait_stopping()
            during = await client.act("restart", name="puppet")
        after = (await client.act("stop")).json()

        assert unbuilt == before == {"error": "the host has not started yet"}
        assert (during.status, during.json()) == (409, {"error": "the host is stopping"})
        assert after == {"error": "the host has ended"}

    async def test_each_is_one_line_of_the_log(self, lines: list[str]) -> None:
        """It tells what was asked for, of what, and by whom; what is sent cannot fill the log."""
        async with scene(options=HostOptions(log_level="INFO")) as found:
            await done(found, "pause", kind="schedule", name="hourly", scheduler="scheduler")
            await found.client.act("pause", kind="queue", name="x\n" * 1000)

        said = [line for line in lines if "dashboard:" in line]
        assert said[0] == "INFO: dashboard: pause schedule hourly for 127.0.0.1"
        assert len(said[1]) < 400
        assert len(said) == 2

    async def test_none_is_a_line_below_the_hosts_level(self, lines: list[str]) -> None:
        """Who has asked the host for warnings alone hears of no action."""
        async with scene(options=HostOptions(log_level="WARNING")) as found:
            await done(found, "pause", kind="schedule", name="hourly", scheduler="scheduler")

        assert lines == []


class TestReadOnly:
    async def test_nothing_can_be_done_by_default(self) -> None:
        """Without actions=True, whatever else is right."""
        async with scene(actions=False, token=TOKEN) as found:
            answer = await found.client.request(
                "POST",
                "/actions/stop",
                b"{}",
                content_type="application/json",
                origin="http://localhost:9000",
                authorization=f"Bearer {TOKEN}",
            )
            status = (await found.client.get("/status.json", authorization=f"Bearer {TOKEN}")).json()

        assert (answer.status, answer.json()) == (403, {"error": "this page is read-only (actions=False)"})
        assert status["actions"] is False

    @pytest.mark.parametrize("body", [b"", b"x", b"[]", b"null", b'"stop"', b"\xff", b"[" * 4000])
    async def test_bodies_that_are_no_objects(self, body: bytes) -> None:
        """What is not a JSON object is refused."""
        async with scene() as found:
            answer = await found.client.request(
                "POST", "/actions/stop", body, content_type="application/json", origin="http://localhost:9000"
            )
            state = found.host.lifetime.state

        assert (answer.status, json.loads(answer.body)) == (
            400,
            {"error": "the body is a JSON object with kind, name and id"},
        )
        assert state == "started"
