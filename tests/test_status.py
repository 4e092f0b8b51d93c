"""`Host.status`: what a host and its services are doing."""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime, timedelta

import anyio
import pytest
from puppet import QUIET, Plain, Puppet, PuppetError, build, trace

from hostkit import (
    Backoff,
    EndAction,
    Host,
    HostBuilder,
    HostedService,
    HostFailedError,
    HostOptions,
    HostState,
    HostStatus,
    Restart,
    ServiceRegistration,
    ServiceStuckError,
    StoppingToken,
)
from hostkit._core.host import runner_of
from hostkit._core.status import status_lines
from hostkit.testing import FakeWallClock


async def test_the_status_is_ready_for_json() -> None:
    """A status is frozen, and turns into JSON as it is."""
    host, _ = build(Puppet(), Plain(), options=HostOptions(log_level="CRITICAL", application_name="app"))

    async with host:
        await anyio.sleep(90)
        status = json.loads(json.dumps(asdict(host.status())))

    assert status["application_name"] == "app"
    assert status["state"] == "started"
    assert status["ready"]
    assert status["healthy"]
    assert status["seconds_to_cancel"] is None
    assert [service["name"] for service in status["services"]] == ["a", "b"]
    assert [service["kind"] for service in status["services"]] == ["background", "service"]
    since = datetime.fromisoformat(status["services"][0]["since"])
    assert timedelta(seconds=80) < datetime.now(UTC) - since < timedelta(seconds=120)
    assert "puppet.py" in status["services"][0]["waiting_at"]
    assert status["services"][1]["waiting_at"] is None


async def test_a_stopping_host_shows_its_deadlines() -> None:
    """While it stops, the status says how much time is left."""
    host, _ = build(Puppet(drain=10), options=QUIET)
    await host.start()
    await anyio.sleep(1)
    host.lifetime.request_stop("for a reason")
    await anyio.sleep(4)

    status = host.status()

    assert (status.seconds_to_cancel, status.seconds_to_abandon) == (16, 21)
    assert status.stop_reason == "for a reason"
    assert status.services[0].state == "stopping"
    assert not status.ready
    await host.stop()


def status_at(host: Host, instant: float) -> HostStatus:
    """Return the status as another thread reads it that saw *instant* on the clock."""
    lifecycle = runner_of(host).lifecycle
    assert lifecycle is not None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lifecycle.loop, "time", lambda: instant)
        return host.status()


async def test_a_deadline_that_has_passed_is_0_seconds_away() -> None:
    """The last second counts down to 0; while the loop is blocked, what should have happened is due."""
    options = HostOptions(stop_delay=10, shutdown_timeout=20, cancellation_timeout=5, log_level="CRITICAL")
    host, _ = build(Puppet(drain=10), options=options)
    await host.start()
    runner_of(host).lifetime.announce_stop("signal SIGTERM")

    delayed = [status_at(host, instant) for instant in (9.5, 10.5)]
    await anyio.sleep(11)
    stopping = [status_at(host, instant) for instant in (29.5, 34.5, 35.5)]
    await host.stop()

    assert [status.seconds_to_stop for status in delayed] == [0.5, 0]
    assert [(status.seconds_to_cancel, status.seconds_to_abandon) for status in stopping] == [
        (0.5, 5.5),
        (0, 0.5),
        (0, 0),
    ]


async def test_waits_for_no_service_before_the_first_turn_and_after_the_last() -> None:
    """While the callbacks at the beginning of the stop run, no service has been asked yet; in the end none is left."""
    host, _ = build(Puppet(drain=10), Puppet(), options=QUIET)
    await host.start()
    waiting_for: list[tuple[str, ...]] = []
    host.lifetime.on_stopping(lambda: waiting_for.append(host.status().waiting_for))
    host.lifetime.request_stop()
    await anyio.sleep(4)
    waiting_for.append(host.status().waiting_for)

    await host.stop()

    assert waiting_for == [(), ("a",)]
    assert host.status().waiting_for == ()


