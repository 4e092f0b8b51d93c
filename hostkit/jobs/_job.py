"""A job: one call that a queue makes in the background."""

from collections.abc import Callable, Coroutine, Hashable, Mapping
from contextvars import Context
from enum import StrEnum
from functools import partial
from types import MappingProxyType, TracebackType
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar, cast

import anyio

from hostkit._execution.event_loop import ThreadSafeEvent
from hostkit._values.functions import FunctionKind, name_of
from hostkit.jobs._errors import JobStateError
from hostkit.jobs._options import Options

if TYPE_CHECKING:
    from hostkit._execution.call import Call

T_co = TypeVar("T_co", covariant=True)


class JobState(StrEnum):
    """Where a job is between its admission and its end; the last four are its end."""

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
    """The stop of the host came before it had run, or cancelled it."""


# Looked up in its class, a state costs as much as a call.
WAITING, RUNNING, SUCCEEDED = JobState.WAITING, JobState.RUNNING, JobState.SUCCEEDED
ENDED = frozenset({JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED, JobState.LOST})
NO_ARGUMENTS: Mapping[str, object] = MappingProxyType({})


class JobOwner(Protocol):
    """The queue, as its jobs see it."""

    def cancel(self, job: "JobRecord", /) -> bool:
        """Cancel *job*; return False if it has ended."""
        ...

    def requeue(self, job: "JobRecord", /) -> "JobRecord":
        """Enqueue *job* once more."""
        ...

    def discard(self, job: "JobRecord", /) -> None:
        """Forget *job*."""

    async def wait_for(self, job: "JobRecord", /) -> None:
        """Wait until *job* has ended."""


class Job(Generic[T_co]):
    """One call that a `JobQueue` makes; the queue's methods return it.

    It need not be kept. It may be read and steered from any thread.

    Attributes:
        id: Its number in its queue, from 1, in the order in which jobs were accepted.
        function: What is called.
        args: The positional arguments.
        key: The key that ``with_options(key=...)`` gave, or None.
        state: Where it is between its admission and its end; do not set it.
        attempts: How many runs have begun; one that the stop has cancelled is taken back.
        error: What the last run raised, if it failed.
        enqueued_at: When its queue took it in, on the event loop's clock (`anyio.current_time`); None before the start.
        due_at: When its delay, or the one before its next run, ends or has ended, likewise; None if it has none.
        started_at: When the last run began, likewise; None before the first.
        ended_at: When it ended, likewise; None before.
    """

    id: int
    function: Callable[..., object]
    args: tuple[object, ...]
    key: Hashable
    state: JobState
    attempts: int
    error: BaseException | None
    enqueued_at: float | None
    due_at: float | None
    started_at: float | None
    ended_at: float | None

    __slots__ = (
        "args",
        "attempts",
        "due_at",
        "ended_at",
        "enqueued_at",
        "error",
        "function",
        "id",
        "key",
        "started_at",
        "state",
    )

    @property
    def name(self) -> str:
        """Its name: the one that ``with_options(name=...)`` gave, or one after its function."""
        return self._record().options.name or name_of(self.function) or "job"

    @property
    def kwargs(self) -> Mapping[str, object]:
        """The keyword arguments."""
        kwargs = self._record().keywords
        return NO_ARGUMENTS if kwargs is None else MappingProxyType(kwargs)

    @property
    def max_attempts(self) -> int:
        """How many runs there are in all before it has failed for good, the first included."""
        return self._record().options.retry.attempts

    async def wait(self) -> None:
        """Wait until it has ended, in whichever way; a checkpoint also when it has already.

        It may be awaited in any event loop.

        Raises:
            JobStateError: The job itself calls this, or a task that it has started by anyio: it would wait for ever.
        """
        if self.state in ENDED:
            await anyio.lowlevel.checkpoint()
            return
        await self._record().owner.wait_for(self._record())

    def result(self) -> T_co:
        """Return what its function has returned, or raise what it has raised.

        Raises:
            JobStateError: It has not ended yet, or it was cancelled or lost.
        """
        if self.state is SUCCEEDED:
            return self._record().outcome  # type: ignore[return-value]  # what the function returned
        if self.state is JobState.FAILED and self.error is not None:
            # Raised again and again, an error would grow by the lines of all who have asked.
            traceback = self._record().outcome
            assert isinstance(traceback, TracebackType | None)
            raise BaseException.with_traceback(self.error, traceback)
        raise JobStateError(self.name, self.state, "it has no result")

    def cancel(self) -> bool:
        """Cancel it: take it out of its queue if it waits, cancel its run if it runs.

        A run of an async function ends as a task that is cancelled does. A blocking function cannot be ended: its
        ``stopping_token`` is set, if it takes one, and it keeps its place until it returns.

        From another thread than the event loop's the cancellation reaches the job at the loop's next turn.

        Returns:
            False if it has ended already, True otherwise. A run that withstands its cancellation, or ends before it
            comes, may still succeed.
        """
        return self._record().owner.cancel(self._record())

    def requeue(self) -> "Job[T_co]":
        """Enqueue a failed or lost job once more, at once: the same call and options, as a new job.

        Returns:
            The new job. This one stays as it is, but leaves the queue's ``failed`` or ``lost``; if an error is raised,
            it stays there.

        Raises:
            JobStateError: It has neither failed nor was it lost, or another job has its key.
            QueueFullError: There is no room.
            QueueClosedError: The queue's turn to stop has come.
        """
        return cast("Job[T_co]", self._record().owner.requeue(self._record()))

    def discard(self) -> None:
        """Take a failed or lost job off the queue's ``failed`` or ``lost``, for good; a second call does nothing.

        Raises:
            JobStateError: It has neither failed nor was it lost.
        """
        self._record().owner.discard(self._record())

    def _record(self) -> "JobRecord":
        return cast("JobRecord", self)  # what every job is

    def __repr__(self) -> str:
        """Show number, name and state."""
        return f"<Job {self.id} {self.name!r} {self.state}>"


