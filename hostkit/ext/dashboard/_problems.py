"""What is wrong with a host, the worst first; the page and those who read ``/status.json`` see the same."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from hostkit import HostState, HostStatus, ServiceState, ServiceStatus
from hostkit.ext.dashboard._text import line_of, short_lines, short_name, shortened, words
from hostkit.ext.dashboard._view import Clocks, HostView, iso
from hostkit.jobs import Job, JobQueue
from hostkit.scheduling import Outcome, ScheduledJob

RECENT = 3600.0
"""For how many seconds failed jobs are a problem; the column counts them after that."""
LONG_PAUSE = 3600.0
NEARLY_FULL = 0.9
LATE = 0.25
RUNS = frozenset({ServiceState.STARTED, ServiceState.STOPPED})

Problem = dict[str, Any]
Planned = tuple[str, ScheduledJob, datetime | None]
"""A scheduled job, with its scheduler's name and its next run."""


@dataclass
class Findings:
    """What the problems are found in."""

    view: HostView
    status: HostStatus
    services: Sequence[ServiceStatus]
    clocks: Clocks
    jobs: Sequence[Planned]
    checks: Mapping[str, Exception | None]
    loop_lag: float | None


def find_problems(found: Findings) -> list[Problem]:
    """Return all problems: bad ones before warnings, each in the order of services, schedules and queues."""
    problems = [
        *_of_services(found),
        *_of_schedules(found),
        *_of_queues(found),
        *_of_durable_jobs(found),
        *_of_loop(found),
    ]
    return sorted(problems, key=lambda problem: problem["level"] == "warn")


def _problem(level: str, kind: str, name: str, text: str, **more: object) -> Problem:
    unsaid: Problem = {"why": None, "where": None, "since": None, "action": None}
    return {"level": level, "kind": kind, "name": short_name(name), "text": text, **unsaid, **more}


def _of_services(found: Findings) -> Iterator[Problem]:
    for service in found.services:
        if service.state is ServiceState.FAILED or service.state is ServiceState.ABANDONED:
            failed = service.state is ServiceState.FAILED
            text = "has failed." if failed else "was abandoned: it ignored its cancellation."
            action = "restart" if failed else None
            yield _problem("bad", "service", service.name, text, **_failure(service, found), action=action)
        elif service.state is ServiceState.RESTARTING:
            text = "failed and is about to restart" + _attempt(service) + "."
            yield _problem("warn", "service", service.name, text, **_failure(service, found), action="restart")
        elif service.state is ServiceState.STARTING and found.status.state is HostState.STARTED:
            text = "starts again" + _attempt(service) + "."
            yield _problem("warn", "service", service.name, text, **_failure(service, found))
        elif service.stalled:
            silent, allowed = service.silent_for or 0.0, service.heartbeat_timeout or 0.0
            text = f"is stalled: silent for {_span(silent)}, more than {_span(allowed)}."
            where, since = short_lines(service.waiting_at), _ago(silent, found, service.name, "silent")
            yield _problem("warn", "service", service.name, text, where=where, since=since)
        elif service.state in RUNS and found.status.state is HostState.STARTED:
            error = found.checks.get(service.name)
            if error is not None:
                yield _problem("warn", "service", service.name, "is not well.", why=words(error))


def _failure(service: ServiceStatus, found: Findings) -> Problem:
    failures = [each for each in found.view.events.entries.get(service.name, ()) if each.what == "failed"]
    return {
        "why": None if service.last_failure is None else shortened(service.last_failure),
        "where": failures[-1].where if failures else short_lines(service.waiting_at),
        "since": found.clocks.instant(failures[-1].first_at)
        if failures
        else found.clocks.steady(service.since, service.name, "since"),
    }


def _attempt(service: ServiceStatus) -> str:
    limit = "" if service.restart_limit is None else f" of {service.restart_limit}"
    return f", restart {service.failures_in_a_row}{limit}" if service.failures_in_a_row else ""