def test_a_host_that_was_not_started_shows_its_services() -> None:
    """Before the start every service is created, and the host is not ready."""
    host, _ = build(Puppet(), Plain())

    status = host.status()

    assert status.state is HostState.CREATED
    assert status.since is None
    assert not status.ready
    assert status.healthy
    assert [(service.name, service.state, service.since) for service in status.services] == [
        ("a", "created", None),
        ("b", "created", None),
    ]
    assert [(service.restarts, service.failures_in_a_row) for service in status.services] == [(0, 0), (0, 0)]


async def test_a_status_in_lines() -> None:
    """The status for a terminal: the host, then a row for each service with its line."""
    host, _ = build(Puppet(), options=HostOptions(log_level="CRITICAL", application_name="app"))

    async with host:
        await anyio.sleep(1)
        lines = status_lines(host.status()).splitlines()
        host.lifetime.request_stop("enough")
        stopping = status_lines(host.status()).splitlines()

    assert lines[0] == "app: started, ready, healthy"
    assert lines[1].split() == ["service", "state", "restarts", "at"]
    assert lines[2].startswith("a        started  0         ")
    assert "puppet.py" in lines[2]
    assert stopping[0] == "app: started (enough), not ready, healthy"


async def test_a_service_without_a_loop_is_up_until_its_turn() -> None:
    """A hosted service with nothing to stop is started, not stopped, while the host runs."""

    class Nothing(HostedService):
        pass

    host, events = build(Nothing(), Puppet())

    async with host:
        status = host.status()

    assert status.services[0].state == "started"
    assert trace(events) == [
        "starting a",
        "started a",
        "starting b",
        "started b",
        "stopping b",
        "stopped b",
        "stopping a",
        "stopped a",
    ]


class Detailed(HostedService):
    """A service that tells details, or raises them."""

    def __init__(self, told: object) -> None:
        self.told = told

    def details(self) -> Mapping[str, object]:
        if isinstance(self.told, Exception):
            raise self.told
        return self.told  # type: ignore[return-value]  # what a user may return


async def test_details_of_a_service_are_in_the_status() -> None:
    """What a service's `details` returns is in the status, ready for JSON, before the start as well."""
    host, _ = build(Detailed({"port": 8080, "peers": ("a", "b"), "since": timedelta(seconds=1)}), Plain())

    before = host.status().services[0].details
    async with host:
        status = json.loads(json.dumps(asdict(host.status())))

    assert before == {"port": 8080, "peers": ["a", "b"], "since": "datetime.timedelta(seconds=1)"}
    assert [service["details"] for service in status["services"]] == [before, {}]


@pytest.mark.parametrize(
    ("told", "details"),
    [
        (OSError("no route"), {"error": "OSError: no route"}),
        (["a"], {"error": "details() must return a mapping, got ['a']"}),
        (None, {"error": "details() must return a mapping, got None"}),
    ],
)
async def test_wrong_details_never_break_a_status(told: object, details: dict[str, object]) -> None:
    """An error in `details`, and what is no mapping, is told in its place."""
    host, _ = build(Detailed(told))

    assert host.status().services[0].details == details


def test_details_must_be_a_plain_function() -> None:
    """`details` is called from any thread, so an async one is refused where the service is added."""

    class Wrong(HostedService):
        async def details(self) -> Mapping[str, object]:  # type: ignore[override]  # a mistake of the user's
            return {}

    with pytest.raises(TypeError, match=r"Wrong\.details must be a plain function: def details\(self\)"):
        HostBuilder(QUIET).add_service(Wrong())


async def test_a_status_tells_its_own_instant() -> None:
    """`at` and `loop_time` are one instant on both clocks, and `started_at` is the beginning of the lifecycle."""
    host, _ = build(Puppet(start=5))
    unstarted = host.status()

    await host.start()
    await anyio.sleep(100)
    status = host.status()
    await host.stop()
    stopped = host.status()

    assert (unstarted.loop_time, unstarted.started_at) == (None, None)
    assert status.loop_time == 105
    assert status.started_at is not None
    assert status.since is not None
    at, began = datetime.fromisoformat(status.at), datetime.fromisoformat(status.started_at)
    assert at - began == timedelta(seconds=105)
    assert at - datetime.fromisoformat(status.since) == timedelta(seconds=100)
    assert stopped.started_at is not None
    assert abs(datetime.fromisoformat(stopped.started_at) - began) < timedelta(seconds=60)


