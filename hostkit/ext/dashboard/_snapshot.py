"""The state of a host as JSON, version 1: what ``/status.json`` and the page show."""

import json
import os
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple, TypeVar

from hostkit import Host, HostState, HostStatus, ServiceStatus
from hostkit.ext.dashboard._problems import RUNS, Findings, Planned, find_problems
from hostkit.ext.dashboard._text import details, hostkit_version, short_lines, short_name, shortened, words
from hostkit.ext.dashboard._view import Clocks, DurableWorker, HostView, iso
from hostkit.jobs import JobQueue
from hostkit.scheduling import Run, Schedule, ScheduledJob, Scheduler

MOST = 500
"""How many of each list are shown; ``totals`` has how many there are."""
MOST_PROBLEMS = 100
SHORT_ERROR = 300
PART = 10
"""How many items of a list are read without a turn for others."""

JSON = dict[str, Any]
Pause = Callable[[], Awaitable[None]]
Row = tuple[str, ScheduledJob, str | None]
"""A scheduled job, with its scheduler's name and its next run as text."""
T = TypeVar("T")

_encode = json.JSONEncoder(allow_nan=False, separators=(",", ":")).encode


class Snapshot(NamedTuple):
    """One reading of a host.

    Attributes:
        text: JSON, all of it ASCII, in one line.
        changing: The same without what every reading changes: whether there is anything new.
    """

    text: str
    changing: str


async def take(  # noqa: PLR0913  # one for each thing that it shows
    view: HostView,
    pause: Pause,
    *,
    token: bool,
    actions: bool,
    checks: Mapping[str, Exception | None],
    loop_lag: float | None,
) -> Snapshot | None:
    """Read the host, in parts between which the event loop serves others; None while the builder has not made it.

    Args:
        view: The host.
        pause: Awaited between two parts.
        token: Whether clients sign in.
        actions: Whether the page may steer it.
        checks: The last results of the services' checks.
        loop_lag: The largest lateness of the event loop in the last minute, in seconds, if it is measured.
    """
    host = view.host
    if host is None:
        return None
    status = host.status(services=False)
    if status.state is not HostState.STARTED:
        checks = {}  # they are not asked any more
    clocks = view.clocks(status)
    schedulers, queues, workers = view.schedulers(), view.queues(), view.durable_workers()
    roles: JSON = dict.fromkeys(schedulers, "scheduler") | dict.fromkeys(queues, "queue")
    roles |= dict.fromkeys(workers, "durable") | dict.fromkeys(view.dashboards(), "dashboard")
    await pause()
    services: list[ServiceStatus] = []
    for names in _parts(tuple(host.services)):
        services += map(host.service_status, names)
        await pause()
    jobs: list[Planned] = []
    for part in _parts(tuple(view.schedules())):
        jobs += [(scheduler, job, job.next_run) for scheduler, job in part]
        await pause()
    problems = find_problems(Findings(view, status, services, clocks, jobs, checks, loop_lag))
    await pause()
    urgent = {(each.get("scheduler"), each["name"]) for each in problems if each["kind"] in {"service", "schedule"}}
    durable = [_durable(name, worker, view) for name, worker in workers.items()]
    content: JSON = {
        "version": 1,
        "at": status.at,
        "hostkit": hostkit_version(),
        "pid": os.getpid(),
        "token": token,
        "actions": actions,
        "host": _host(host, status, clocks, loop_lag),
        "problems": problems[:MOST_PROBLEMS],
        "durable": durable[:MOST],
        "totals": {
            "problems": len(problems),
            "services": len(services),
            "schedules": len(jobs),
            "queues": len(queues),
            "durable": len(durable),
        },
    }
    await pause()

    def service(each: ServiceStatus) -> JSON:
        name = each.name
        return _service(each, clocks, roles.get(name), schedulers.get(name), checks.get(name))

    if len(services) > MOST:  # otherwise all are shown, in their own order
        services.sort(key=lambda each: (None, short_name(each.name)) not in urgent)
    service_rows = await _list(services, service, pause)
    schedule_rows = await _list(_in_order(jobs, urgent, clocks), _schedule, pause)
    queue_rows = await _list(tuple(queues.items()), _queue, pause)
    more = f'"services":{service_rows},"schedules":{schedule_rows},"queues":{queue_rows}'
    text = f"{_encode(content)[:-1]},{more}}}"
    changing = text.replace(f'"at":"{status.at}"', "", 1)
    # What is different at each reading is no news: a loop that is late is a problem as well.
    return Snapshot(text, changing.replace(f'"loop_lag":{json.dumps(content["host"]["loop_lag"])}', "", 1))


def _parts(items: Sequence[T]) -> Iterator[Sequence[T]]:
    """Return *items*, a few at a time."""
    return (items[start : start + PART] for start in range(0, len(items), PART))


async def _list(items: Sequence[T], row: Callable[[T], JSON], pause: Pause) -> str:
    """Return a JSON list of what *row* makes of the first *items*."""
    texts = []
    for part in _parts(items[:MOST]):
        texts.append(_encode([row(item) for item in part])[1:-1])
        await pause()
    return f"[{','.join(texts)}]"


