"""Lag: the line that blocks the event loop is named while it blocks."""

import threading
import time

import anyio
import pytest
from loguru import logger
from puppet import Plain

from hostkit import HostBuilder, HostOptions, StoppingToken
from hostkit._process import lag as _lag
from hostkit._process.lag import LagMonitor

pytestmark = pytest.mark.real_time


async def test_the_blocking_line_is_named_while_it_blocks() -> None:
    """One warning a block, with the service and the line; the status is unhealthy meanwhile."""
    lines: list[str] = []
    warned = threading.Event()
    health: list[bool] = []

    def take(message: str) -> None:
        lines.append(message)
        health.append(host.status().healthy)
        warned.set()

    sink = logger.add(take, level="WARNING", format="{extra[service]} {message}", filter="hostkit")

    async def blocking(stopping_token: StoppingToken) -> None:
        await stopping_token.sleep(0.01)
        assert warned.wait(10)
        time.sleep(0)  # noqa: ASYNC251  # what is tested
        await stopping_token.wait()

    builder = HostBuilder(HostOptions(lag_warning=0.05))
    builder.add_service(blocking)
    host = builder.build()

    try:
        async with host:
            while not warned.is_set():
                await anyio.sleep(0.01)
            await anyio.sleep(0.1)
            health.append(host.status().healthy)
    finally:
        logger.remove(sink)

    assert len(lines) == 1
    assert "service 'blocking' blocks the event loop at " in lines[0]
    assert "test_lag.py" in lines[0]
    assert lines[0].startswith("blocking ")
    assert health == [False, True]


async def test_what_blocks_outside_of_services_is_named_as_well() -> None:
    """The line of the app's own code that blocks the loop is named without a service."""
    lines: list[str] = []
    warned = threading.Event()

    def take(message: str) -> None:
        lines.append(message)
        warned.set()

    sink = logger.add(take, level="WARNING", format="{message}", filter="hostkit")
    builder = HostBuilder(HostOptions(lag_warning=0.05))
    builder.add_service(Plain())

    try:
        async with builder.build():
            await anyio.sleep(0.01)
            assert warned.wait(10)
    finally:
        logger.remove(sink)

    assert lines[0].startswith("the event loop is blocked at ")


async def test_the_thread_ends_with_the_host() -> None:
    """No thread of the monitor's survives the host, and none is there without the option."""
    builder = HostBuilder(HostOptions(log_level="CRITICAL", lag_warning=0.05))
    builder.add_service(Plain())

    async with builder.build():
        await anyio.sleep(0.01)
        assert [thread for thread in threading.enumerate() if thread.name == "hostkit: lag"]

    assert not [thread for thread in threading.enumerate() if thread.name == "hostkit: lag"]


@pytest.mark.parametrize(("lasts", "said"), [(1.5, []), (2.0, [2.0]), (9.0, [2.0])])
def test_a_block_is_told_once_when_it_is_long_enough(
    lasts: float, said: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two looks in each threshold; a beat may be half a threshold old when a block begins, which is none of it."""
    told: list[float] = []

    class Clock:
        now = 100.0

        def monotonic(self) -> float:
            return self.now

        def wait(self, seconds: float) -> bool:
            assert seconds == 0.5
            self.now += seconds
            return self.now > 100.0 + lasts

    clock = Clock()
    monkeypatch.setattr(_lag, "time", clock)
    monitor = LagMonitor(1.0, lambda _level, _message, _block, seconds, service: told.append(seconds))
    monkeypatch.setattr(monitor, "_over", clock)

    monitor._watch()

    assert told == said
    assert monitor.blocked is bool(said)
