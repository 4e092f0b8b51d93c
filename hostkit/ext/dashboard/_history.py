"""What a row of the page opens to, as JSON: history, jobs one by one, policy."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import Any

from hostkit import EndAction, Host, Restart
from hostkit.ext.dashboard._snapshot import JSON, run_json
from hostkit.ext.dashboard._text import LONGEST_TEXT, line_of, short_name, shortened, words
from hostkit.ext.dashboard._view import MOST_ITEMS, Clocks, DurableJob, HostView, iso, named
from hostkit.jobs import Job, JobQueue, JobState
from hostkit.scheduling import Run, ScheduledJob


def history(view: HostView, asked: Mapping[str, str], limit: int) -> JSON | None:
    """Return what a row opens to, or None if there is nothing of that kind and name.

    Args:
        view: The host.
        asked: ``kind`` and ``name``, for a schedule perhaps ``scheduler``, as in a snapshot.
        limit: How many items each group may have.
    """
    host = view.host
    if host is None:
        return None
    kind, name = asked.get("kind"), asked.get("name", "")
    clocks = view.clocks_now(host)
    groups: list[JSON] | None = None
    facts: JSON = {}
    if kind == "service" and view.service(name) is not None:
        groups, facts = _of_service(view, clocks, name), _policy(host, name)
    elif kind == "schedule" and (job := view.schedule(name, asked.get("scheduler", ""))) is not None:
        groups, facts = _of_schedule(job, limit), _options(job)
    elif kind == "queue" and (queue := named(name, view.queues())) is not None:
        groups = _of_queue(queue, clocks, limit)
        facts = {"capacity": queue.capacity, "concurrency": queue.concurrency}
    elif kind == "durable" and (failed := named(name, view.durable.failed)) is not None:
        groups = _of_durable(failed)
    if groups is None:
        return None
    return {
        "version": 1,
        "kind": kind,
        "name": name,
        "groups": [each for each in groups if each["items"]],
        "facts": facts,
    }


def _group(title: str, items: Iterable[JSON], limit: int) -> JSON:
    return {"title": title, "items": list(islice(items, limit))}


def _item(at: str | None, what: str, text: str | None, where: str | None = None, **more: Any) -> JSON:  # noqa: ANN401
    return {"at": at, "what": what, "text": text or "", "where": where, **more}


def _of_service(view: HostView, clocks: Clocks, name: str) -> list[JSON]:
    entries = named(name, view.events.entries) or ()
    items = [
        _item(clocks.instant(entry.at), entry.what, entry.text, entry.where)
        | ({"times": entry.times, "first_at": clocks.instant(entry.first_at)} if entry.times > 1 else {})
        for entry in reversed(entries)
    ]
    return [_group("", items, MOST_ITEMS)]


def _policy(host: Host, name: str) -> JSON:
    registration = named(name, host.registrations)
    assert registration is not None  # every service has one
    stop, beat = registration.stop_timeout, registration.heartbeat_timeout
    return {
        "kind": registration.kind,
        "on failure": _action(registration.on_failure),
        "on return": _action(registration.on_return),
        "stop timeout": "the host's" if stop is None else f"{stop:g} s",
        "heartbeat timeout": "none" if beat is None else f"{beat:g} s",
    }


def _action(policy: EndAction | Restart) -> str:
    if isinstance(policy, Restart):
        if policy.limit is None:
            return "restart, without a limit"
        return f"restart, {policy.limit} times in a row at most, then {_action(policy.then)}"
    return "stop the host" if policy is EndAction.STOP_HOST else "go on without it"


def _of_schedule(job: ScheduledJob, limit: int) -> list[JSON]:
    running = [_item(None if run.started is None else iso(run.started), "running", None) for run in job.runs]
    return [_group("Running", running, limit), _group("Last runs", map(_run, reversed(job.history)), limit)]


def _run(run: Run) -> JSON:
    found = run_json(run, LONGEST_TEXT)
    text = found["error"] or found["reason"]
    return _item(found["planned"], found["outcome"] or "running", text, line_of(run.error), duration=found["duration"])


def _options(job: ScheduledJob) -> JSON:
    facts: JSON = {"scheduled": shortened(str(job.schedule)), "overlap": job.overlap.value, "missed": job.missed.value}
    for name, seconds in (("grace", job.grace), ("timeout", job.timeout), ("jitter", job.jitter or None)):
        if seconds is not None:
            facts[name] = f"{seconds:g} s"
    return facts


def _of_queue(queue: JobQueue, clocks: Clocks, limit: int) -> list[JSON]:
    failed, lost = reversed(queue.failed), reversed(queue.lost)
    running = sorted(queue.running, key=lambda job: job.started_at or 0.0)
    ended = (
        job for job in reversed(queue.history) if job.state is JobState.SUCCEEDED or job.state is JobState.CANCELLED
    )
    return [
        _group("Failed for good", (_job(job, clocks, "requeue", "discard") for job in failed), limit),
        _group("Lost by the last stop", (_job(job, clocks) for job in lost), limit),
        _group("Running, the oldest first", (_job(job, clocks, "cancel") for job in running), limit),
        _group("Waiting, the next first", (_job(job, clocks, "cancel") for job in queue.waiting(limit)), limit),
        _group("Ended", (_job(job, clocks) for job in ended), limit),
    ]


def _job(job: Job[object], clocks: Clocks, *verbs: str) -> JSON:
    at = {JobState.RUNNING: job.started_at, JobState.WAITING: job.enqueued_at, JobState.DELAYED: job.due_at}
    failed = job.state in {JobState.FAILED, JobState.RETRYING, JobState.LOST}
    attempt = ""
    if job.state is JobState.RUNNING and job.max_attempts > 1:
        attempt = f"attempt {job.attempts} of {job.max_attempts}"
    elif job.attempts > 1:
        attempt = f"after {job.attempts} attempts"
    text = ": ".join(each for each in (attempt, words(job.error) if failed else None) if each)
    more: JSON = {"id": job.id, "name": short_name(job.name), "actions": list(verbs)}
    if job.started_at is not None and job.ended_at is not None:
        more["duration"] = job.ended_at - job.started_at
    where = line_of(job.error) if failed else None
    return _item(clocks.instant(at.get(job.state, job.ended_at)), job.state.value, text, where, **more)


def _of_durable(jobs: Sequence[DurableJob]) -> list[JSON]:
    items = []
    for job in jobs:
        runs = "1 attempt" if job.attempts == 1 else f"{job.attempts} attempts"
        text = f"after {runs}" + ("" if job.error is None else f": {shortened(job.error)}")
        items.append(_item(job.at, "failed", text, id=job.id, name=short_name(job.task), actions=["retry", "delete"]))
    return [_group("Failed for good", items, MOST_ITEMS)]
