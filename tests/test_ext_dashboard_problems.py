"""What the dashboard calls a problem: each when it begins, with its action, and when it is over."""

from datetime import UTC, datetime, timedelta
from typing import Any

import anyio
import pytest
from dashboard_durable import Engine
from dashboard_host import Scene, dashboard_of, fail, forever, nothing, scene

from hostkit import BackgroundService, EndAction, HostBuilder, Restart, StoppingToken
from hostkit.scheduling import Every

pytestmark = pytest.mark.needs("starlette", "prometheus_client")


async def problems(found: Scene) -> list[dict[str, Any]]:
    """Return what is wrong, without when and where."""
    shown = ("level", "kind", "name", "text", "why", "action")
    return [{name: problem[name] for name in shown} for problem in (await found.status())["problems"]]


async def test_a_service_that_failed() -> None:
    """It is bad until the service is restarted."""
    async with scene(worker={"on_failure": EndAction.IGNORE}) as found:
        found.worker.fail(OSError("no route"))
        await anyio.sleep(1)
        failed = await problems(found)
        where = (await found.status())["problems"][0]["where"]
        done = await found.client.act("restart", kind="service", name="worker")
        await anyio.sleep(1)
        after = await problems(found)

    assert failed == [
        {
            "level": "bad",
            "kind": "service",
            "name": "worker",
            "text": "has failed.",
            "why": "OSError: no route",
            "action": "restart",
        }
    ]
    assert where.endswith("in Worker.execute")
    assert done.status == 200
    assert after == []
    assert found.worker.runs == 2


async def test_a_service_that_restarts() -> None:
    """It is a warning until it runs again."""
    async with scene(worker={"on_failure": Restart(limit=5)}) as found:
        found.worker.fail(OSError("no route"))
        await anyio.sleep(0.1)
        during = await problems(found)
        await anyio.sleep(10)
        after = await problems(found)

    assert [(each["level"], each["text"], each["action"]) for each in during] == [
        ("warn", "failed and is about to restart, restart 1 of 5.", "restart")
    ]
    assert after == []


async def test_a_service_whose_start_takes_long_the_second_time() -> None:
    """It is still a warning, until it is ready."""

    class Feed(BackgroundService):
        runs = 0

        async def start(self) -> None:
            self.runs += 1
            await anyio.sleep(60 * (self.runs - 1))

        async def execute(self, stopping_token: StoppingToken) -> None:
            if self.runs == 1:
                message = "no route"
                raise OSError(message)
            await stopping_token.wait()

    async with scene(lambda builder: builder.add_service(Feed(), name="feed", on_failure=Restart(limit=5))) as found:
        await anyio.sleep(30)
        during = await problems(found)
        await anyio.sleep(60)
        after = await problems(found)

    assert during == [
        {
            "level": "warn",
            "kind": "service",
            "name": "feed",
            "text": "starts again, restart 1 of 5.",
            "why": "OSError: no route",
            "action": None,
        }
    ]
    assert after == []


async def test_a_service_that_is_stalled() -> None:
    """It is a warning until it moves; nothing can be done about it from here."""

    def prepare(builder: HostBuilder) -> None:
        @builder.service(name="sync", heartbeat_timeout=60)
        async def sync(stopping_token: StoppingToken) -> None:
            await anyio.sleep(300)
            await stopping_token.wait()

    async with scene(prepare) as found:
        await anyio.sleep(200)
        during = await problems(found)
        status = await found.status()
        await anyio.sleep(101)
        after = await problems(found)

    began = datetime.fromisoformat(status["at"]) - datetime.fromisoformat(status["problems"][0]["since"])
    assert began.total_seconds() == pytest.approx(200, abs=1)
    assert [(each["level"], each["name"], each["text"], each["action"]) for each in during] == [
        ("warn", "sync", "is stalled: silent for 3 min, more than 60 s.", None)
    ]
    assert after == []


