"""Status, checks, and what shows a host from outside."""

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime, timedelta

import anyio
import pytest
from puppet import QUIET, Plain, Puppet, build, trace

from hostkit import (
    Backoff,
    EndAction,
    HostBuilder,
    HostedService,
    HostOptions,
    HostState,
    Restart,
    StoppingToken,
    ThreadStoppingToken,
)
from hostkit._command.show import overview, overview_json
from hostkit._core.snapshot import status_lines
from hostkit.jobs import JobQueue
from hostkit.scheduling import Daily, Every, Scheduler


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


class Checked(HostedService):
    """A service with an answer."""

    def __init__(self, error: Exception | None = None, delay: float = 0) -> None:
        self.error = error
        self.delay = delay

    async def check(self) -> None:
        await anyio.sleep(self.delay)
        if self.error is not None:
            raise self.error


async def test_checks_are_asked_side_by_side() -> None:
    """Every service's check() is asked; each answer is reported, in start order."""
    error = OSError("no route")
    host, _ = build(Checked(delay=2), Checked(error, delay=2), Checked(delay=100), Plain())

    results: Mapping[str, Exception | None] = {}
    async with host:
        results = await host.check(timeout=timedelta(seconds=3))

    assert anyio.current_time() == 3
    assert list(results) == ["a", "b", "c", "d"]
    assert results["a"] is results["d"] is None
    assert results["b"] is error
    assert isinstance(results["c"], TimeoutError)
    assert str(results["c"]) == "check() of service 'c' took longer than 3 s"


async def test_a_check_has_five_seconds() -> None:
    """Each check, not all of them together."""
    host, _ = build(Checked(delay=4.9), Checked(delay=5.1))

    results = await host.check()

    assert [type(error) for error in results.values()] == [type(None), TimeoutError]
    assert anyio.current_time() == 5


async def test_a_wrong_timeout_of_a_check_is_refused() -> None:
    """The timeout is a duration."""
    host, _ = build(Plain())

    with pytest.raises(ValueError, match="timeout must not be negative"):
        await host.check(timeout=-1)


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
