"""The actions of the page: what each does, its answer, and why it may be refused."""

import json
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus

import anyio

from hostkit import Host, HostkitError, HostState
from hostkit._config.logging import bounded_log
from hostkit.ext.dashboard._text import printable, short_name, shortened
from hostkit.ext.dashboard._view import DurableWorker, HostView, named
from hostkit.jobs import Job, JobQueue, QueueFullError
from hostkit.scheduling import ScheduledJob, Scheduler

Asked = Mapping[str, object]
"""The body of a request: ``kind``, ``name``, ``id``, and for a schedule ``scheduler``."""

PHASES = {HostState.STOPPING: "the host is stopping", HostState.STOPPED: "the host has ended"}
QUEUE_VERBS = frozenset({"cancel", "discard", "requeue", "requeue-all"})
VERBS = QUEUE_VERBS | {"run-now", "pause", "resume", "retry", "retry-all", "delete", "restart", "stop"}
RESTART_PATIENCE = 5.0
"""Seconds that a service that has stopped has to be ready again, until the client gets its answer."""
MOST_DURABLE = 500
"""How many durable jobs one request retries."""
FIELDS = {"kind": str, "name": str, "scheduler": str, "id": int}


class ActionError(Exception):
    """Raised for an action that cannot be performed; the message is for the person who asked for it."""

    def __init__(self, message: str, status: HTTPStatus = HTTPStatus.CONFLICT) -> None:
        """Take the words, and the HTTP status."""
        super().__init__(message)
        self.status = status


class Actions:
    """The verbs of a host."""

    def __init__(self, view: HostView) -> None:
        """Steer the host of *view*."""
        self._view = view

    async def perform(self, verb: str, asked: Asked, peer: str) -> str:
        """Perform an action, and return in words what was done.

        Args:
            verb: The last part of the path.
            asked: The body of the request.
            peer: The address of the client, for the log.

        Raises:
            ActionError: It cannot be performed.
        """
        if verb not in VERBS:
            message = f"there is no action {shortened(verb, 50)!r}"
            raise ActionError(message, HTTPStatus.NOT_FOUND)
        for field, kind in FIELDS.items():
            if asked.get(field) is not None and type(asked[field]) is not kind:  # true is no number
                message = (
                    f"{field} is {'a number' if kind is int else 'text'}, got {shortened(json.dumps(asked[field]), 50)}"
                )
                raise ActionError(message, HTTPStatus.BAD_REQUEST)
        host = self._view.host
        state = HostState.CREATED if host is None else host.lifetime.state
        if host is None or state is not HostState.STARTED:
            message = PHASES.get(state, "the host has not started yet")
            raise ActionError(message)
        target = " ".join(str(asked[key]) for key in ("kind", "name", "id") if asked.get(key) is not None)
        log = bounded_log(host.options)
        log("INFO", "dashboard: {} {} for {}", verb, shortened(printable(target), 300), peer)
        try:
            return await self._perform(host, verb, asked, peer)
        except (HostkitError, ValueError) as error:
            raise ActionError(str(error)) from error

    async def _perform(self, host: Host, verb: str, asked: Asked, peer: str) -> str:
        if verb == "stop":
            host.lifetime.request_stop(f"asked for on the page by {peer}")
            return "The host stops."
        if verb == "restart":
            return await self._restart(host, asked)
        if asked.get("kind") == "schedule":
            return _steer_schedule(verb, self._schedule(asked))
        if asked.get("kind") == "durable":
            return await self._steer_durable(verb, asked)
        return self._steer_service(verb, asked)

    async def _restart(self, host: Host, asked: Asked) -> str:
        name = next((each for each in host.services if asked.get("name") in {each, short_name(each)}), None)
        if name is None:
            raise _gone(asked, "service")
        if name in self._view.dashboards():
            message = "the dashboard does not restart itself"
            raise ActionError(message)
        # Until it has ended, the one who asked is waited for: that one also cancels it when it does not end in time.
        options = host.options
        limit = options.shutdown_timeout + options.cancellation_timeout + RESTART_PATIENCE
        with anyio.move_on_after(limit, shield=True):
            await host.restart(name)
            return f"{short_name(name)} was restarted."
        return f"{short_name(name)} is being restarted, and is not ready yet."

    def _schedule(self, asked: Asked) -> ScheduledJob:
        job = self._view.schedule(str(asked.get("name", "")), str(asked.get("scheduler") or ""))
        if job is None:
            raise _gone(asked, "job")
        return job

    def _steer_service(self, verb: str, asked: Asked) -> str:
        name = str(asked.get("name", ""))
        service = self._view.service(name)
        if verb in {"pause", "resume"} and isinstance(service, Scheduler | JobQueue):
            getattr(service, verb)()
            return f"{name} {'is paused' if verb == 'pause' else 'goes on'}."
        if isinstance(service, JobQueue) and verb in QUEUE_VERBS:
            return self._steer_queue(verb, name, service, asked)
        if service is None:
            raise _gone(asked, "queue" if asked.get("kind") == "queue" else "service")
        raise _impossible(verb, name)

    def _steer_queue(self, verb: str, name: str, queue: JobQueue, asked: Asked) -> str:
        if verb == "requeue-all":
            return _requeue_all(name, queue.failed)
        number = asked.get("id")
        job = queue.job(number) if isinstance(number, int) else None
        if job is None:
            raise _gone({"name": number}, "job")
        if verb == "cancel":
            if not job.cancel():
                message = f"job {job.id} has ended already"
                raise ActionError(message)
            return f"Job {job.id} is cancelled."
        if verb == "discard":
            job.discard()
            return f"Job {job.id} is forgotten."
        job.requeue()
        return f"Job {job.id} is back in {name}."

    async def _steer_durable(self, verb: str, asked: Asked) -> str:
        name, number = str(asked.get("name", "")), asked.get("id")
        worker = named(name, self._view.durable_workers())
        if worker is None:
            raise _gone(asked, "durable worker")
        self._view.durable.forget()
        if verb == "retry-all":
            return await _retry_all(name, worker)
        if not isinstance(number, int) or verb not in {"retry", "delete"}:
            raise _impossible(verb, "a durable job")
        try:
            done = await (worker.retry(number) if verb == "retry" else worker.delete(number))
        except Exception as error:
            raise ActionError(str(error)) from error
        if not done:
            raise _gone({"name": number}, "failed job")
        return f"Job {number} is {'back in its queue' if verb == 'retry' else 'deleted'}."


