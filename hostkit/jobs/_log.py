"""The log lines of a queue; none for a job that goes well, and none below the host's log level."""

from collections import Counter
from collections.abc import Iterable, Sequence

from hostkit._config.log_level import log_level
from hostkit._values.text import repr_of
from hostkit.jobs._job import Job

AnyJob = Job[object]

WARNING, ERROR = 30, 40


class JobLog:
    """Tells of failures and losses, in the context of the queue: loguru then knows its name."""

    def __init__(self) -> None:
        """Take the log level of the host that runs the queue."""
        self._lowest = log_level.get()

    def tell_retry(self, job: AnyJob, delay: float | None) -> None:
        """Say that a run has failed, and when the next one is; None if the stop has come before it."""
        message = "job {} (number {}) failed in attempt {} of {}, {}: {}"
        following = "but the queue stops" if delay is None else f"to be retried in {delay:.1f} s"
        self._warn(message, job.name, job.id, job.attempts, job._options.retry.attempts, following, repr_of(job.error))

    def tell_failure(self, job: AnyJob) -> None:
        """Say that a job has failed for good."""
        if self._lowest > ERROR:
            return
        from loguru import logger

        message = "job {} (number {}) failed in attempt {} of {}: {}"
        attempts = job._options.retry.attempts
        logger.opt(exception=job.error).error(message, job.name, job.id, job.attempts, attempts, repr_of(job.error))

    def tell_late(self, job: AnyJob) -> None:
        """Say that a thread has not returned in time."""
        message = "job {} (number {}) has not returned within its timeout of {:g} s; it goes on in its thread"
        self._warn(message, job.name, job.id, job._options.timeout)

    def tell_abandoned(self, job: AnyJob, line: str | None) -> None:
        """Say that a thread did not return before the host gave up."""
        at = f", at {line}" if line else ""
        self._warn("job {} (number {}) still runs in its thread{}, and is abandoned", job.name, job.id, at)

    def tell_losses(self, jobs: Sequence[AnyJob]) -> None:
        """Say which jobs the stop has lost."""
        count = "1 job was" if len(jobs) == 1 else f"{len(jobs)} jobs were"
        self._warn("{} lost at the stop: {}", count, by_name(jobs))

    def tell_stuck(self, jobs: Sequence[AnyJob]) -> None:
        """Say which jobs keep the queue from its end."""
        count = "1 job still runs" if len(jobs) == 1 else f"{len(jobs)} jobs still run"
        self._warn("{} after the cancellation: {}", count, by_name(jobs))

    def _warn(self, message: str, *parts: object) -> None:
        if self._lowest > WARNING:
            return
        from loguru import logger

        logger.warning(message, *parts)


class Notes:
    """What a job's token has to say."""

    def __init__(self, job: AnyJob) -> None:
        """Speak of *job*."""
        self._name = job.name

    def note_ignored_stop(self) -> None:
        """Say that the job goes on sleeping after the stop."""
        from loguru import logger

        message = "job {} goes on although it was asked to stop: sleep() has returned True, leave the loop then"
        logger.warning(message, self._name)

    def note_callback_error(self, error: BaseException) -> None:
        """Say that an ``on_stop`` callback of the job failed."""
        from loguru import logger

        logger.opt(exception=error).error("on_stop callback of job {} failed: {}", self._name, repr_of(error))


def by_name(jobs: Iterable[AnyJob]) -> str:
    """Return how many *jobs* there are of each name, in words, the most first."""
    names: dict[object, str] = {}
    counts: Counter[str] = Counter()
    for job in jobs:
        # A hundred thousand jobs have few functions, and making a name takes its time.
        key = job._options.name or id(job.function)
        name = names.get(key)
        if name is None:
            name = names[key] = job.name
        counts[name] += 1
    return ", ".join(f"{count} x {name}" for name, count in counts.most_common())