async def test_a_restart_that_has_come_is_told_no_more() -> None:
    """Only a service that waits for its next run has an instant for it: not while it starts, nor after its end."""

    class Unready(Puppet):
        async def start(self) -> None:
            if self.calls:
                await anyio.sleep(5)
                raise PuppetError
            await super().start()

    builder = HostBuilder(QUIET)
    policy = Restart(limit=1, backoff=Backoff(1, jitter=0), then=EndAction.IGNORE)
    builder.add_service(Unready(run=1, fails="execute"), name="a", on_failure=policy)
    builder.add_service(Puppet(), name="b")

    async with builder.build() as host:
        told = []
        for seconds in (1.5, 1, 10):  # it waits, starts, and has been given up
            await anyio.sleep(seconds)
            row = host.service_status("a")
            told.append((str(row.state), row.restart_at is not None))

    assert told == [("restarting", True), ("starting", False), ("failed", False)]


async def test_a_status_tells_of_failures_and_restarts() -> None:
    """Failures in a row, the limit, when the last one was and when the next run begins."""
    builder = HostBuilder(QUIET)
    policy = Restart(limit=4, backoff=Backoff(initial=30, factor=1, maximum=30, jitter=0))
    builder.add_services(Puppet(run=1, fails="execute"), on_failure=policy)
    builder.add_services(Puppet(), Plain())
    host = builder.build()
    await host.start()
    await anyio.sleep(1 + 30 + 1 + 10)

    status = host.status()
    failing, _, plain = status.services
    await host.stop()

    assert (failing.state, failing.restarts, failing.failures_in_a_row, failing.restart_limit) == (
        "restarting",
        2,
        2,
        4,
    )
    assert failing.last_failure == "PuppetError: execute"
    assert failing.restart_at is not None
    assert failing.last_failure_at is not None
    at = datetime.fromisoformat(status.at)
    assert datetime.fromisoformat(failing.restart_at) - at == timedelta(seconds=20)
    assert at - datetime.fromisoformat(failing.last_failure_at) == timedelta(seconds=10)
    assert [service.step for service in status.services] == [0, 1, 1]
    assert (plain.restart_limit, plain.restart_at, plain.last_failure_at, plain.failures_in_a_row) == (
        None,
        None,
        None,
        0,
    )


async def test_a_status_tells_of_silence() -> None:
    """How long a watched service has been silent; nothing while it waits in its token, or is not watched."""

    async def busy(stopping_token: StoppingToken) -> None:
        await anyio.sleep(2)
        stopping_token.beat()
        await anyio.sleep(7)
        await stopping_token.wait()

    async def unwatched(stopping_token: StoppingToken) -> None:
        await busy(stopping_token)

    builder = HostBuilder(QUIET)
    builder.add_service(busy, heartbeat_timeout=60)
    builder.add_service(unwatched)
    host = builder.build()
    async with host:
        await anyio.sleep(2.5)
        just_silent = host.status().services
        await anyio.sleep(2.5)
        silent = host.status().services
        before_its_beat = status_at(host, 1.9).services
        await anyio.sleep(5)
        waiting = host.status().services

    assert [(each.heartbeat_timeout, each.silent_for) for each in just_silent] == [(60, 0.5), (None, None)]
    assert [(each.heartbeat_timeout, each.silent_for) for each in silent] == [(60, 3), (None, None)]
    assert [each.silent_for for each in before_its_beat] == [0, None]
    assert [(each.heartbeat_timeout, each.silent_for) for each in waiting] == [(60, None), (None, None)]


async def test_a_status_may_leave_the_lines_out() -> None:
    """The lines of code are looked for only where they are wanted."""
    host, _ = build(Puppet())

    async with host:
        await anyio.sleep(1)
        without, with_lines = host.status(lines=False), host.status()

    assert without.services[0].waiting_at is None
    assert with_lines.services[0].waiting_at is not None


