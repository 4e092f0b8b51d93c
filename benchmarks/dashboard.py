"""What a dashboard costs its host while no page is open, while one is open, at a scrape, and under a crowd of clients.

The host has as many services as scheduled jobs, a tenth as many queues, and nothing to do.
"""

import asyncio
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import median

import anyio
from loguru import logger

from benchmarks._measure import HOSTKIT, Budget, Contestant, Figure, Figures, Measure
from hostkit import BackgroundService, Host, HostBuilder, HostOptions, StoppingToken
from hostkit.ext.dashboard import Dashboard
from hostkit.jobs import JobQueue
from hostkit.scheduling import Every, Scheduler

SIZE = 100
SETTLE = 1.0
SECONDS = 10.0
SCRAPES = 20
TICK = (0.009, 0.011)
CPU, WAKEUPS, SCRAPE = "CPU while idle", "wake-ups of the loop", "a scrape"
LATE, LATE_LATER = "a tick is late, p99", "without the first tenth, p99"
WITHOUT, CLOSED, OPEN = "no dashboard", "no page is open", "one page is open"
NO_CLIENT, ONE_STREAM, STREAMS = "no client", "one stream is asked for", "1,000 streams are asked for"
CROWD = """
import os, socket, sys
os.nice(19)  # it would be on another machine: what it does with the answers must not hold up the host
clients = []
for _ in range(int(sys.argv[2])):
    try:
        client = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
        client.sendall(b"GET /events HTTP/1.1\\r\\nHost: localhost\\r\\n\\r\\n")
    except ConnectionError:
        continue
    clients.append(client)
print("open", flush=True)
import selectors
selector = selectors.DefaultSelector()
for client in clients:
    client.setblocking(False)
    selector.register(client, selectors.EVENT_READ)
while selector.get_map():
    for key, _ in selector.select():
        try:
            if key.fileobj.recv(65536):
                continue
        except ConnectionError:
            pass
        selector.unregister(key.fileobj)
"""


class Busy(BackgroundService):
    """A service that is never the same in two snapshots."""

    def __init__(self) -> None:
        """Begin."""
        self.late: list[float] = []

    def details(self) -> dict[str, object]:
        """Tell how far it is."""
        return {"ticks": len(self.late)}

    async def execute(self, stopping_token: StoppingToken) -> None:
        """Tick until the stop.

        A wait of asyncio ends at a whole millisecond. If nothing else wakes the loop, waits of one length are all late
        by the same part of it, and after any other timer by another part: lengths by chance have all parts alike.
        """
        while not stopping_token.stop_requested:
            due = anyio.current_time() + random.uniform(*TICK)  # noqa: S311  # no secret
            await anyio.sleep_until(due)
            self.late.append(anyio.current_time() - due)


class Idle(BackgroundService):
    """A service that waits."""

    async def execute(self, stopping_token: StoppingToken) -> None:
        """Wait for the stop."""
        await stopping_token.wait()


async def nothing() -> None:
    """Be a job."""


def run(size: int, contestant: str) -> Figures:
    """Rest for a while, and return what that has taken."""
    logger.disable("hostkit")
    return anyio.run(_run, size, contestant)


def run_scrape(size: int) -> Figures:
    """Ask for the metrics, again and again."""
    logger.disable("hostkit")
    return anyio.run(_run_scrape, size)


async def _run(size: int, contestant: str) -> Figures:
    builder = HostBuilder(HostOptions(log_level="ERROR"))
    dashboard = None if contestant == WITHOUT else builder.add_service(Dashboard(builder, port=0))
    async with _host(builder, size):
        with _reader(dashboard.port if dashboard is not None and contestant == OPEN else None):
            return await _rest()


async def _run_scrape(size: int) -> Figures:
    builder = HostBuilder(HostOptions(log_level="ERROR"))
    dashboard = builder.add_service(Dashboard(builder, port=0))
    async with _host(builder, size):
        return {SCRAPE: await _scrape(dashboard.port)}


def run_streams(size: int, contestant: str) -> Figures:
    """Let a service tick beside a crowd of clients."""
    logger.disable("hostkit")
    return anyio.run(_run_streams, size, contestant)