class JobRecord(Job[object]):
    """The queue's side of a job; made by a queue, and shown as a `Job`.

    Attributes:
        owner: The queue.
        keywords: The keyword arguments, None if there are none.
        options: How it is to be run.
        kind: How its function has to be called.
        is_plain: Whether a plain call makes a coroutine, and nothing has to be done beside it.
        context: What it runs in; None when it has ended.
        call: Its run, if that needs more than a plain call.
        outcome: What it has returned, or the traceback with which it has failed.
        ended: Set at its end, if that is waited for.
    """

    __slots__ = ("call", "context", "ended", "is_plain", "keywords", "kind", "options", "outcome", "owner")

    def __init__(  # noqa: PLR0913, PLR0917  # made fast
        self,
        owner: JobOwner,
        function: Callable[..., object],
        args: tuple[object, ...],
        keywords: dict[str, object],
        options: Options,
        kind: FunctionKind,
        context: Context,
    ) -> None:
        """Make a job that waits."""
        self.id = self.attempts = 0
        self.function = function
        self.args = args
        self.key = options.key
        self.state = WAITING
        self.error = self.enqueued_at = self.due_at = self.started_at = self.ended_at = None
        self.owner = owner
        self.keywords = keywords or None
        self.options = options
        self.kind = kind
        self.is_plain = kind.makes_coroutine and options.timeout is None
        self.context: Context | None = context
        self.call: Call | None = None
        self.outcome: object = None
        self.ended: ThreadSafeEvent | None = None

    def plain_step(self) -> tuple[Coroutine[Any, Any, object], object]:
        """Return the coroutine of a plain call, and what it waits for first."""
        keywords = self.keywords
        coroutine: Any = self.function(*self.args, **keywords) if keywords else self.function(*self.args)
        return coroutine, coroutine.send(None)

    def work(self) -> Callable[..., object]:
        """Return the call to be made, which takes the token if the function does."""
        keywords = self.keywords or {}
        if not self.kind.takes_token:
            return partial(self.function, *self.args, **keywords)
        return lambda token: self.function(token, *self.args, **keywords)

    def end(self, state: JobState, now: float | None, outcome: object = None) -> None:
        """Set how it has ended, and wake those who wait for that; *now* is None where no loop runs."""
        self.outcome = outcome
        if now is not None:
            self.ended_at = now
        self.state = state
        self.context = self.call = None
        if self.ended is not None:
            self.ended.set()

    def require_kept(self, rule: str) -> None:
        """Refuse a job that has neither failed nor was lost, with the *rule* that it breaks.

        Raises:
            JobStateError: It is such a job.
        """
        if self.state not in (JobState.FAILED, JobState.LOST):
            raise JobStateError(self.name, self.state, rule)

    def ended_event(self) -> ThreadSafeEvent:
        """Return what is set at its end; under the queue's lock."""
        if self.ended is None:
            self.ended = ThreadSafeEvent()
            if self.state in ENDED:  # in its own thread, just now
                self.ended.set()
        return self.ended
