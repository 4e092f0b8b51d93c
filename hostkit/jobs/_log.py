"""The log lines and events of a queue; none for a job that goes well, and none below the host's log level."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from contextvars import copy_context
from functools import partial

from hostkit import events
from hostkit._config.logging import LEVELS, log
from hostkit._config.service_context import ServiceContext, service_context
from hostkit._execution.daemon_thread import DaemonThread
from hostkit._tokens.stopping_token import StoppingSource, StoppingToken
from hostkit._tokens.thread_stopping_token import ThreadStoppingSource
from hostkit._values.functions import FunctionKind
from hostkit._values.text import repr_of
from hostkit.jobs._job import JobRecord

MAX_NUMBERS = 10
"""How many jobs of one name a line shows by their numbers."""


class JobLog:
    """Writes lines and emits events in the context of the queue: loguru then knows its name.

    Logging decides nothing: what a sink or an error's own text raises changes no more than the line.
    """

    def __init__(self) -> None:
        """Take what the host of the running service lets it know."""
        self._service: ServiceContext = service_context.get()
        self._context = copy_context()

    def log_retry(self, job: JobRecord, delay: float | None, at: float) -> None:
        """Write that a run has failed, and when the next one is; None if the stop has come before it."""
        message = "job {} (number {}) failed in attempt {} of {}, {}: {}"
        following = "but the queue stops" if delay is None else f"to be retried in {delay:.1f} s"
        parts = (job.name, job.id, job.attempts, job.max_attempts, following, repr_of(job.error))
        self._write("WARNING", message, *parts, job=job, at=at)

    def log_failure(self, job: JobRecord, at: float) -> None:
        """Write, and emit as an event, that a job has failed for good."""
        message = "job {} (number {}) failed in attempt {} of {}: {}"
        parts = (job.name, job.id, job.attempts, job.max_attempts, repr_of(job.error))
        self._write("ERROR", message, *parts, job=job, error=job.error, at=at)
        if self._service.detailed and job.error is not None:
            self._service.emit(events.JobFailed(at, self._service.name, job.name, job.id, job.attempts, job.error))

    def log_late(self, job: JobRecord, line: str | None) -> None:
        """Write that a thread has not returned in time."""
        at = f", at {line}" if line else ""
        message = "job {} (number {}) has not returned within its timeout of {:g} s; it goes on in its thread{}"
        self._write("WARNING", message, job.name, job.id, job.options.timeout, at, job=job)

    def log_abandoned(self, job: JobRecord, line: str | None) -> None:
        """Write that a thread did not return before the host gave up."""
        at = f", at {line}" if line else ""
        message = "job {} (number {}) still runs in its thread{}, and is abandoned"
        self._write("WARNING", message, job.name, job.id, at, job=job)

    def log_losses(self, jobs: Sequence[JobRecord], at: float) -> None:
        """Write, and emit as an event, which jobs the stop has lost."""
        count = "1 job was" if len(jobs) == 1 else f"{len(jobs)} jobs were"
        self._write("WARNING", "{} lost at the stop: {}", count, by_name(jobs))
        if self._service.detailed:
            self._service.emit(events.JobsLost(at, self._service.name, len(jobs)))

    def log_untold(self, jobs: Sequence[JobRecord]) -> None:
        """Write which failures ``on_failed`` has not heard of."""
        self._write("WARNING", "on_failed was cancelled, and has not heard of {}", by_name(jobs))

    def log_stuck(self, jobs: Sequence[JobRecord]) -> None:
        """Write which jobs keep the queue from its end."""
        count = "1 job still runs" if len(jobs) == 1 else f"{len(jobs)} jobs still run"
        self._write("WARNING", "{} after the cancellation: {}", count, by_name(jobs))

    def log_blocked(self, jobs: Sequence[JobRecord]) -> None:
        """Write that all that runs waits for the queue itself."""
        message = (
            "every job that runs waits for room in its own queue, or for a job of it, so that none can begin: {}; "
            "use a larger concurrency, a larger capacity, or a queue of their own for the jobs that are waited for"
        )
        self._write("WARNING", message, by_name(sorted(jobs, key=lambda job: job.id)))

    def log_hook_error(self, hook: str, error: BaseException, job: JobRecord | None = None) -> None:
        """Write what a function of the user's has raised."""
        self._write("ERROR", "{} of the queue failed: {}", hook, repr_of(error), job=job, error=error)

    def log_ignored_stop(self, job: JobRecord) -> None:
        """Write that a job goes on sleeping after the stop."""
        message = "job {} goes on although it was asked to stop: sleep() has returned True, leave the loop then"
        self._write("WARNING", message, job.name, job=job)

    def log_callback_error(self, job: JobRecord, error: BaseException) -> None:
        """Write what an ``on_stop`` callback of a job has raised; an exit is taken as if the job had raised it."""
        self._write("ERROR", "on_stop callback of job {} failed: {}", job.name, repr_of(error), job=job, error=error)
        if isinstance(error, SystemExit | KeyboardInterrupt):
            self._service.request_exit(error, f"an on_stop callback of job {job.name!r}")

    def _write(
        self,
        level: str,
        message: str,
        *parts: object,
        job: JobRecord | None = None,
        error: BaseException | None = None,
        at: float | None = None,
    ) -> None:
        if self._service.log_level > LEVELS[level]:
            return
        fields: dict[str, object] = {"queue": self._service.name}
        if job is not None:
            fields.update(job=job.name, job_id=job.id, attempt=job.attempts)
            if job.started_at is not None and at is not None:
                fields["duration"] = at - job.started_at
        line = partial(log, level, message, *parts, service=self._service.name, error=error, fields=fields)
        self._context.copy().run(line)  # a copy, as other threads write as well


