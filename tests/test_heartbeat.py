"""Heartbeats: a service that is silent is stalled, named, recovered, or restarted."""

import asyncio
import sys
import threading
from typing import Any

import anyio
import pytest
from puppet import Plain

from hostkit import (
    Backoff,
    Host,
    HostBuilder,
    HostFailedError,
    HostOptions,
    Restart,
    RestartLimitError,
    ServiceStuckError,
    StoppingToken,
    ThreadStoppingToken,
)
from hostkit.events import HostEvent, ServiceAbandoned, ServiceRecovered, ServiceStalled, ServiceStarting

OPTIONS = HostOptions(log_level="CRITICAL", cancellation_timeout=5)


def watched(
    service: object, restart: Restart | None = None, heartbeat_timeout: float = 10
) -> tuple[Host, list[HostEvent]]:
    """Return a host of *service*, named a, that is watched."""
    builder = HostBuilder(OPTIONS)
    events: list[HostEvent] = []
    builder.on_event(events.append)
    policy = {} if restart is None else {"on_failure": restart}
    builder.add_service(service, name="a", heartbeat_timeout=heartbeat_timeout, **policy)  # type: ignore[call-overload]
    builder.add_service(Plain())
    return builder.build(), events


def stalls(events: list[HostEvent]) -> list[tuple[str, float, float]]:
    """Return the stalls and recoveries, when they were noticed and how long the silence was."""
    return [
        (type(event).__name__, event.at, event.duration)
        for event in events
        if isinstance(event, (ServiceStalled, ServiceRecovered))
    ]


async def test_a_silent_service_is_stalled_and_recovers() -> None:
    """A service that neither waits in its token nor beats is stalled; its next sign of lifecycle is its recovery."""

    async def service(stopping_token: StoppingToken) -> None:
        await stopping_token.sleep(5)
        await anyio.sleep(37)
        stopping_token.beat()  # and in the same turn the wait is one more sign
        await stopping_token.wait()

    host, events = watched(service)
    async with host:
        await anyio.sleep(16)
        status = host.status()
        await anyio.sleep(34)

    assert stalls(events) == [("ServiceStalled", 15, 10), ("ServiceRecovered", 42, 37)]
    assert status.services[0].stalled
    assert not status.healthy
    stalled = next(event for event in events if isinstance(event, ServiceStalled))
    assert stalled.waiting_at is not None
    assert "test_heartbeat.py" in stalled.waiting_at


async def test_beats_and_waits_are_signs_of_life() -> None:
    """A service that waits in its token is idle, never stalled; beat() is a sign of life as well."""

    async def service(stopping_token: StoppingToken) -> None:
        await stopping_token.sleep(100)
        for _ in range(5):
            await anyio.sleep(9)
            stopping_token.beat()
        async for _ in stopping_token.every(50):
            await anyio.sleep(9)
        with stopping_token.cancel_on_stop():
            await anyio.sleep(100)

    host, events = watched(service)
    async with host:
        await anyio.sleep(500)

    assert stalls(events) == []


async def test_one_waiting_task_is_enough() -> None:
    """A service is idle while at least one of its tasks waits in its token: no false alarm."""

    async def service(stopping_token: StoppingToken) -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(stopping_token.wait)
            with anyio.CancelScope() as scope:
                stopping_token.on_stop(scope.cancel)
                await anyio.sleep(100)
            group.cancel_scope.cancel()

    host, events = watched(service)
    async with host:
        await anyio.sleep(50)

    assert stalls(events) == []


async def test_a_stalled_service_is_restarted_when_asked() -> None:
    """With on_stall the run is cancelled and counts as a failure."""

    async def service(stopping_token: StoppingToken) -> None:
        await anyio.sleep(1000)

    host, events = watched(service, Restart(limit=1, on_stall=True, backoff=Backoff(1, 1, 1, 0)))

    with pytest.raises(HostFailedError) as caught:
        async with host:
            await host.wait()

    error = caught.value.exceptions[0]
    assert isinstance(error, RestartLimitError)
    assert isinstance(error.__cause__, TimeoutError)
    assert "silent for 10 s, at " in str(error.__cause__)
    assert [event.at for event in events if isinstance(event, ServiceStarting) and event.service == "a"] == [0, 11]