def _steer_schedule(verb: str, job: ScheduledJob) -> str:
    name = short_name(job.name)
    done = {"run-now": f"Run of {name} began.", "pause": f"{name} is paused.", "resume": f"{name} goes on."}
    if verb not in done:
        raise _impossible(verb, "a schedule")
    steer: Callable[[], None] = {"run-now": job.run_now, "pause": job.pause, "resume": job.resume}[verb]
    steer()
    return done[verb]


def _requeue_all(name: str, jobs: Sequence[Job[object]]) -> str:
    """Requeue each of *jobs*; one that is refused stays failed, and does not keep the others from being requeued."""
    refused: list[HostkitError] = []
    for job in jobs:
        try:
            job.requeue()
        except QueueFullError as error:
            refused += [error] * (len(jobs) - jobs.index(job))
            break
        except HostkitError as error:
            refused.append(error)
    return _summary(name, len(jobs), refused)


async def _retry_all(name: str, worker: DurableWorker) -> str:
    jobs = await worker.failed(MOST_DURABLE)
    refused: list[Exception] = []
    for job in jobs:
        try:
            if not await worker.retry(job.id):
                refused.append(_gone({"name": job.id}, "failed job"))
        except Exception as error:  # noqa: BLE001  # the engine's: counted and reported
            refused.append(error)
    return _summary(name, len(jobs), refused)


def _summary(name: str, number: int, refused: Sequence[Exception]) -> str:
    back = number - len(refused)
    if not number:
        message = "there is none any more"
        raise ActionError(message)
    if not back:
        raise ActionError(str(refused[0]))
    jobs = f"{back} job{' is' if back == 1 else 's are'} back in {name}"
    if not refused:
        return f"{jobs}."
    return f"{back} of {number} are back; {len(refused)} {'is' if len(refused) == 1 else 'are'} not: {refused[0]}."


def _gone(asked: Asked, kind: str) -> ActionError:
    name = asked.get("name", "")
    return ActionError(f"{kind} {shortened(repr(name), 200)} is not there any more")


def _impossible(verb: str, what: str) -> ActionError:
    return ActionError(f"{verb} is nothing that {what} can do", HTTPStatus.BAD_REQUEST)
