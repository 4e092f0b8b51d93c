"""What ``hostkit show`` prints: a host's services, policies, schedules and queues, without starting anything."""

import json
import sys
from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, TypedDict

from hostkit import Host, Restart
from hostkit._core.registration import Policy
from hostkit._values import clock as _clock
from hostkit._values.text import printable, table

if TYPE_CHECKING:
    from hostkit.jobs import JobQueue
    from hostkit.scheduling import Scheduler

NEXT_RUNS = 5
COLUMNS = ("step", "service", "kind", "on failure", "on return", "stop timeout", "heartbeat")


class _Job(TypedDict):
    name: str
    schedule: str
    next_runs: list[str]


def overview(host: Host) -> str:
    """Return the services as a table, in start order; what stands in one step starts and stops together."""
    options = host.options
    rows = [COLUMNS]
    rows += [
        (
            str(registration.step + 1),
            registration.name,
            registration.kind,
            _words(registration.on_failure),
            _words(registration.on_return),
            _seconds(registration.stop_timeout),
            _seconds(registration.heartbeat_timeout),
        )
        for registration in host.registrations.values()
    ]
    start = "no limit" if options.startup_timeout is None else f"{options.startup_timeout:g} s"
    head = printable(
        f"{options.application_name} ({options.environment}): start within {start}, "
        f"stop within {options.shutdown_timeout:g} s, then {options.cancellation_timeout:g} s after cancellation"
    )
    schedules = [row for name, scheduler in _schedulers(host) for job in _jobs(scheduler) for row in _rows(name, job)]
    queues = [(name, str(queue.concurrency), str(queue.capacity)) for name, queue in _queues(host)]
    return (
        f"{head}\n"
        + table(rows)
        + ("\n" + table([("scheduler", "job", "schedule", "next runs"), *schedules]) if schedules else "")
        + ("\n" + table([("queue", "concurrency", "capacity"), *queues]) if queues else "")
    )


def overview_json(host: Host) -> str:
    """Return the services, and the host's options, as one JSON object."""
    services = [
        {
            "step": registration.step + 1,
            "name": registration.name,
            "kind": registration.kind,
            "on_failure": _plain(registration.on_failure),
            "on_return": _plain(registration.on_return),
            "stop_timeout": registration.stop_timeout,
            "heartbeat_timeout": registration.heartbeat_timeout,
        }
        for registration in host.registrations.values()
    ]
    document = {
        "options": asdict(host.options),
        "services": services,
        "schedules": [{"scheduler": name, **job} for name, scheduler in _schedulers(host) for job in _jobs(scheduler)],
        "queues": [
            {"name": name, "concurrency": queue.concurrency, "capacity": queue.capacity}
            for name, queue in _queues(host)
        ],
    }
    # What is infinite is none: JSON has no word for it.
    document = json.loads(json.dumps(document), parse_constant=lambda _: None)
    return json.dumps(document, indent=2) + "\n"


# A host that has one has imported its module; nothing is imported for those that have none.


def _schedulers(host: Host) -> "list[tuple[str, Scheduler]]":
    if "hostkit.scheduling" not in sys.modules:
        return []
    from hostkit.scheduling import Scheduler

    return [(name, service) for name, service in host.services.items() if isinstance(service, Scheduler)]


def _queues(host: Host) -> "list[tuple[str, JobQueue]]":
    if "hostkit.jobs" not in sys.modules:
        return []
    from hostkit.jobs import JobQueue

    return [(name, service) for name, service in host.services.items() if isinstance(service, JobQueue)]


def _rows(scheduler: str, job: "_Job") -> Iterator[tuple[str, str, str, str]]:
    first, *others = job["next_runs"] or ["never"]
    yield scheduler, job["name"], job["schedule"], first
    for run in others:
        yield "", "", "", run


def _jobs(scheduler: "Scheduler") -> "list[_Job]":
    after = _clock.now()
    return [
        {
            "name": job.name,
            "schedule": str(job.schedule),
            "next_runs": [
                instant.isoformat(timespec="seconds") for instant in job.schedule.upcoming(NEXT_RUNS, after=after)
            ],
        }
        for job in scheduler.jobs.values()
    ]


def _words(policy: Policy) -> str:
    if not isinstance(policy, Restart):
        return policy.value
    limit = "without limit" if policy.limit is None else f"{policy.limit} times"
    return f"restart {limit}, then {policy.then.value}"


def _plain(policy: Policy) -> object:
    return {"restart": asdict(policy)} if isinstance(policy, Restart) else policy.value


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:g} s"
