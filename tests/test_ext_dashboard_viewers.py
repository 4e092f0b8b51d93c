"""The streams: what a page that is open is sent, when, and at whose cost."""

import itertools
import math
from collections import Counter
from collections.abc import Callable
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Any

import anyio
import pytest
from anyio import lowlevel
from asgi_client import Client, Events
from dashboard_host import TOKEN, Scene, dashboard_of, fail, forever, noon, nothing, scene
from puppet import QUIET, Plain, Puppet

from hostkit import Host, HostBuilder, HostStatus, Restart, ServiceStatus
from hostkit.ext.asgi import Message, Receive, Send
from hostkit.ext.dashboard import dashboard_app
from hostkit.ext.dashboard._snapshot import Pause, Snapshot
from hostkit.ext.dashboard._viewers import LoopLag, Viewers
from hostkit.scheduling import Every, Scheduler

pytestmark = pytest.mark.needs("starlette", "prometheus_client")


def on_reading(monkeypatch: pytest.MonkeyPatch, call: Callable[[], None]) -> None:
    """Have *call* called whenever a reading of the host begins: with the host itself, before its services."""
    status = Host.status

    def read(host: Host, *, services: bool = True, lines: bool = True) -> HostStatus:
        if not services:
            call()
        return status(host, services=services, lines=lines)

    monkeypatch.setattr(Host, "status", read)


@pytest.fixture(autouse=True)
def wall_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """The wall clock goes with the event loop's: a host at rest does not change."""
    monkeypatch.setattr("hostkit._values.clock.now", noon)


async def hears_of_a_crash_at_once(found: Scene, events: Events) -> None:
    """Have the worker crash, in the middle of a quiet time, and see that the stream does not wait for its next tick."""
    await anyio.sleep(5.1)
    began = anyio.current_time()
    found.worker.fail(OSError("no route"))
    status = await events.next("status")
    took = anyio.current_time() - began

    assert status["services"][0]["state"] == "restarting"
    assert took <= 0.25


async def stays_connected() -> Message:
    """Receive for a client that never says anything more."""
    await anyio.sleep_forever()
    raise AssertionError


