"""``host.status()`` of many services, beside the making of its rows alone."""

import json
import time
from dataclasses import asdict, fields
from statistics import median

import anyio

from benchmarks._measure import HOSTKIT, Budget, Contestant, Figure, Figures, Measure
from hostkit import BackgroundService, HostBuilder, HostOptions, StoppingToken

CALLS = 30
ROWS, FIGURE = "rows alone", "a call"


class Waiting(BackgroundService):
    """A service that waits for the stop, a call deep."""

    async def execute(self, stopping_token: StoppingToken) -> None:
        """Wait."""
        await self.work(stopping_token)

    async def work(self, stopping_token: StoppingToken) -> None:
        """Wait, as the line that a status names."""
        while not await stopping_token.sleep(3600):
            pass


def run_status(count: int, *, rows_alone: bool = False) -> Figures:
    """Ask a host for its status, or make copies of the rows of one."""

    async def main() -> Figures:
        builder = HostBuilder(HostOptions(log_level="ERROR"))
        builder.add_services(*(Waiting() for _ in range(count)))
        async with builder.build() as host:
            await anyio.wait_all_tasks_blocked()
            status = host.status()
            assert len(status.services) == count
            assert all("in Waiting.work" in (row.waiting_at or "") for row in status.services)
            assert json.loads(json.dumps(asdict(status)))["ready"]
            values = [{field.name: getattr(row, field.name) for field in fields(row)} for row in status.services]
            make = type(status.services[0])
            took = []
            for _ in range(CALLS):
                began = time.perf_counter()
                rows = tuple(make(**row) for row in values) if rows_alone else host.status().services
                took.append(time.perf_counter() - began)
                assert len(rows) == count
        return {FIGURE: median(took) * 1000}

    return anyio.run(main)


def run_rows(count: int) -> Figures:
    """Make the rows alone."""
    return run_status(count, rows_alone=True)


MEASURES = (
    Measure(
        "status",
        "the status of {size} services",
        (Figure(FIGURE, "ms", per_item=False),),
        (10, 100, 1_000),
        (Contestant(ROWS, run_rows), Contestant(HOSTKIT, run_status)),
        baseline=ROWS,
        budgets=(Budget(FIGURE, 1_000, 5.0, to=None),),
    ),
)
