"""What a scheduler says of its runs: log lines, none below the host's level, and events for the host's listeners."""

from collections.abc import Callable
from contextvars import copy_context
from functools import partial

from hostkit._config.logging import LEVELS, log
from hostkit._config.service_context import service_context
from hostkit._values.text import repr_of
from hostkit.events import RunFinished, RunSkipped
from hostkit.scheduling._clock import seconds_text
from hostkit.scheduling._entry import JobEntry, RunRecord, Skips
from hostkit.scheduling._job import Outcome

LEVEL_OF = {
    Outcome.SUCCEEDED: "DEBUG",
    Outcome.SKIPPED: "INFO",
    Outcome.CANCELLED: "INFO",
    Outcome.FAILED: "ERROR",
}
REPEAT_EVERY = 60.0
"""Seconds between two lines of what happens again and again."""


class RunLog:
    """Reports the runs of one lifecycle of a scheduler, in its own context: loguru then knows the scheduler's name."""

    def __init__(self, time: Callable[[], float]) -> None:
        """Take what the host says of its service."""
        self._service = service_context.get()
        self._lowest = self._service.log_level
        self._context = copy_context()
        self._time = time

    @property
    def detailed(self) -> bool:
        """Whether a run that went well, which is the most frequent case, has to be reported."""
        return self._lowest <= LEVELS["DEBUG"] or self._service.detailed

    def log_run(self, run: RunRecord) -> None:
        """Report a run that is over."""
        job, outcome = run.scheduled_job, run.outcome
        assert outcome is not None
        if job.skips is not None:
            self._log_end_of_skips(job)
        level = LEVEL_OF[outcome]
        if LEVELS[level] >= self._lowest:
            message, parts = f"job {{}} {outcome}", [job.name]
            if run.duration is not None:
                message += " after {}"
                parts.append(seconds_text(run.duration))
            for part in (run.reason, None if run.error is None else repr_of(run.error)):
                if part:
                    message += ": {}"
                    parts.append(part)
            self._write(level, message, *parts, error=run.error, fields=_fields(run))
        if self._service.detailed:
            started = run.started
            if started is None or run.duration is None:
                self._emit_skipped(run)
            else:
                facts = (job.name, str(outcome), run.planned, started, run.duration, run.error)
                self._service.emit(RunFinished(self._time(), self._service.name, *facts))

    def log_skipped(self, run: RunRecord) -> None:
        """Report a run that did not happen: in full the first time, and then at most once a minute, with a count."""
        if self._service.detailed:
            self._emit_skipped(run)
        if self._lowest > LEVELS["INFO"]:
            return
        now, job, reason = self._time(), run.scheduled_job, run.reason or ""
        skips = job.skips
        if skips is None or not skips.is_repeated_by(reason):
            if skips is not None and skips.count:
                self._log_repeats(skips, {"job": job.name})
            job.skips = Skips(reason, now)
            self._write("INFO", "job {} skipped: {}", job.name, reason, fields=_fields(run))
            return
        skips.count += 1
        skips.last, skips.reason = now, reason
        if now - skips.logged >= REPEAT_EVERY:
            self._log_repeats(skips, _fields(run))
            skips.count, skips.logged = 0, now

    def log_late_thread(self, job: JobEntry, line: str | None) -> None:
        """Report that a thread has not returned within the job's timeout."""
        message = "job {} has not returned within its timeout of {:g} s; it goes on in its thread{}"
        self._write("ERROR", message, job.name, job.timeout, f", at {line}" if line else "", fields={"job": job.name})

    def log_ignored_stop(self, job: JobEntry) -> None:
        """Report that a job goes on sleeping after the stop."""
        message = "job {} goes on although it was asked to stop: sleep() has returned True, leave the loop then"
        self._write("WARNING", message, job.name, fields={"job": job.name})

    def log_callback_error(self, job: JobEntry, error: BaseException) -> None:
        """Report that an ``on_stop`` callback of a job failed; an exit is taken as if the job had raised it."""
        message = "on_stop callback of job {} failed: {}"
        self._write("ERROR", message, job.name, repr_of(error), error=error, fields={"job": job.name})
        if isinstance(error, SystemExit | KeyboardInterrupt):
            self._service.request_exit(error, f"an on_stop callback of job {job.name!r}")

    def log_hook_error(self, job: JobEntry, error: BaseException) -> None:
        """Report that ``on_failed`` failed."""
        message = "on_failed of job {} failed: {}"
        self._write("ERROR", message, job.name, repr_of(error), error=error, fields={"job": job.name})

    def log_hook_cancelled(self, job: JobEntry) -> None:
        """Report that ``on_failed`` was cancelled with the scheduler."""
        message = "on_failed of job {} cancelled: it was not over when the scheduler was cancelled"
        self._write("ERROR", message, job.name, fields={"job": job.name})

    def _log_repeats(self, skips: Skips, fields: dict[str, object]) -> None:
        text = f"{_times_text(skips.count)} in {seconds_text(skips.last - skips.logged)}"
        fields["count"] = skips.count
        self._write("INFO", "job {} skipped again ({}): {}", fields["job"], text, skips.reason, fields=fields)

    def _log_end_of_skips(self, job: JobEntry) -> None:
        skips, now = job.skips, self._time()
        if skips is not None and now - skips.last >= REPEAT_EVERY:
            job.skips = None
            if skips.count:
                message = "job {} is no longer skipped; {} more since the last line: {}"
                fields = {"job": job.name, "count": skips.count}
                self._write("INFO", message, job.name, skips.count, skips.reason, fields=fields)

    def _emit_skipped(self, run: RunRecord) -> None:
        facts = (run.scheduled_job.name, run.planned, run.reason or str(run.outcome))
        self._service.emit(RunSkipped(self._time(), self._service.name, *facts))

    def _write(
        self,
        level: str,
        message: str,
        *parts: object,
        fields: dict[str, object],
        error: BaseException | None = None,
    ) -> None:
        if LEVELS[level] >= self._lowest:
            line = partial(log, level, message, *parts, service=self._service.name, error=error, fields=fields)
            self._context.copy().run(line)


def _fields(run: RunRecord) -> dict[str, object]:
    fields: dict[str, object] = {"job": run.scheduled_job.name, "planned": run.planned.isoformat()}
    if run.duration is not None:
        fields["duration"] = run.duration
    return fields


def _times_text(count: int) -> str:
    return "once" if count == 1 else f"{count} times"