def _of_schedules(found: Findings) -> Iterator[Problem]:
    for name, scheduler in found.view.schedulers().items():
        yield from _of_pause("service", name, "is paused: none of its jobs runs.", found, paused=scheduler.paused)
    for scheduler_name, job, upcoming in found.jobs:
        last = job.last_run
        more = {"scheduler": short_name(scheduler_name)}
        if last is not None and last.outcome is Outcome.FAILED:
            since = iso(last.planned if last.started is None else last.started)
            why, where = words(last.error) or last.reason, line_of(last.error)
            yield _problem(
                "bad", "schedule", job.name, "failed in its last run.",
                why=why, where=where, since=since, action="run-now", **more,
            )  # fmt: skip
        elif upcoming is None and _never_runs(scheduler_name, job, found):
            text = f"never runs: {job.schedule} has no instant to come."
            yield _problem(
                "warn",
                "schedule",
                job.name,
                shortened(text),
                since=found.clocks.steady(found.status.started_at, "started"),
                **more,
            )


def _never_runs(scheduler: str, job: ScheduledJob, found: Findings) -> bool:
    steered = job.paused or found.view.schedulers()[scheduler].paused
    return found.status.state is HostState.STARTED and not (steered or job.history or job.running)


def _of_queues(found: Findings) -> Iterator[Problem]:
    for name, queue in found.view.queues().items():
        recent = [job for job in queue.failed if found.clocks.age(job.ended_at) < RECENT]
        if recent:
            last = recent[-1]
            text = f"has {_jobs(len(queue.failed), 'failed')}; the last is {_job(last)}."
            yield _job_problem(name, text, last, found, "requeue-all")
        if queue.lost:
            last = queue.lost[-1]
            text = f"has lost {_jobs(len(queue.lost))} at the last stop; the last is {_job(last)}."
            yield _job_problem(name, text, last, found, None)  # gone for good once the queue starts again
        yield from _of_room(name, queue, found)


def _of_room(name: str, queue: JobQueue, found: Findings) -> Iterator[Problem]:
    counts = queue.counts
    waiting = sum(number for state, number in counts.items() if state.value in {"waiting", "delayed", "retrying"})
    if waiting >= NEARLY_FULL * queue.capacity:
        yield _problem("warn", "queue", name, f"is nearly full: {waiting:,} of {queue.capacity:,} jobs wait.")
    yield from _of_pause("queue", name, "is paused: none of its jobs begins.", found, paused=queue.paused)


def _of_pause(kind: str, name: str, text: str, found: Findings, *, paused: bool) -> Iterator[Problem]:
    paused_for = found.view.paused_for(name, found.clocks, paused=paused)
    if paused_for >= LONG_PAUSE:
        since = _ago(paused_for, found, name, "paused")
        yield _problem("warn", kind, name, text, since=since, action="resume")


def _job_problem(queue: str, text: str, last: Job[object], found: Findings, action: str | None) -> Problem:
    since = found.clocks.instant(last.ended_at)
    return _problem(
        "bad", "queue", queue, text, why=words(last.error), where=line_of(last.error), since=since, action=action
    )


def _of_durable_jobs(found: Findings) -> Iterator[Problem]:
    durable = found.view.durable
    for name, error in durable.errors.items():
        yield _problem("bad", "service", name, "does not reach its database.", why=words(error))
    for name, jobs in durable.failed.items():
        recent = [job for job in jobs if job.at is not None and _seconds_since(job.at, found) < RECENT]
        if recent:
            last, number = recent[0], durable.counts.get(name, {}).get("failed", len(recent))
            text = f"has {_jobs(number, 'failed')}; the last is {short_name(last.task)} (job {last.id})."
            why = None if last.error is None else shortened(last.error)
            yield _problem("bad", "durable", name, text, why=why, since=last.at, action="retry-all")


def _seconds_since(instant: str, found: Findings) -> float:
    return (found.clocks.now - datetime.fromisoformat(instant)).total_seconds()


def _of_loop(found: Findings) -> Iterator[Problem]:
    if found.loop_lag is not None and found.loop_lag >= LATE:
        text = f"has an event loop that was {_span(found.loop_lag)} late in the last minute: something blocks it."
        yield _problem("warn", "host", found.status.application_name, text)


def _ago(seconds: float, found: Findings, *key: str) -> str | None:
    return found.clocks.steady(iso(found.clocks.now - timedelta(seconds=seconds)), *key)


def _job(job: Job[object]) -> str:
    return f"{short_name(job.name)} (job {job.id})"


def _jobs(number: int, adjective: str = "") -> str:
    return f"{number:,} {adjective}{' ' * bool(adjective)}job{'s' * (number != 1)}"


def _span(seconds: float) -> str:
    return f"{seconds:.2g} s" if seconds < 1 else f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"  # noqa: PLR2004