async def test_a_stalled_service_that_ignores_its_cancellation_stops_the_host() -> None:
    """It has the cancellation timeout to end; then it is stuck, and the host stops."""
    over = anyio.Event()

    async def service(stopping_token: StoppingToken) -> None:
        with anyio.CancelScope(shield=True):
            await over.wait()

    host, _ = watched(service, Restart(on_stall=True))

    with pytest.raises(HostFailedError) as caught:
        async with host:
            await host.wait()

    assert [type(error) for error in caught.value.exceptions] == [ServiceStuckError]
    assert anyio.current_time() == 10 + 5
    over.set()
    await anyio.sleep(1)


async def test_the_watch_ends_with_the_stop() -> None:
    """Services that drain are not watched."""

    async def service(stopping_token: StoppingToken) -> None:
        await stopping_token.wait()
        await anyio.sleep(15)

    host, events = watched(service)
    async with host:
        await anyio.sleep(1)

    assert stalls(events) == []


async def test_a_service_that_has_ended_is_not_watched() -> None:
    """Neither a start that takes long nor an end is a stall."""

    async def service(stopping_token: StoppingToken, *, task_status: anyio.abc.TaskStatus[None]) -> None:
        await anyio.sleep(30)
        task_status.started()

    host, events = watched(service)
    async with host:
        await anyio.sleep(100)

    assert stalls(events) == []


@pytest.mark.real_time
async def test_threads_are_watched_too() -> None:
    """A blocking service gives signs of life from its own thread."""
    stalled, go_on = anyio.Event(), threading.Event()

    def service(stopping_token: ThreadStoppingToken) -> None:
        go_on.wait()
        stopping_token.beat()
        stopping_token.wait()

    recovered = anyio.Event()
    builder = HostBuilder(OPTIONS)
    builder.on_event(lambda event: stalled.set() if isinstance(event, ServiceStalled) else None)
    builder.on_event(lambda event: recovered.set() if isinstance(event, ServiceRecovered) else None)
    builder.add_service(service, heartbeat_timeout=0.05)
    host = builder.build()

    async with host:
        await stalled.wait()
        status = host.status()
        go_on.set()
        await recovered.wait()

    assert status.services[0].waiting_at is not None
    assert "test_heartbeat.py" in status.services[0].waiting_at


def block(seconds: float) -> None:
    """Let time pass while the event loop does not turn."""
    if "trio" in sys.modules and sys.modules["trio"].lowlevel.in_trio_run():
        sys.modules["trio"].lowlevel.current_clock().jump(seconds)
    else:
        loop: Any = asyncio.get_running_loop()
        loop._now += seconds


@pytest.mark.parametrize("blocked", [8, 40, 1000])
@pytest.mark.parametrize("on_stall", [False, True])
async def test_an_innocent_service_is_left_alone(blocked: float, *, on_stall: bool) -> None:
    """When something else blocks the loop, or the process is paused, services that beat in time are not stalled."""
    runs: list[str] = []

    async def service(stopping_token: StoppingToken) -> None:
        runs.append("run")
        while not stopping_token.stop_requested:
            await anyio.sleep(3)
            stopping_token.beat()

    host, events = watched(service, Restart(on_stall=on_stall))
    async with host:
        for _ in range(5):
            await anyio.sleep(7.3)
            block(blocked)
        await anyio.sleep(50)

    assert stalls(events) == []
    assert runs == ["run"]


async def test_a_silent_service_is_noticed_after_a_block_as_well() -> None:
    """Time in which the loop did not turn is no silence, but the rest is."""

    async def service(stopping_token: StoppingToken) -> None:
        await anyio.sleep(200)
        await stopping_token.wait()

    host, events = watched(service)
    async with host:
        await anyio.sleep(5)
        block(100)
        await anyio.sleep(150)

    stall = stalls(events)[0]
    assert stall[0] == "ServiceStalled"
    assert 105 < stall[1] <= 112.5
    assert 10 <= stall[2] <= 12.5


async def test_a_stalled_run_has_its_time_to_end_after_a_block() -> None:
    """A stalled run that was cancelled is abandoned when it had its time, not when the loop was blocked meanwhile."""
    runs: list[str] = []

    async def service(stopping_token: StoppingToken) -> None:
        runs.append("run")
        if len(runs) > 1:
            await stopping_token.wait()
            return
        try:
            await anyio.sleep(1000)
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.sleep(4)

    host, events = watched(service, Restart(on_stall=True, limit=None, backoff=Backoff(1, 1, 1, 0)))
    async with host:
        await anyio.sleep(11)
        block(100)
        await anyio.sleep(6)

    assert not any(isinstance(event, ServiceAbandoned) for event in events)
    assert len(runs) == 2