class TestStream:
    async def test_begins_with_the_state(self) -> None:
        """The first thing that comes is a whole snapshot."""
        async with scene() as found, Events(found.client) as events:
            status = await events.next("status")

        assert events.status == 200
        assert status["version"] == 1
        assert status["host"]["state"] == "started"

    async def test_needs_the_token(self) -> None:
        """As everything else."""
        async with scene(token=TOKEN) as found, Events(found.client) as events:
            await events.ended.wait()

        assert events.status == 401

    async def test_tells_a_crash_at_once(self) -> None:
        """What happens is sent when it happens, not when the second is over."""
        async with scene(worker={"on_failure": Restart()}) as found, Events(found.client) as events:
            await events.next("status")
            await hears_of_a_crash_at_once(found, events)

    @pytest.mark.parametrize(
        "happens",
        [
            lambda found: found.queue.enqueue_nowait(fail),
            lambda found: found.scheduler.add(fail, Every(hours=2), name="fails", run_at_start=True),
        ],
    )
    async def test_tells_failures_of_jobs_and_runs(self, happens: Callable[[Any], object]) -> None:
        """Those are problems, and are there within a second and a half."""
        async with scene() as found, Events(found.client) as events:
            await events.next("status")
            began = anyio.current_time()
            happens(found)
            problems: list[dict[str, Any]] = []
            while not problems:
                problems = (await events.next("status"))["problems"]
            took = anyio.current_time() - began

        assert problems[0]["why"] == "RuntimeError: no luck"
        assert took <= 1.5

    async def test_sends_a_sign_of_life_when_nothing_happens(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The page can tell a host at rest from a connection that is gone."""
        monkeypatch.setattr("hostkit.ext.dashboard._dashboard.LONGEST_MOUNTED_STREAM", math.inf)
        async with scene() as found, Events(found.client) as events:
            await events.next("status")
            await anyio.sleep(60)
            taken = events.taken
            pulse = await events.next("pulse")

        assert pulse is None
        assert 20 <= taken <= 40

    async def test_much_at_once_is_one_message(self) -> None:
        """A thousand events in a second are four snapshots at most."""
        async with scene() as found, Events(found.client) as events:
            await events.next("status")
            before = events.taken
            for _ in range(100):
                found.queue.enqueue_nowait(fail)
                await anyio.sleep(0.01)
            taken = events.taken - before

        assert taken <= 5

    async def test_all_viewers_share_one_reading(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Fifty pages cost one snapshot."""
        readings: list[float] = []
        on_reading(monkeypatch, lambda: readings.append(anyio.current_time()))
        async with scene() as found, anyio.create_task_group() as group:
            streams = [Events(found.client) for _ in range(50)]

            async def watch(events: Events) -> None:
                async with events:
                    await anyio.sleep(30)

            for events in streams:
                group.start_soon(watch, events)
            await anyio.sleep(20)
            counted = len(readings)

        assert all(events.taken for events in streams)
        assert 5 <= counted <= 45

    async def test_a_snapshot_is_encoded_once_for_all(self) -> None:
        """Fifty pages get one and the same text; the next one is another."""
        sent: list[bytes] = []

        async def send(message: Message) -> None:
            if b"event: status" in message["body"]:
                sent.append(message["body"])

        async with scene() as found, anyio.create_task_group() as group:
            for _ in range(50):
                group.start_soon(dashboard_of(found).viewers.stream, stays_connected, send)
            await anyio.sleep(0.2)
            first, sent = sent, []
            found.queue.enqueue_nowait(fail)
            await anyio.sleep(1.5)
            group.cancel_scope.cancel()

        assert len(first) == 50
        assert len(set(map(id, first))) == 1
        assert sum(b"no luck" in body for body in sent) >= 50
        assert len(set(map(id, sent))) == len(set(sent))

    async def test_the_loop_serves_others_between_any_two(self) -> None:
        """Fifty pages that are sent the same at once do not hold up the services until the last has it."""
        begun = anyio.Event()
        turn = 0
        sent: list[int] = []

        async def send(message: Message) -> None:
            if b"no luck" in message["body"]:
                begun.set()
                sent.append(turn)

        async with scene() as found, anyio.create_task_group() as group:
            for _ in range(50):
                group.start_soon(dashboard_of(found).viewers.stream, stays_connected, send)
            await anyio.sleep(1)
            found.queue.enqueue_nowait(fail)
            await begun.wait()
            for _ in range(200):
                turn += 1
                await lowlevel.checkpoint()
            group.cancel_scope.cancel()

        assert len(sent) == 50
        assert max(Counter(sent).values()) <= 2

    async def test_the_loop_serves_others_during_a_reading(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A snapshot is taken in parts, a few services or schedules each, also of those that it does not show."""
        looks = [0]

        async def take_turns() -> None:
            while True:
                looks.append(0)
                await lowlevel.checkpoint()

        def look(host: Host, name: str) -> ServiceStatus:
            looks[-1] += 1
            return service_status(host, name)

        def prepare(builder: HostBuilder) -> None:
            more = builder.add_service(Scheduler(), name="more")
            for number in range(600):
                builder.add_service(Plain(), name=f"plain {number}")
                more.add(nothing, Every(hours=1), name=f"job {number}")

        service_status = Host.service_status
        monkeypatch.setattr(Host, "service_status", look)
        async with scene(prepare) as found, anyio.create_task_group() as group:
            group.start_soon(take_turns)
            await dashboard_of(found).viewers.latest()
            group.cancel_scope.cancel()

        assert sum(looks) >= 600
        assert max(looks) <= 20  # trio runs the tasks of a turn in any order: two parts may be between two counts
        assert len(looks) >= 170

    async def test_a_reading_is_for_all(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The next client has what one that disconnected in the middle of it had begun."""
        readings = 0

        def disconnect() -> None:
            nonlocal readings
            readings += 1
            group.cancel_scope.cancel()

        async with scene() as found:
            viewers = dashboard_of(found).viewers
            on_reading(monkeypatch, disconnect)
            async with anyio.create_task_group() as group:
                await viewers.latest()
            latest = await viewers.latest()

        assert latest is not None
        assert readings == 1

    async def test_there_are_fifty_at_most(self) -> None:
        """The next one is told to ask by itself; when one leaves, there is room again."""
        async with scene() as found, anyio.create_task_group() as group:
            streams = [Events(found.client) for _ in range(50)]

            async def watch(events: Events) -> None:
                async with events:
                    await events.ended.wait()

            for events in streams:
                group.start_soon(watch, events)
            await anyio.sleep(1)
            refused = await found.client.get("/events")
            streams[0].leave()
            await anyio.sleep(1)
            async with Events(found.client) as again:
                await again.next("status")
            for events in streams:
                events.leave()

        assert (refused.status, refused.headers["retry-after"], refused.headers["connection"]) == (503, "5", "close")
        assert refused.json() == {"error": "too many viewers"}

    async def test_a_client_that_takes_nothing_is_left(self) -> None:
        """After ten seconds; others are served meanwhile."""
        async with scene() as found, Events(found.client, takes=1) as stuck, Events(found.client) as other:
            await other.next("status")
            began = anyio.current_time()
            await stuck.ended.wait()
            took = anyio.current_time() - began
            pulses = other.taken

        assert took == pytest.approx(10, abs=1)
        assert pulses > 3

    async def test_a_server_may_tell_by_an_error_that_a_client_has_left(self) -> None:
        """Some do; that is no error of ours."""
        async with scene() as found:

            async def receive() -> Message:
                await anyio.sleep_forever()
                raise AssertionError

            async def send(message: Message) -> None:
                if message["type"] == "http.response.body":
                    raise OSError

            await found.client.app(found.client.scope("GET", "/events", {}), receive, send)

    async def test_outlives_the_stream_that_woke_it(self) -> None:
        """One stream wakes all; whichever leaves first, the others hear of what happens at once."""
        async with scene(worker={"on_failure": Restart()}) as found, Events(found.client) as first:
            await first.next("status")
            async with Events(found.client) as second:
                await second.next("status")
                first.leave()
                await first.ended.wait()
                await hears_of_a_crash_at_once(found, second)

    async def test_leaves_no_task_behind(self) -> None:
        """A stream is the task of its own request."""
        async with scene() as found:
            await anyio.wait_all_tasks_blocked()  # the queue and the scheduler have their tasks
            before = {task.id for task in anyio.get_running_tasks()}
            async with Events(found.client) as events:
                await events.next("status")
            after = {task.id for task in anyio.get_running_tasks()}

        assert after <= before


class TestEnd:
    async def test_is_told_with_reason_and_exit_code(self) -> None:
        """The last thing that a page hears of a host is how it has ended."""
        builder = HostBuilder(QUIET)
        client = Client(dashboard_app(builder))
        builder.add_service(Puppet(), name="only")
        host = builder.build()
        await host.start()

        async with Events(client) as events:
            await events.next("status")
            await host.stop("signal SIGTERM")
            end = await events.next("end")
            await events.ended.wait()

        assert end == {"reason": "signal SIGTERM", "exit_code": 0}

    async def test_comes_with_the_last_state(self) -> None:
        """One that comes while a snapshot is taken waits for the next, which shows how each service has ended."""
        readings = 0

        async def read(pause: Pause) -> Snapshot:
            nonlocal readings
            await pause()
            readings += 1
            if readings == 2:
                viewers.end("signal SIGTERM", 0)
            return Snapshot(str(readings), str(readings))

        viewers = Viewers(read, nothing, LoopLag(), longest=math.inf)

        async def app(scope: object, receive: Receive, send: Send) -> None:  # ASGI's
            await viewers.stream(receive, send)

        async with Events(Client(app)) as events:
            states = [await events.next("status") for _ in range(3)]
            await events.next("end")

        assert states == [1, 2, 3]

    async def test_a_host_that_has_ended_ends_new_streams_too(self) -> None:
        """They get its last state and its end; once it is started again, they go on."""
        builder = HostBuilder(QUIET)
        client = Client(dashboard_app(builder))
        builder.add_service(Puppet(), name="only")
        host = builder.build()
        async with host:
            pass

        async with Events(client) as events:
            status = await events.next("status")
            await events.next("end")
            await events.ended.wait()
        async with host, Events(client) as again:
            await again.next("status")
            await anyio.sleep(5)
            ended = again.ended.is_set()

        assert status["host"]["state"] == "stopped"
        assert not ended

    async def test_a_mounted_stream_ends_now_and_then(self) -> None:
        """A server that waits for its requests is not held by a page that is open; the page comes back at once."""
        async with scene() as found, Events(found.client) as events:
            began = anyio.current_time()
            await events.ended.wait()
            took = anyio.current_time() - began

        assert took == pytest.approx(10, abs=1)

    async def test_before_the_host_is_built_there_is_nothing(self) -> None:
        """A stream that came early waits for the host."""
        builder = HostBuilder(QUIET)
        client = Client(dashboard_app(builder))
        builder.add_service(Puppet(), name="only")

        async with Events(client) as events:
            await anyio.sleep(2)
            builder.build()
            status = await events.next("status")

        assert status["host"]["state"] == "created"


class TestCost:
    async def test_a_large_host_is_read_less_often(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Reading takes a twentieth of the time at most, however long it takes."""
        readings = []
        shift: list[float] = []

        def take_long() -> None:
            readings.append(anyio.current_time())
            shift.append(0.2)

        on_reading(monkeypatch, take_long)
        clock = anyio.current_time
        monkeypatch.setattr("hostkit.ext.dashboard._viewers.anyio.current_time", lambda: clock() + sum(shift))
        async with scene() as found, Events(found.client) as events:
            await events.next("status")
            await anyio.sleep(9)

        assert 1 <= len(readings) <= 4

    async def test_what_others_do_meanwhile_is_not_its_own_time(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A reading that waits for long turns of other services between its parts is no reason to read less often."""
        readings = 0

        async def read(pause: Pause) -> Snapshot:
            nonlocal readings
            readings += 1
            for _ in range(3):
                await pause()
            return Snapshot("", "")

        async def refresh() -> None:
            raise AssertionError

        async def long_turn() -> None:
            await anyio.sleep(1)

        monkeypatch.setattr("hostkit.ext.dashboard._viewers.lowlevel", SimpleNamespace(checkpoint=long_turn))
        viewers = Viewers(read, refresh, LoopLag(), longest=math.inf)
        for _ in range(6):
            await viewers.latest()
            await anyio.sleep(0.3)

        assert readings == 6

    async def test_many_jobs(self) -> None:
        """Two thousand schedules are a snapshot of the first five hundred."""

        def prepare(builder: HostBuilder) -> None:
            more = builder.add_service(Scheduler(), name="more")
            for number in range(2000):
                more.add(nothing, Every(hours=1 + number), name=f"job {number}")

        async with scene(prepare) as found, Events(found.client) as events:
            status = await events.next("status")

        assert len(status["schedules"]) == 500


class TestLag:
    async def test_is_measured_while_a_page_is_open(self) -> None:
        """A stream that is woken late tells how late."""
        async with scene() as found, Events(found.client) as events:
            await events.next("status")
            await anyio.sleep(5)
            app = dashboard_of(found)
            largest = app.lag.largest()

        assert largest is not None
        assert 0 <= largest < 0.25

    async def test_keeps_the_largest_of_a_minute(self) -> None:
        """A smaller one does not hide it, a larger one takes its place, and it goes with time."""
        async with scene() as found:
            app = dashboard_of(found)
            seen = [app.lag.largest()]
            for late in (0.5, 0.1, 0.7, 0.2):
                app.lag.add(late)
                seen.append(app.lag.largest())
            await anyio.sleep(59)
            app.lag.add(0.05)
            seen.append(app.lag.largest())
            await anyio.sleep(2)
            seen.append(app.lag.largest())

        assert seen == [None, 0.5, 0.5, 0.7, 0.7, 0.7, 0.05]

    async def test_is_measured_while_metrics_are_scraped(self) -> None:
        """For two minutes after a scrape; then nothing wakes the loop any more."""
        async with scene() as found:
            app = dashboard_of(found)
            async with anyio.create_task_group() as group:
                group.start_soon(app.lag.measure)
                await anyio.sleep(10)
                before = app.lag.peak
                await found.client.get("/metrics")
                await anyio.sleep(10)
                during = app.lag.peak
                await anyio.sleep(120)
                app.lag.peak = None
                await anyio.sleep(120)
                after = app.lag.peak
                group.cancel_scope.cancel()

        assert before is None
        assert during is not None
        assert after is None


async def test_a_job_that_runs_is_no_change() -> None:
    """A host that only works is not sent again and again: its state is the same."""
    async with scene() as found:
        await found.queue.enqueue(forever)
        async with Events(found.client) as events:
            await events.next("status")
            await anyio.sleep(2)
            before = events.taken
            await anyio.sleep(6)
            taken = events.taken - before

    assert taken <= 4


async def test_intervals_of_one_moment_are_no_change() -> None:
    """Their next runs are reckoned anew at each reading, some microseconds apart, and in no order of theirs."""
    readings = itertools.count()

    def jittering() -> datetime:
        return noon() + timedelta(microseconds=next(readings) * 617 % 1000)

    def prepare(builder: HostBuilder) -> None:
        scheduler = builder.add_service(Scheduler(now=jittering), name="intervals")
        for number in range(20):
            scheduler.add(nothing, Every(hours=1), name=f"job {number}")

    async with scene(prepare) as found:
        first = await found.client.get("/status.json")
        await anyio.sleep(1)
        second = await found.client.get("/status.json")

    assert first.headers["etag"] == second.headers["etag"]
    assert first.json()["at"] != second.json()["at"]
