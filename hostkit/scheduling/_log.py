"""The log lines of a scheduler: one for each run, none below the host's log level."""

from contextvars import copy_context
from typing import TYPE_CHECKING

from hostkit._config.log_level import log_level
from hostkit._values.text import repr_of
from hostkit.scheduling._run_record import Outcome, Run

if TYPE_CHECKING:
    from hostkit.scheduling._job import ScheduledJob

DEBUG, INFO, ERROR = 10, 20, 40
_LEVELS = {
    Outcome.SUCCEEDED: ("DEBUG", DEBUG),
    Outcome.SKIPPED: ("INFO", INFO),
    Outcome.CANCELLED: ("INFO", INFO),
    Outcome.FAILED: ("ERROR", ERROR),
}


class RunLog:
    """Tells of runs, in the context of the scheduler: loguru then knows its name."""

    def __init__(self) -> None:
        """Take the log level of the host that runs the scheduler."""
        self._lowest = log_level.get()
        self.detailed = self._lowest <= DEBUG
        """Whether a run that went well makes a line; it is the most frequent case, and need not be told of else."""

    def tell(self, job: "ScheduledJob", run: Run) -> None:
        """Write the line of a run that is over, or did not happen."""
        assert run.outcome is not None
        level, number = _LEVELS[run.outcome]
        if number < self._lowest:
            return
        from loguru import logger

        message = f"job {{}} {run.outcome}"
        parts: list[object] = [job.name]
        if run.duration is not None:
            message += " after {:.3g} s"
            parts.append(run.duration)
        for part in (run.reason, None if run.error is None else repr_of(run.error)):
            if part:
                message += ": {}"
                parts.append(part)
        logger.opt(exception=run.error).log(level, message, *parts)

    def tell_late(self, job: "ScheduledJob") -> None:
        """Say that a thread has not returned in time."""
        if self._lowest > ERROR:
            return
        from loguru import logger

        logger.error(
            "job {} has not returned within its timeout of {:g} s; it goes on in its thread", job.name, job.timeout
        )


class Notes:
    """What a job's token has to say, whoever asks for the stop."""

    def __init__(self, name: str) -> None:
        """Speak of the job of this name, in the current context: loguru knows the scheduler's name there."""
        self._name = name
        self._context = copy_context()

    def note_ignored_stop(self) -> None:
        """Say that the job goes on sleeping after the stop."""
        message = "job {} goes on although it was asked to stop: sleep() has returned True, leave the loop then"
        self._say("WARNING", message, self._name)

    def note_callback_error(self, error: BaseException) -> None:
        """Say that an ``on_stop`` callback of the job failed."""
        self._say("ERROR", "on_stop callback of job {} failed: {}", self._name, repr_of(error), error=error)

    def _say(self, level: str, message: str, *parts: object, error: BaseException | None = None) -> None:
        from loguru import logger

        self._context.copy().run(logger.opt(exception=error).log, level, message, *parts)
