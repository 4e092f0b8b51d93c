"""Stops at their edges: extended ones, paused ones, tasks that never began, and a start that is refused or not."""

import asyncio
import sys
import threading
from typing import Any

import anyio
import pytest
from puppet import Plain, Puppet, build, trace

from hostkit import (
    BackgroundService,
    Host,
    HostBuilder,
    HostedService,
    HostFailedError,
    HostOptions,
    HostState,
    HostStateError,
    ServiceStuckError,
    StoppingToken,
    StopTimeoutError,
    ThreadService,
    ThreadStoppingToken,
)

OPTIONS = HostOptions(shutdown_timeout=5, cancellation_timeout=2, log_level="CRITICAL")


class Saving(HostedService):
    """Saves something when it stops, which takes its time."""

    extended_stop = True

    def __init__(self, seconds: float, *, shield: bool = False) -> None:
        self.seconds = seconds
        self.shield = shield
        self.saved = False

    async def stop(self) -> None:
        with anyio.CancelScope(shield=self.shield):
            await anyio.sleep(self.seconds)
        self.saved = True


class BackgroundPuppet(BackgroundService):
    """Notes whether it has begun."""

    began = False

    async def execute(self, stopping_token: StoppingToken) -> None:
        self.began = True
        await stopping_token.wait()


async def stop(host: Host) -> list[type[Exception]]:
    """Stop the host, and return what it has failed with."""
    try:
        await host.stop()
    except HostFailedError as error:
        return [type(failure) for failure in error.exceptions]
    return []


async def test_an_extended_stop_goes_on_until_the_last_instant() -> None:
    """A `stop()` that began late is not cancelled at the end of the shutdown timeout, and is no failure in time."""
    saving = Saving(1.9)
    host, _ = build(saving, Puppet(drain=4.9), options=OPTIONS)
    await host.start()

    failures = await stop(host)

    assert (saving.saved, failures, host.lifetime.exit_code) == (True, [], 0)
    assert anyio.current_time() == 4.9 + 1.9


async def test_an_extended_stop_is_not_ended_by_its_own_timeout() -> None:
    """The service's `stop_timeout` is for its `execute`, not for what it saves."""
    saving = Saving(6)
    builder = HostBuilder(OPTIONS)
    builder.add_service(saving, stop_timeout=0.5)
    host = builder.build()
    await host.start()

    failures = await stop(host)

    assert (saving.saved, failures) == (True, [])


@pytest.mark.parametrize("shield", [False, True])
async def test_an_extended_stop_ends_with_the_last_instant(*, shield: bool) -> None:
    """When the cancellation timeout is over, it is cancelled, and abandoned if it ignores that."""
    saving = Saving(20, shield=shield)
    host, _ = build(saving, options=OPTIONS)
    await host.start()

    failures = await stop(host)

    assert failures == [ServiceStuckError if shield else StopTimeoutError]
    assert not saving.saved
    assert anyio.current_time() == 7
    await anyio.sleep(20)


async def test_another_stop_is_cancelled_in_time() -> None:
    """A `stop()` that is not extended is cancelled at the end of the shutdown timeout."""
    saving = Saving(6)
    saving.extended_stop = False
    host, _ = build(saving, options=OPTIONS)
    await host.start()

    failures = await stop(host)

    assert (saving.saved, failures) == (False, [StopTimeoutError])
    assert anyio.current_time() == 5


def block(seconds: float) -> None:
    """Let time pass while the event loop does not turn."""
    if "trio" in sys.modules and sys.modules["trio"].lowlevel.in_trio_run():
        sys.modules["trio"].lowlevel.current_clock().jump(seconds)
    else:
        loop: Any = asyncio.get_running_loop()
        loop._now += seconds


async def test_a_stop_that_was_paused_past_its_end_still_saves() -> None:
    """When the process was paused until all time was over, what still runs has one more second to save something."""
    saving, slow = Saving(0.5), Puppet(drain=100)
    host, events = build(saving, slow, options=OPTIONS)
    await host.start()
    host.lifetime.request_stop()
    await anyio.sleep(1)
    block(1000)

    failures = await stop(host)

    assert (saving.saved, failures) == (True, [StopTimeoutError])
    assert anyio.current_time() <= 1001 + 1
    assert "abandoned a" not in trace(events)


async def test_a_task_that_never_began_is_not_waited_for() -> None:
    """A service's task that is cancelled natively before its first step ends the host at once, not at its deadlines."""
    if "trio" in sys.modules and sys.modules["trio"].lowlevel.in_trio_run():
        return  # a task of trio's cannot be cancelled natively
    unbegun = BackgroundPuppet()
    host, _ = build(Puppet(), unbegun, options=OPTIONS)

    def cancel() -> None:
        for task in asyncio.all_tasks():
            if task.get_name() == "b":
                task.cancel()

    host.lifetime.on_started(cancel)
    await host.start()

    with pytest.raises(HostFailedError):
        await host.wait()

    assert anyio.current_time() == 0
    assert not unbegun.began
    assert host.status().services[1].state == "stopped"


def test_two_threads_start_a_host_once() -> None:
    """Of two threads that start a host at one time one is refused, and the services start once."""
    barrier = threading.Barrier(2)
    for _ in range(20):
        service = Plain()
        builder = HostBuilder(HostOptions(log_level="CRITICAL"))
        started: list[str] = []

        class Counting(HostedService):
            async def start(self, started: list[str] = started) -> None:
                started.append("start")

        builder.add_service(Counting())
        builder.add_service(service)
        host = builder.build()
        threads: list[object] = []

        def start(host: Host = host, threads: list[object] = threads) -> None:
            barrier.wait()
            try:
                threads.append(host.start_in_thread())
            except HostStateError as error:
                threads.append(error)

        callers = [threading.Thread(target=start) for _ in range(2)]
        for caller in callers:
            caller.start()
        for caller in callers:
            caller.join()
        assert started == ["start"]
        assert sorted(type(each).__name__ for each in threads) == ["HostStateError", "HostThread"]
        next(each for each in threads if not isinstance(each, HostStateError)).stop()  # type: ignore[attr-defined]


@pytest.mark.real_time
async def test_a_host_that_stopped_cleanly_starts_again_at_once() -> None:
    """Only what was abandoned keeps a host from its next start, not a thread that is about to be gone."""

    class Blocking(ThreadService):
        def execute(self, stopping_token: ThreadStoppingToken) -> None:
            stopping_token.wait()

    builder = HostBuilder(HostOptions(log_level="CRITICAL"))
    for number in range(5):
        builder.add_service(Blocking(), name=str(number))
    host = builder.build()

    for _ in range(50):
        async with host:
            pass

    assert host.lifetime.state is HostState.STOPPED
