"""``host.status()`` of many services, beside the making of its rows alone."""

import json
import time
from dataclasses import asdict
from functools import partial
from statistics import median

import anyio

from benchmarks._measure import Figures, Row, in_child, interleave
from hostkit import BackgroundService, HostBuilder, HostOptions, ServiceState, ServiceStatus, StoppingToken

SERVICES = 1_000
CALLS = 30
STATUS, ROWS = "host.status()", "rows alone"


def measure(rounds: int) -> list[Row]:
    """Ask a host with a thousand services."""
    return interleave(
        f"status of {SERVICES:,} services",
        {ROWS: partial(in_child, run_rows), STATUS: partial(in_child, run_status)},
        rounds,
        units={"a call": "ms"},
        baseline=ROWS,
        limits={(STATUS, "a call"): 5.0},
    )


class Waiting(BackgroundService):
    """A service that waits for the stop, a call deep."""

    async def execute(self, stopping_token: StoppingToken) -> None:
        """Wait."""
        await self.work(stopping_token)

    async def work(self, stopping_token: StoppingToken) -> None:
        """Wait, as the line that a status names."""
        while not await stopping_token.sleep(3600):
            pass


def run_status() -> Figures:
    """Measure hostkit in this process."""
    return anyio.run(_status)


async def _status() -> Figures:
    builder = HostBuilder(HostOptions(log_level="ERROR"))
    builder.add_services(*(Waiting() for _ in range(SERVICES)))
    host = builder.build()
    async with host:
        await anyio.wait_all_tasks_blocked()
        status = host.status()
        assert len(status.services) == SERVICES
        assert all("in Waiting.work" in (row.waiting_at or "") for row in status.services)
        assert json.loads(json.dumps(asdict(status)))["ready"]
        took = []
        for _ in range(CALLS):
            began = time.perf_counter()
            host.status()
            took.append(time.perf_counter() - began)
    return {"a call": median(took) * 1000}


def run_rows() -> Figures:
    """Make as many rows of constants."""
    took = []
    for _ in range(CALLS):
        began = time.perf_counter()
        rows = tuple(_row(number) for number in range(SERVICES))
        took.append(time.perf_counter() - began)
        assert len(rows) == SERVICES
    return {"a call": median(took) * 1000}


def _row(number: int) -> ServiceStatus:
    return ServiceStatus(
        name=f"waiting-{number}",
        kind="background",
        state=ServiceState.STARTED,
        since="2024-01-01T00:00:00.000+00:00",
        restarts=0,
        last_failure=None,
        stalled=False,
        waiting_at=None,
    )
