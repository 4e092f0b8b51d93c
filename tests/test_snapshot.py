"""Status, checks, and what shows a host from outside."""

import json
import math
import subprocess
import sys
from datetime import UTC, datetime

import pytest
from puppet import Plain

from hostkit import (
    Backoff,
    EndAction,
    HostBuilder,
    HostOptions,
    HostState,
    Restart,
    StoppingToken,
    ThreadStoppingToken,
)
from hostkit._command.show import overview, overview_json
from hostkit._core.status import status_lines
from hostkit.jobs import JobQueue
from hostkit.scheduling import Daily, Every, Scheduler


def test_an_overview_shows_services_and_policies() -> None:
    """Hostkit show: one row a service, with its step and what follows when it ends."""
    builder = HostBuilder(HostOptions(application_name="app", startup_timeout=None))

    async def first(stopping_token: StoppingToken) -> None:
        """Do nothing."""

    def second(stopping_token: ThreadStoppingToken) -> None:
        """Do nothing."""

    builder.add_service(first, on_failure=Restart(backoff=Backoff(1, 1, 1, 0)), stop_timeout=2)
    builder.add_services(Plain(), second, on_failure=Restart(limit=None, then=EndAction.IGNORE), heartbeat_timeout=30)
    host = builder.build()

    lines = overview(host).splitlines()
    document = json.loads(overview_json(host))

    assert lines[0] == "app (production): start within no limit, stop within 20 s, then 5 s after cancellation"
    cells = [[cell.strip() for cell in line.split("  ") if cell] for line in lines[2:]]
    assert cells == [
        ["1", "first", "background", "restart 5 times, then stop-host", "ignore", "2 s", "-"],
        ["2", "plain", "service", "restart without limit, then ignore", "ignore", "-", "30 s"],
        ["2", "second", "thread", "restart without limit, then ignore", "ignore", "-", "30 s"],
    ]
    assert document["options"]["application_name"] == "app"
    assert document["services"][0]["on_failure"]["restart"]["limit"] == 5
    assert document["services"][0]["on_return"] == "ignore"
    assert host.lifetime.state is HostState.CREATED


def test_an_overview_can_be_read_whatever_is_in_it() -> None:
    """A name with control characters does nothing to the terminal, and what is infinite is null in JSON."""
    builder = HostBuilder(HostOptions(application_name="a\nb\x1b[31m"))
    builder.add_service(Plain(), name="c\nd\x1b[2J", on_failure=Restart(reset_after=math.inf))
    host = builder.build()

    text = overview(host)
    document = json.loads(overview_json(host), parse_constant=pytest.fail)

    assert all(line.isprintable() for line in text.split("\n"))
    assert len(text.splitlines()) == 3
    assert document["services"][0]["on_failure"]["restart"]["reset_after"] is None
    assert all(line.isprintable() for line in status_lines(host.status()).split("\n"))


def test_an_overview_shows_schedules_and_queues() -> None:
    """Hostkit show: each schedule with its zone and its next five runs, and each queue with its limits."""
    builder = HostBuilder(HostOptions(application_name="app"))
    scheduler = builder.add_service(Scheduler())
    builder.add_service(JobQueue(concurrency=3, capacity=50))
    for schedule in (Daily("03:00", tz="Europe/Istanbul"), Every(hours=1).until(datetime(2020, 1, 1, tzinfo=UTC))):
        scheduler.add(lambda: None, schedule, name=str(type(schedule).__name__).lower())
    host = builder.build()

    lines = overview(host).splitlines()
    document = json.loads(overview_json(host))

    first = next(place for place, line in enumerate(lines) if line.startswith("scheduler  job"))
    assert lines[first + 1].startswith("scheduler  daily  every day at 03:00 Europe/Istanbul")
    assert all(line.endswith("T03:00:00+03:00") for line in lines[first + 1 : first + 6])
    assert lines[first + 6].startswith("scheduler  every")
    assert lines[first + 6].endswith("never")
    assert lines[-1].split() == ["job-queue", "3", "50"]
    assert [len(schedule["next_runs"]) for schedule in document["schedules"]] == [5, 0]
    assert document["queues"] == [{"name": "job-queue", "concurrency": 3, "capacity": 50}]


def test_an_overview_imports_neither_schedules_nor_queues() -> None:
    """A host without them is shown without importing their modules."""
    code = (
        "import sys; from hostkit import HostBuilder, HostOptions; from hostkit._command.show import overview;"
        "print(overview(HostBuilder(HostOptions()).build()));"
        "assert not {'hostkit.scheduling', 'hostkit.jobs'} & set(sys.modules)"
    )

    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL, timeout=60)