async def test_a_check_that_fails() -> None:
    """It is a warning until the check is well, which is asked at most once a second."""
    async with scene() as found:
        found.worker.unwell = ConnectionRefusedError("port 5432")
        during = await problems(found)
        row = (await found.status())["services"][0]
        found.worker.unwell = None
        await anyio.sleep(1.1)
        after = await problems(found)

    assert [(each["level"], each["name"], each["text"], each["why"]) for each in during] == [
        ("warn", "worker", "is not well.", "ConnectionRefusedError: port 5432")
    ]
    assert row["check"] == "ConnectionRefusedError: port 5432"
    assert after == []


async def test_a_schedule_whose_last_run_failed() -> None:
    """It is bad until its next success."""
    lucky = False

    async def sometimes() -> None:
        if not lucky:
            raise KeyError("northern")

    async with scene() as found:
        job = found.scheduler.add(sometimes, Every(hours=2), name="report")
        job.run_now()
        await anyio.sleep(1)
        during = (await found.status())["problems"]
        lucky = True
        job.run_now()
        await anyio.sleep(1)
        after = await problems(found)

    assert [(each["level"], each["text"], each["why"], each["action"]) for each in during] == [
        ("bad", "failed in its last run.", "KeyError: 'northern'", "run-now")
    ]
    assert during[0]["scheduler"] == "scheduler"
    assert during[0]["where"].endswith(".sometimes")
    assert after == []


async def test_a_schedule_that_never_runs() -> None:
    """A rule that has no instant to come is told, unless it has run before or is paused."""
    past = datetime(2020, 1, 1, tzinfo=UTC)

    async with scene() as found:
        found.scheduler.add(nothing, Every(hours=1).until(past), name="never")
        found.scheduler.add(nothing, Every(hours=1).until(past), name="paused").pause()
        found.scheduler.add(nothing, Every(hours=1).until(past), name="was run").run_now()
        await anyio.sleep(1)
        shown = await problems(found)
        found.scheduler.pause()
        await anyio.sleep(1)
        while_all_is_paused = await problems(found)

    assert [(each["level"], each["name"]) for each in shown] == [("warn", "never")]
    assert "has no instant to come" in shown[0]["text"]
    assert while_all_is_paused == []


async def test_jobs_that_failed() -> None:
    """They are bad for an hour, or until they are requeued."""
    async with scene() as found:
        await found.queue.enqueue(fail, "first")
        await found.queue.enqueue(fail, "second")
        await anyio.sleep(3000)
        during = await problems(found)
        await anyio.sleep(700)
        after = await found.status()

    assert [(each["level"], each["kind"], each["text"], each["why"], each["action"]) for each in during] == [
        ("bad", "queue", "has 2 failed jobs; the last is fail (job 2).", "RuntimeError: second", "requeue-all")
    ]
    assert after["problems"] == []
    assert after["queues"][0]["counts"]["failed"] == 2


async def test_jobs_that_were_lost() -> None:
    """What the stop has lost is told until the next start; it cannot be brought back from here."""
    async with scene(queue={"drain": False}) as found:
        for _ in range(12):
            await found.queue.enqueue(forever)
        await anyio.sleep(1)
    after = await problems(found)

    assert [(each["level"], each["kind"], each["text"], each["action"]) for each in after] == [
        ("bad", "queue", "has lost 2 jobs at the last stop; the last is forever (job 12).", None)
    ]


async def test_a_queue_that_is_nearly_full() -> None:
    """From nine tenths of its capacity on it is a warning."""
    async with scene(queue={"capacity": 10, "concurrency": 1}) as found:
        for _ in range(9):
            await found.queue.enqueue_in(100, nothing)
        during = await problems(found)
        await anyio.sleep(200)
        after = await problems(found)

    assert [(each["level"], each["text"]) for each in during] == [("warn", "is nearly full: 9 of 10 jobs wait.")]
    assert after == []