class JobRun:
    """One run of a job, for the call and the token that it needs."""

    def __init__(self, job: JobRecord, log: JobLog, token: StoppingToken) -> None:
        """Run *job* for the service that has *token*."""
        self._job = job
        self._log = log
        self._token = token

    def make_token(self, kind: FunctionKind) -> StoppingSource | ThreadStoppingSource:
        """Return a token of the run's own."""
        return StoppingSource(self) if kind.is_async else ThreadStoppingSource(self)

    def time_left(self) -> float:
        """Return the seconds until the queue is cancelled."""
        return self._token.time_left

    def log_ignored_stop(self) -> None:
        """Log that the job goes on sleeping after the stop."""
        self._log.log_ignored_stop(self._job)

    def on_callback_error(self, error: BaseException) -> None:
        """Log what an ``on_stop`` callback has raised."""
        self._log.log_callback_error(self._job, error)

    def on_late(self, line: str | None) -> None:
        """Log that a thread has not returned in time."""
        self._log.log_late(self._job, line)

    def on_abandoned(self, thread: DaemonThread[object]) -> None:
        """Log that a thread did not return before the host gave up."""
        self._log.log_abandoned(self._job, thread.line())


def by_name(jobs: Iterable[JobRecord]) -> str:
    """Return how many *jobs* there are of each name, in words, the most first, with the numbers of some."""
    names: dict[int, str] = {}
    found: defaultdict[str, list[JobRecord]] = defaultdict(list)
    for job in jobs:
        # A hundred thousand jobs have few functions, and making a name takes its time.
        name = job.options.name or names.get(id(job.function))
        if name is None:
            name = names[id(job.function)] = job.name
        found[name].append(job)
    most_first = sorted(found.items(), key=lambda item: -len(item[1]))
    return ", ".join(f"{len(group)} x {name} ({_numbers(group)})" for name, group in most_first)


def _numbers(jobs: Sequence[JobRecord]) -> str:
    shown = [str(job.id) if job.key is None else f"{job.id} with key {repr_of(job.key)}" for job in jobs[:MAX_NUMBERS]]
    rest = [f"{len(jobs) - MAX_NUMBERS} more"] if len(jobs) > MAX_NUMBERS else []
    return ("number " if len(jobs) == 1 else "numbers ") + ", ".join(shown + rest)
