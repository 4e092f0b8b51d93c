"""Thousands of lives in one process leave nothing behind, and thousands of services live in one host."""

import gc
import signal
import sys
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest

from hostkit import BackgroundService, Host, HostBuilder, HostedService, HostFailedError, HostOptions, StoppingToken

# Nothing here waits for a time to pass, so no virtual one is needed.
pytestmark = [pytest.mark.real_time, pytest.mark.long]
QUIET = HostOptions(log_level="CRITICAL")
CYCLES = 3_000
# Until caches are full and the interpreter has specialized its code.
WARM_UP = 500


class Loop(BackgroundService):
    async def execute(self, stopping_token: StoppingToken) -> None:
        while not await stopping_token.sleep(60):
            pass


class Hooks(HostedService):
    """Something with a start and a stop of some length."""

    def __init__(self) -> None:
        self.open = 0

    async def start(self) -> None:
        await anyio.lowlevel.checkpoint()
        self.open += 1

    async def stop(self) -> None:
        await anyio.lowlevel.checkpoint()
        self.open -= 1


class Listens(BackgroundService):
    async def execute(self, stopping_token: StoppingToken) -> None:
        undo = stopping_token.on_stop(gc.enable)
        await stopping_token.wait()
        undo()


class Fails(BackgroundService):
    async def execute(self, stopping_token: StoppingToken) -> None:
        await anyio.lowlevel.checkpoint()
        message = "no route"
        raise OSError(message)


def build(*services: HostedService) -> Host:
    """Build a quiet host."""
    builder = HostBuilder(QUIET)
    for service in services:
        builder.add_service(service)
    return builder.build()


def holdings() -> list[object]:
    """Return what the process has of all that a life could leave behind, but memory."""
    descriptors = len(list(Path("/proc/self/fd").iterdir())) if Path("/proc/self/fd").exists() else 0
    wakeup = signal.set_wakeup_fd(-1)
    signal.set_wakeup_fd(wakeup)
    handlers = [wakeup, *map(signal.getsignal, (signal.SIGINT, signal.SIGTERM))]
    return [len(anyio.get_running_tasks()), descriptors, handlers]


async def soak(live: Callable[[], Awaitable[None]], cycles: int, warm_up: int) -> str:
    """Live many times, find that nothing has grown since the warm-up, and return the curve in words."""
    for _ in range(warm_up):
        await live()
    held = holdings()
    # Not their number: a thread of another test's pool may end meanwhile.
    threads = set(threading.enumerate())
    gc.collect()
    blocks = sys.getallocatedblocks()

    curve = []
    for number in range(1, cycles - warm_up + 1):
        await live()
        if number % ((cycles - warm_up) // 10) == 0:
            gc.collect()
            curve.append(sys.getallocatedblocks() - blocks)

    assert holdings() == held
    assert set(threading.enumerate()) <= threads
    # One object left by each life would be twice as many; trio keeps up to a thousand old deadlines.
    assert curve[-1] < (cycles - warm_up) / 2
    return f"{cycles} lives; objects added after each tenth of the last {cycles - warm_up}: {curve}"


async def test_a_host_lives_three_thousand_times(figure: Callable[[str], None]) -> None:
    """3,000 lives of one host leave no task, thread, descriptor, handler and no memory behind."""
    hooks = Hooks()
    host = build(hooks, Loop(), Listens(), Loop(), Hooks())

    async def live() -> None:
        async with host:
            assert hooks.open == 1

    figure(await soak(live, CYCLES, WARM_UP))

    assert hooks.open == 0


async def test_a_thousand_hosts_live(figure: Callable[[str], None]) -> None:
    """A new host for each life leaves nothing behind either."""

    async def live() -> None:
        async with build(Hooks(), Loop(), Listens()):
            pass

    figure(await soak(live, CYCLES // 3, WARM_UP))


async def test_failures_leave_nothing_behind(figure: Callable[[str], None], caplog: pytest.LogCaptureFixture) -> None:
    """A host that fails keeps its failure until its next lifecycle, and no further."""
    host = build(Hooks(), Loop(), Fails(), Loop())

    async def live() -> None:
        try:
            async with host:
                await host.wait()
        except HostFailedError:
            return

    caplog.set_level(100, logger="hostkit")  # captured lines would keep their errors
    figure(await soak(live, 600, 200))


async def test_ten_thousand_services_start_and_stop() -> None:
    """Ten thousand services start in order and stop in reverse."""
    order: list[int] = []

    def numbered(number: int) -> Callable[[StoppingToken], Awaitable[None]]:
        async def service(stopping_token: StoppingToken) -> None:
            await stopping_token.wait()
            order.append(number)

        return service

    builder = HostBuilder(QUIET)
    for number in range(10_000):
        builder.add_service(numbered(number))
    host = builder.build()

    async with host:
        assert len(host.services) == 10_000

    assert order == list(reversed(range(10_000)))
    assert host.lifetime.exit_code == 0