def run_json(run: Run, limit: int = SHORT_ERROR) -> JSON:
    """Return a run of a scheduled job, its error shortened to *limit* characters."""
    error = words(run.error)
    return {
        "planned": iso(run.planned),
        "started": None if run.started is None else iso(run.started),
        "duration": run.duration,
        "outcome": None if run.outcome is None else run.outcome.value,
        "reason": None if run.reason is None else shortened(run.reason, limit),
        "error": None if error is None else shortened(error, limit),
    }


def _host(host: Host, status: HostStatus, clocks: Clocks, loop_lag: float | None) -> JSON:
    return {
        "application_name": short_name(status.application_name),
        "environment": short_name(status.environment),
        "state": status.state.value,
        "since": clocks.steady(status.since, "since", status.state),
        "started_at": clocks.steady(status.started_at, "started"),
        "ready": status.ready,
        "healthy": status.healthy,
        "stop_reason": None if status.stop_reason is None else shortened(status.stop_reason, SHORT_ERROR),
        "exit_code": status.exit_code,
        "seconds_to_stop": _tenths(status.seconds_to_stop),
        "seconds_to_cancel": _tenths(status.seconds_to_cancel),
        "seconds_to_abandon": _tenths(status.seconds_to_abandon),
        "shutdown_timeout": host.options.shutdown_timeout,
        "waiting_for": [short_name(name) for name in status.waiting_for[:MOST]],
        "loop_lag": None if loop_lag is None else round(loop_lag, 3),
    }


def _service(
    service: ServiceStatus, clocks: Clocks, role: str | None, scheduler: Scheduler | None, check: Exception | None
) -> JSON:
    name = service.name
    unwell = words(check) if service.state in RUNS and not service.stalled else None
    return {
        "name": short_name(service.name),
        "kind": service.kind,
        "role": role,
        "paused": scheduler is not None and scheduler.paused,
        "step": service.step,
        "state": service.state.value,
        "since": clocks.steady(service.since, name, "since"),
        "restarts": service.restarts,
        "failures_in_a_row": service.failures_in_a_row,
        "restart_limit": service.restart_limit,
        "restart_at": clocks.steady(service.restart_at, name, "restart"),
        "stalled": service.stalled,
        "silent_for": round(service.silent_for) if service.stalled and service.silent_for is not None else None,
        "last_failure": None if service.last_failure is None else shortened(service.last_failure, SHORT_ERROR),
        "last_failure_at": clocks.steady(service.last_failure_at, name, "failure"),
        "waiting_at": short_lines(service.waiting_at),
        "check": None if unwell is None else shortened(unwell, SHORT_ERROR),
        # What a scheduler and a queue do has rows of its own.
        "details": {} if role in {"scheduler", "queue"} else details(service.details),
    }


def _in_order(jobs: Sequence[Planned], urgent: set[tuple[str | None, str]], clocks: Clocks) -> list[Row]:
    """Return the jobs that have a problem, then the others, both by their next run."""

    def order(entry: tuple[bool, float, Row]) -> tuple[bool, float]:
        return entry[:2]

    rows = []
    for scheduler, job, planned in jobs:
        # The next run of an interval is reckoned anew at each reading: jobs of the same instant would change places.
        upcoming, text = (None, None) if planned is None else clocks.settled(planned, scheduler, job.name)
        due = float("inf") if upcoming is None else upcoming.timestamp()
        is_urgent = (short_name(scheduler), short_name(job.name)) in urgent
        rows.append((not is_urgent, due, (scheduler, job, text)))
    return [row for _, _, row in sorted(rows, key=order)]


def _schedule(row: Row) -> JSON:
    scheduler, job, next_run = row
    rule, zone = _rule(job.schedule)
    history, runs = job.history, job.runs
    began = [run.started for run in runs if run.started is not None]
    return {
        "scheduler": short_name(scheduler),
        "name": short_name(job.name),
        "rule": rule,
        "zone": zone,
        "paused": job.paused,
        "running": len(runs),
        "running_since": iso(min(began)) if began else None,
        "next_run": next_run,
        "last": run_json(history[-1]) if history else None,
    }


@lru_cache(maxsize=2 * MOST)
def _rule(schedule: Schedule) -> tuple[str, str | None]:
    """Return a schedule in words, and its zone, which the page shows on a line of its own; an interval has none."""
    zone = None if schedule.period is not None else schedule.tz
    return shortened(str(schedule).replace(f" {zone}", ""), SHORT_ERROR), zone


def _queue(named: tuple[str, JobQueue]) -> JSON:
    name, queue = named
    return {
        "name": short_name(name),
        "concurrency": queue.concurrency,
        "capacity": queue.capacity,
        "paused": queue.paused,
        "counts": {state.value: number for state, number in queue.counts.items()},
        "failed_kept": len(queue.failed),
        "lost_kept": len(queue.lost),
        "oldest_waiting_age": round(queue.oldest_waiting_age, 1),
    }


def _durable(name: str, worker: DurableWorker, view: HostView) -> JSON:
    queues = worker.details().get("queues")
    named = ", ".join(map(str, queues)) if isinstance(queues, Sequence) and not isinstance(queues, str) else None
    counts, oldest = view.durable.counts.get(name, {}), view.durable.oldest.get(name)
    return {
        "service": short_name(name),
        "queue": short_name(named or "all queues"),
        "counts": dict(counts),
        "oldest": None if oldest is None else round(oldest),
    }


def _tenths(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 1)