async def test_a_status_may_be_of_the_host_or_of_a_service_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """A host can be read in parts, each as it is in the whole."""
    monkeypatch.setattr("hostkit._values.clock.now", FakeWallClock(datetime.now(UTC)).now)
    host, _ = build(Puppet(), Plain(), Puppet())
    before = host.service_status("c")

    async with host:
        await anyio.sleep(1)
        whole, of_host = host.status(), host.status(services=False)
        parts = [host.service_status("c"), host.service_status("c", lines=False)]

    assert (before.name, before.step, before.state) == ("c", 2, "created")
    assert of_host.services == ()
    assert (of_host.ready, of_host.healthy, of_host.started_at) == (True, True, whole.started_at)
    assert parts[0] == whole.services[2]
    assert parts[0].waiting_at is not None
    assert parts[1].waiting_at is None


def test_a_status_of_an_unknown_service_is_refused() -> None:
    """A misspelt name is told with those that there are."""
    host, _ = build(Puppet(), Plain())

    with pytest.raises(ValueError, match="there is no service named 'x'; there are: 'a', 'b'"):
        host.service_status("x")


def test_registrations_tell_how_services_were_added() -> None:
    """`Host.registrations` has each service's policies and times by its name, in start order, read-only."""
    builder = HostBuilder(QUIET)
    policy = Restart(limit=None)
    builder.add_service(Plain(), name="cache", stop_timeout=timedelta(seconds=3))
    builder.add_services(Puppet(), Puppet(), on_failure=policy, on_return=EndAction.STOP_HOST, heartbeat_timeout=60)
    host = builder.build()

    assert list(host.registrations) == ["cache", "puppet", "puppet-2"]
    assert host.registrations["cache"] == ServiceRegistration(
        "cache", "service", 0, EndAction.STOP_HOST, EndAction.IGNORE, 3.0, None
    )
    assert host.registrations["puppet-2"] == ServiceRegistration(
        "puppet-2", "background", 1, policy, EndAction.STOP_HOST, None, 60.0
    )
    with pytest.raises(TypeError):
        host.registrations["x"] = host.registrations["cache"]  # type: ignore[index]  # read-only


async def test_the_status_shows_the_last_failure() -> None:
    """Of a service that has failed more than once, the last failure is shown."""
    causes = ["first", "second"]

    async def flaky(stopping_token: StoppingToken) -> None:
        if causes:
            raise OSError(causes.pop(0))
        await stopping_token.wait()

    builder = HostBuilder(QUIET)
    builder.add_service(flaky, on_failure=Restart(backoff=Backoff(1, 1, 1, 0)))
    host = builder.build()

    async with host:
        await anyio.sleep(10)
        (service,) = host.status().services

    assert service.restarts == 2
    assert service.last_failure == "OSError: second"


async def test_an_abandoned_service_is_named_with_the_lines_of_its_tasks() -> None:
    """The error names where the service waits and where its own tasks do; the status shows it for as long as it is."""
    released = anyio.Event()

    async def child() -> None:
        with anyio.CancelScope(shield=True):
            await released.wait()

    async def parent() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(child)

    host, _ = build(parent, options=QUIET)
    await host.start()

    with pytest.raises(HostFailedError) as caught:
        await host.stop()

    (error,) = caught.value.exceptions
    assert isinstance(error, ServiceStuckError)
    assert ".parent; " in str(error)
    assert ".child" in str(error)
    (service,) = host.status().services
    assert service.state == "abandoned"
    assert (service.waiting_at or "").endswith(".parent")
    released.set()
    await anyio.sleep(1)
    assert host.status().services[0].waiting_at is None


async def test_a_restart_beyond_the_calendar_has_no_date() -> None:
    """A service may wait for its restart for ever; the status does not fail over it."""
    builder = HostBuilder(QUIET)
    never = Restart(backoff=Backoff(initial=math.inf, maximum=math.inf, jitter=0))
    builder.add_service(Puppet(run=1, fails="execute"), name="a", on_failure=never)
    builder.add_service(Puppet(), name="b")

    async with builder.build() as host:
        await anyio.sleep(2)
        status = host.service_status("a")

    assert (status.state, status.restart_at) == ("restarting", None)
