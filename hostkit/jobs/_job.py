"""A job: one call that a queue makes in the background."""

from collections.abc import Callable, Mapping
from contextvars import Context
from enum import StrEnum
from types import MappingProxyType, TracebackType
from typing import TYPE_CHECKING, Generic, TypeVar, cast

import anyio

from hostkit._values.functions import name_of
from hostkit.jobs._errors import JobStateError
from hostkit.jobs._options import Options

if TYPE_CHECKING:
    from hostkit.jobs._desk import Desk

T_co = TypeVar("T_co", covariant=True)


class JobState(StrEnum):
    """Where a job is in its life; the last four are its end."""

    WAITING = "waiting"
    """It will run as soon as those before it have begun."""
    DELAYED = "delayed"
    """It was enqueued for later."""
    RUNNING = "running"
    RETRYING = "retrying"
    """A run has failed, and the next one waits for its time."""
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    LOST = "lost"
    """The stop of the host came before it had run, or cut it."""


WAITING = JobState.WAITING  # looked up in its class, a state costs as much as a call
ENDED = frozenset({JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED, JobState.LOST})
NO_ARGUMENTS: Mapping[str, object] = MappingProxyType({})


class Job(Generic[T_co]):
    """One call that a `JobQueue` makes; the queue's methods return it.

    Nobody has to keep it. Its methods belong to the host's event loop.

    Attributes:
        id: Its number in its queue, from 1, in the order in which jobs were accepted.
        function: What is called.
        args: The positional arguments.
        attempts: How many runs have begun; one that the stop has cut is taken back.
        error: What the last run raised, if it failed.
        enqueued_at: When its queue took it in, on the event loop's clock (`anyio.current_time`); None before the start.
        due_at: When its delay, or the one before its next run, ends or has ended, likewise; None if it has none.
        started_at: When the last run began, likewise; None before the first.
        ended_at: When it ended, likewise; None before.
    """

    __slots__ = (
        "_context",
        "_desk",
        "_event",
        "_kwargs",
        "_options",
        "_outcome",
        "_quick",
        "_state",
        "args",
        "attempts",
        "due_at",
        "ended_at",
        "enqueued_at",
        "error",
        "function",
        "id",
        "started_at",
    )

    def __init__(  # noqa: PLR0913, PLR0917  # made by the queue alone, and made fast
        self,
        desk: "Desk",
        number: int,
        function: Callable[..., object],
        args: tuple[object, ...],
        kwargs: dict[str, object],
        options: Options,
        context: Context,
        quick: bool,  # noqa: FBT001  # by name it would cost a third more
    ) -> None:
        """Make a job; `JobQueue` does."""
        self.id = number
        self.function = function
        self.args = args
        self.attempts = 0
        self._desk = desk
        self._kwargs = kwargs or None
        self._options = options
        self._context: Context | None = context
        self._quick = quick  # a coroutine function, with no token and no timeout
        self._state = WAITING
        self._event: anyio.Event | None = None
        self._outcome: object = None
        self.error: BaseException | None = None
        self.enqueued_at: float | None = None
        self.due_at: float | None = None
        self.started_at: float | None = None
        self.ended_at: float | None = None

    @property
    def name(self) -> str:
        """Its name: the one that ``with_options(name=...)`` gave, or one after its function."""
        return self._options.name or name_of(self.function) or "job"

    @property
    def kwargs(self) -> Mapping[str, object]:
        """The keyword arguments."""
        return NO_ARGUMENTS if self._kwargs is None else MappingProxyType(self._kwargs)

    @property
    def key(self) -> object:
        """The key that ``with_options(key=...)`` gave, or None."""
        return self._options.key

    @property
    def state(self) -> JobState:
        """Where it is in its life."""
        return self._state

    async def wait(self) -> None:
        """Wait until it has ended, in whichever way; a checkpoint also when it has already.

        Raises:
            HostStateError: This is not the host's event loop.
        """
        if self._state in ENDED:
            await anyio.lowlevel.checkpoint()
            return
        self._desk.intake.require_loop("Job.wait()")
        if self._event is None:
            self._event = anyio.Event()
        await self._event.wait()

    def result(self) -> T_co:
        """Return what its function has returned, or raise what it has raised.

        Raises:
            JobStateError: It has not ended yet, or it was cancelled or lost.
        """
        if self._state is JobState.SUCCEEDED:
            return self._outcome  # type: ignore[return-value]  # what the function returned
        if self._state is JobState.FAILED and self.error is not None:
            # Raised again and again, an error would grow by the lines of everyone who has asked.
            assert isinstance(self._outcome, TracebackType | None)
            raise self.error.with_traceback(self._outcome)
        raise JobStateError(self.name, self._state, "it has no result")

    def cancel(self) -> bool:
        """Cancel it: take it out of its queue if it waits, cancel its run if it runs.

        A run of an async function ends as a task that is cancelled does. A blocking function cannot be ended: its
        ``stopping_token`` is set, if it takes one, and nobody waits for it any longer.

        Returns:
            False if it has ended already, True otherwise. A run that withstands its cancellation may still succeed.

        Raises:
            HostStateError: This is not the host's event loop.
        """
        return self._desk.cancel(self)

    def requeue(self) -> "Job[T_co]":
        """Enqueue a failed or lost job once more, at once: the same call and options, as a new job.

        Returns:
            The new job. This one stays as it is, but leaves the queue's ``failed``.

        Raises:
            JobStateError: It has neither failed nor was it lost.
            QueueFullError: There is no room.
            QueueClosedError: The queue's turn to stop has come.
        """
        return cast("Job[T_co]", self._desk.requeue(self))

    def __repr__(self) -> str:
        """Tell number, name and state."""
        return f"<Job {self.id} {self.name!r} {self._state}>"
