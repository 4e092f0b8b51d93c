"""A host with a page, for tests in a browser: ``python browser_app.py PORT trouble|quiet|single|orders``.

SIGUSR2 makes the service ``rates`` fail.
"""

import math
import signal
import sys
import time
from datetime import UTC, datetime

import anyio
from dashboard_durable import Engine

from hostkit import (
    BackgroundService,
    Backoff,
    EndAction,
    HostBuilder,
    HostOptions,
    Restart,
    StoppingToken,
    ThreadStoppingToken,
)
from hostkit.ext.dashboard import Dashboard, _problems
from hostkit.jobs import JobQueue
from hostkit.scheduling import Daily, Every, Scheduler

LONG = "reconcile-outstanding-invoices-with-the-accounting-system-of-the-northern-subsidiary-and-notify-the-controllers"
EVIL = "<script>alert(1)</script>\u202egnp.exe"


class Rates(BackgroundService):
    """Fails when the process gets SIGUSR2."""

    def __init__(self) -> None:
        self.runs = 0

    async def execute(self, stopping_token: StoppingToken) -> None:
        self.runs += 1
        with stopping_token.cancel_on_stop(), anyio.open_signal_receiver(signal.SIGUSR2) as signals:
            async for _ in signals:
                message = "[Errno 111] Connect call failed ('10.4.0.17', 6379)"
                raise ConnectionRefusedError(message)

    def details(self) -> dict[str, object]:
        return {"runs": self.runs}


class Unwell(BackgroundService):
    async def execute(self, stopping_token: StoppingToken) -> None:
        await stopping_token.wait()

    async def check(self) -> None:
        message = "the disk is full"
        raise OSError(message)


def charge(order: int, more: str = "") -> None:
    """Fail."""
    message = f"order {order}: Server error '502 Bad Gateway' for url 'https://api.example.com/charges'{more}"
    raise ValueError(message)


async def invoice(stopping_token: StoppingToken) -> None:
    """Go on until the stop."""
    await stopping_token.wait()


async def nothing() -> None:
    """Be a job."""


def add_trouble(builder: HostBuilder, queue: JobQueue, scheduler: Scheduler) -> None:
    """Add what is wrong."""

    @builder.service(name="stock", heartbeat_timeout=1)
    def stock(stopping_token: ThreadStoppingToken) -> None:
        while not stopping_token.stop_requested:
            time.sleep(0.05)

    @builder.service(name="gone", on_failure=EndAction.IGNORE)
    async def gone() -> None:
        await anyio.sleep(0.1)
        message = "no such table: orders"
        raise LookupError(message)

    builder.add_service(Unwell(), name="unwell")
    engine = builder.add_service(Engine(["letters"]), name="durable")
    for number in (90_411, 90_412):
        engine.fail(number, "letters", "welcome", datetime.now(UTC))
    for order in range(3):
        queue.enqueue_nowait(charge, order, " " + "x" * 3000)
    for _ in range(2):
        queue.enqueue_nowait(invoice)
    scheduler.add(reconcile, Daily("06:30", tz="Europe/Berlin"), name=LONG, run_at_start=True)
    scheduler.add(nothing, Daily("00:00").until(datetime(2020, 1, 1, tzinfo=UTC)), name=EVIL)
    scheduler.add(nothing, Daily("04:00", tz="Europe/Istanbul"), name="archive").pause()
    scheduler.add(invoice, Daily("03:00", tz="Europe/Istanbul"), name="report", run_at_start=True)


def reconcile() -> None:
    """Fail, in a few words."""
    raise KeyError("northern")


def add_orders(builder: HostBuilder, queue: JobQueue, scheduler: Scheduler) -> None:
    """Add what the pictures in the documents show."""
    builder.service(name="order-intake")(invoice)
    for order in (4711, 4712):
        queue.enqueue_nowait(charge, order)
    queue.enqueue_nowait(invoice)
    scheduler.add(nothing, Daily("03:00", tz="Europe/Istanbul"), name="nightly-report")
    scheduler.add(nothing, Daily("06:30", tz="Europe/Berlin"), name="send-invoices", run_at_start=True)
    scheduler.add(nothing, Every(minutes=15), name="fetch-rates", run_at_start=True)


def add_many(scheduler: Scheduler) -> None:
    """Add more schedules than are shown without a filter."""
    for number in range(20):
        scheduler.add(nothing, Every(minutes=5 + number), name=f"notify-{number}")
    scheduler.add(nothing, Every(hours=1), name="cleanup")


async def slow_to_stop(stopping_token: StoppingToken) -> None:
    """Take three seconds to stop."""
    await stopping_token.wait()
    await anyio.sleep(3)


_problems.LATE = math.inf  # a machine that is busy with other tests makes the event loop late

kind = sys.argv[2]
stop_delay = float(sys.argv[3]) if len(sys.argv) > 3 else 0  # the third is left out mostly
builder = HostBuilder(HostOptions(application_name="orders-worker", shutdown_timeout=20, stop_delay=stop_delay))
builder.add_service(Dashboard(builder, port=int(sys.argv[1]), actions=True))
if kind != "single":
    queue = builder.add_service(JobQueue(), name="payments")
    scheduler = builder.add_service(Scheduler(), name="scheduler")
    if kind == "orders":
        add_orders(builder, queue, scheduler)
    else:
        add_many(scheduler)
    if kind == "trouble":
        add_trouble(builder, queue, scheduler)
builder.add_service(Rates(), name="rates", on_failure=Restart(limit=5, backoff=Backoff(initial=30, jitter=0)))
if kind in {"trouble", "quiet"}:
    builder.service(name=LONG)(slow_to_stop)
host = builder.build()

if __name__ == "__main__":
    host.run()