async def test_what_is_paused_for_long() -> None:
    """A queue or a scheduler that was forgotten is told after an hour."""
    async with scene() as found:
        found.queue.pause()
        found.scheduler.pause()
        await problems(found)  # it counts from the first snapshot that has it
        await anyio.sleep(3500)
        before = await problems(found)
        await anyio.sleep(200)
        after = await problems(found)
        await found.client.act("resume", kind="queue", name="mail")
        await found.client.act("resume", kind="service", name="scheduler")
        await anyio.sleep(1)
        resumed = await problems(found)

    assert before == resumed == []
    assert [(each["kind"], each["name"], each["action"]) for each in after] == [
        ("service", "scheduler", "resume"),
        ("queue", "mail", "resume"),
    ]


async def test_durable_jobs_that_failed() -> None:
    """They are bad for an hour, by the database's own instants."""
    now = datetime.now(UTC)
    engine, old = Engine(["mail", "letters"]), Engine()
    engine.fail(3, "mail", "welcome", now - timedelta(hours=5))
    engine.fail(7, "mail", "welcome", now - timedelta(minutes=5))
    old.fail(2, "reports", "build", now - timedelta(hours=5))
    old.oldest = None

    def prepare(builder: HostBuilder) -> None:
        builder.add_service(engine, name="durable")
        builder.add_service(old, name="old")

    async with scene(prepare) as found:
        shown = await problems(found)
        status = await found.status()

    assert [tuple(each.values()) for each in shown] == [
        (
            "bad",
            "durable",
            "durable",
            "has 2 failed jobs; the last is welcome (job 7).",
            "SMTPError: refused",
            "retry-all",
        )
    ]
    assert [tuple(row.values()) for row in status["durable"]] == [
        ("durable", "mail, letters", {"failed": 2, "todo": 1}, 90),
        ("old", "all queues", {"failed": 1, "todo": 1}, None),
    ]


async def test_a_database_that_is_not_reached() -> None:
    """It is bad, what was known stays, and it is asked every two seconds for two seconds at most."""
    engine = Engine()
    engine.fail(1, "mail", "welcome", None)

    async with scene(lambda builder: builder.add_service(engine, name="durable")) as found:
        await found.status()
        engine.error = OSError("connection refused")
        await anyio.sleep(2)
        refused = await found.status()
        engine.error, engine.takes = None, 60
        await anyio.sleep(2)
        began = anyio.current_time()
        slow = await found.status()
        took = anyio.current_time() - began
        engine.takes = 0
        asked = engine.asked
        await anyio.sleep(1)
        await found.status()

    assert [(each["name"], each["text"], each["why"]) for each in refused["problems"]] == [
        ("durable", "does not reach its database.", "OSError: connection refused")
    ]
    assert refused["durable"][0]["counts"] == {"failed": 1, "todo": 1}
    assert slow["problems"][0]["why"] == "TimeoutError"
    assert took == 2
    assert engine.asked == asked


async def test_the_worst_comes_first_and_there_is_an_end() -> None:
    """Bad things come before warnings; of very many the first hundred are listed."""
    async with scene(worker={"on_failure": Restart()}) as found:
        found.worker.fail(OSError())
        for number in range(150):
            found.scheduler.add(fail, Every(hours=2), name=f"job {number}").run_now()
        await anyio.sleep(0.3)
        status = await found.status()

    assert status["totals"]["problems"] == 151
    assert len(status["problems"]) == 100
    assert {each["level"] for each in status["problems"]} == {"bad"}


async def test_an_event_loop_that_is_late() -> None:
    """It is a warning for a minute; see the tests of the streams for how it is measured."""
    async with scene() as found:
        app = dashboard_of(found)
        app.lag.add(0.3)
        during = await problems(found)
        await anyio.sleep(61)
        after = await found.status()

    assert [(each["level"], each["kind"]) for each in during] == [("warn", "host")]
    assert "0.3 s late" in during[0]["text"]
    assert after["problems"] == []
    assert after["host"]["loop_lag"] is None
