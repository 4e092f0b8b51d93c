"""The record of one run of a scheduled job, or of a run that did not happen."""

from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING

from hostkit.scheduling._clock import Reading

if TYPE_CHECKING:
    from hostkit.scheduling._runners import Runner


class Outcome(StrEnum):
    """What came of a run.

    Attributes:
        SUCCEEDED: The job has returned.
        FAILED: It has raised an error, has exceeded its timeout, or was cancelled by somebody else.
        CANCELLED: The scheduler has cancelled it: at the end of a stop, or because the next run was due.
        SKIPPED: It did not happen; the run's ``reason`` tells why.
    """

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    SKIPPED = "skipped"


class Run:
    """One run of a job, or one that did not happen; kept in the job's ``history``. For reading only.

    Attributes:
        duration: How long it took in seconds, on the event loop's clock; None if it did not happen, or goes on.
        outcome: What came of it; None while it waits or goes on.
        reason: Why it did not happen or was cut, in a few words: ``still running``, ``missed by 12 s``, ``paused``,
            ``when() said no``; None if there is nothing to tell.
        error: What it raised, or None.
    """

    # Ten thousand are made a second: the instants become datetimes only where they are read.
    __slots__ = ("_began", "_cancelled", "_due", "_reading", "_runner", "duration", "error", "outcome", "reason")

    duration: float | None
    outcome: Outcome | None
    reason: str | None
    error: BaseException | None

    def __init__(self, due: float | datetime, reading: Reading) -> None:
        """Begin the record of a run that is due: at an instant, or at a time of the event loop's clock."""
        self._due = due
        self._reading = reading
        self._began: float | None = None
        self._cancelled = False
        self._runner: Runner | None = None
        self.duration = self.outcome = self.reason = self.error = None

    @property
    def planned(self) -> datetime:
        """When it was due: in the schedule's time zone; in UTC for an interval and for `ScheduledJob.run_now`."""
        due = self._due
        return due if isinstance(due, datetime) else self._reading.wall_at(due)

    @property
    def started(self) -> datetime | None:
        """When it began, in UTC; None if it has not."""
        return None if self._began is None else self._reading.wall_at(self._began)

    def __repr__(self) -> str:
        """Show what is known of it."""
        fields = ("planned", "started", "duration", "outcome", "reason", "error")
        return f"Run({', '.join(f'{name}={getattr(self, name)!r}' for name in fields)})"

    def _move_to(self, reading: Reading) -> None:
        """Go by a newer reading of the clocks: it has waited."""
        self._due = self.planned
        self._reading = reading

    def _cancel(self, reason: str) -> None:
        """Cancel it, with the task that runs it."""
        self._cancelled = True
        self.reason = reason
        if self._runner is not None:
            self._runner.cancel()
