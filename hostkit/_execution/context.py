"""A coroutine in a context of its own, without a task of its own.

A task for each run of a job is too dear, and jobs that share a task would share its context variables. So the task
awaits the coroutine's steps, each of them taken in the job's own context. What belongs to a task stays the task's:
cancellation, timeouts, task groups and cancel scopes work as in a plain ``await``.
"""

from collections.abc import Coroutine, Generator
from contextvars import Context
from types import FrameType
from typing import Any, Generic, Self, TypeVar

T = TypeVar("T")


class ContextCoroutine(Generic[T]):
    """What to await instead of *coroutine*, once, so that its steps are taken in *context*.

    The first step is the caller's, as it is often the only one: ``context.run(coroutine.send, None)`` raises
    ``StopIteration`` with the result, or returns the *first* thing to wait for.
    """

    __slots__ = ("_context", "_coroutine", "_first", "_pending")

    def __init__(self, coroutine: Coroutine[Any, Any, T], context: Context, first: object) -> None:
        """Go on after the first step."""
        self._coroutine = coroutine
        self._context = context
        self._first = first
        self._pending = True

    # An iterator, as ``await`` wants one.

    def __await__(self) -> Generator[Any, Any, T]:
        """Return itself."""
        return self  # pyright: ignore[reportReturnType]  # all that an await asks for

    def __iter__(self) -> Self:
        """Return itself."""
        return self

    def __next__(self) -> object:
        """Take the next step."""
        if self._pending:
            self._pending = False
            first, self._first = self._first, None
            return first
        return self._context.run(self._coroutine.send, None)

    def send(self, value: object) -> object:
        """Take the next step with a value; trio's loop does so."""
        return self._context.run(self._coroutine.send, value)

    def throw(self, *error: Any) -> object:  # noqa: ANN401  # in the forms that a generator takes
        """Raise an error where the coroutine waits."""
        return self._context.run(self._coroutine.throw, *error)

    def close(self) -> None:
        """End the coroutine: the event loop is gone."""
        self._context.run(self._coroutine.close)

    # So that a search for the line where a task waits goes through it as through a coroutine.

    @property
    def cr_frame(self) -> FrameType | None:
        """The coroutine's frame."""
        frame: FrameType | None = getattr(self._coroutine, "cr_frame", None)
        return frame

    @property
    def cr_await(self) -> object:
        """What the coroutine waits for."""
        return getattr(self._coroutine, "cr_await", None)