async def _run_streams(size: int, contestant: str) -> Figures:
    builder = HostBuilder(HostOptions(log_level="ERROR"))
    dashboard = builder.add_service(Dashboard(builder, port=0))
    busy = builder.add_service(Busy())
    async with _host(builder, size):
        command = [sys.executable, "-c", CROWD, str(dashboard.port), "1000" if contestant == STREAMS else "1"]
        crowd = None if contestant == NO_CLIENT else await anyio.open_process(command)
        try:
            if crowd is not None:
                assert crowd.stdout is not None
                await crowd.stdout.receive()
            begun = len(busy.late)
            await anyio.sleep(SECONDS)
        finally:
            if crowd is not None:
                crowd.kill()
                await crowd.wait()
    late = busy.late[begun:]
    # In the first second most of a crowd are refused.
    return {LATE: _percentile_99(late) * 1000, LATE_LATER: _percentile_99(late[len(late) // 10 :]) * 1000}


def _percentile_99(readings: list[float]) -> float:
    return sorted(readings)[len(readings) * 99 // 100]


def _host(builder: HostBuilder, size: int) -> Host:
    for _ in range(size):
        builder.add_service(Idle())
    scheduler = builder.add_service(Scheduler())
    for number in range(size):
        scheduler.add(nothing, Every(hours=1), name=f"job {number}")
    for _ in range(size // 10):
        builder.add_service(JobQueue())
    return builder.build()


async def _rest() -> Figures:
    await anyio.sleep(SETTLE)
    loop = asyncio.get_running_loop()
    selector = loop._selector  # type: ignore[attr-defined]  # noqa: SLF001  # where a loop sleeps
    select, wakeups = selector.select, 0

    def counted(timeout: float | None) -> object:
        nonlocal wakeups
        wakeups += 1
        return select(timeout)

    selector.select = counted
    began = time.process_time()
    await anyio.sleep(SECONDS)
    cost = time.process_time() - began
    selector.select = select
    return {CPU: cost / SECONDS * 1000, WAKEUPS: wakeups / SECONDS}  # that of this measurement among them


@contextmanager
def _reader(port: int | None) -> Iterator[None]:
    if port is None:
        yield
        return
    process = subprocess.Popen([sys.executable, "-c", CROWD, str(port), "1"], stdout=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.kill()
        process.wait()


async def _scrape(port: int) -> float:
    took = []
    for _ in range(SCRAPES):
        began = time.perf_counter()
        async with await anyio.connect_tcp("127.0.0.1", port) as stream:
            await stream.send(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            async for _ in stream:
                pass
        took.append(time.perf_counter() - began)
    return median(took) * 1000


MEASURES = (
    Measure(
        "dashboard",
        "a host at rest, {size} services and jobs",
        (Figure(CPU, "ms a second", per_item=False), Figure(WAKEUPS, "a second", per_item=False)),
        (SIZE,),
        tuple(Contestant(name, run, (name,)) for name in (WITHOUT, CLOSED, OPEN)),
        baseline=WITHOUT,
        budgets=(
            Budget(CPU, SIZE, 1.0, to=None, contestant=CLOSED),
            Budget(WAKEUPS, SIZE, 0.5, to=None, contestant=CLOSED),
            Budget(CPU, SIZE, 5.0, to=None, contestant=OPEN),
        ),
        requires="prometheus_client",
    ),
    Measure(
        "scrape",
        "/metrics of a host with {size} services and jobs",
        (Figure(SCRAPE, "ms", per_item=False),),
        (SIZE,),
        (Contestant(HOSTKIT, run_scrape),),
        baseline=HOSTKIT,
        budgets=(Budget(SCRAPE, SIZE, 10.0, to=None),),
        requires="prometheus_client",
    ),
    Measure(
        "streams",
        "a service that ticks in a host with {size} services and jobs",
        (Figure(LATE, "ms", per_item=False), Figure(LATE_LATER, "ms", per_item=False)),
        (SIZE,),
        tuple(Contestant(name, run_streams, (name,)) for name in (NO_CLIENT, ONE_STREAM, STREAMS)),
        baseline=NO_CLIENT,
        budgets=tuple(Budget(LATE, SIZE, 1.1, to=NO_CLIENT, contestant=name) for name in (ONE_STREAM, STREAMS)),
        requires="prometheus_client",
    ),
)
