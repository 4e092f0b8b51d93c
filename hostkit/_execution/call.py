"""One call of a user's function: with or without a token, on the event loop or on a thread, within a timeout."""

from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from inspect import isawaitable
from typing import Any, Protocol

import anyio

from hostkit._execution.daemon_thread import DaemonThread, DaemonThreadPool
from hostkit._execution.stack import traceback_line
from hostkit._values.functions import FunctionKind


class StopSource(Protocol):
    """The token of one call, as the side sees it that requests the stop."""

    def request_stop(self) -> None:
        """Request it."""


class StopSignal(Protocol):
    """The token of the service that makes the call."""

    def on_stop(self, callback: Callable[[], None], /) -> Callable[[], None]:
        """Have *callback* called at the stop, or at once; return what takes that back."""
        ...


class CallOwner(Protocol):
    """The service's side of a call."""

    def make_token(self, kind: FunctionKind) -> StopSource:
        """Return a new token for a function of that kind."""
        ...

    def on_late(self, line: str | None) -> None:
        """Note that a thread, at *line*, has not returned within its timeout, and is waited for all the same."""

    def on_abandoned(self, thread: DaemonThread[object]) -> None:
        """Note that a thread is no longer waited for."""


class Call:
    """The call.

    Its token is its own, set together with the service's: jobs share a task, and waits in a service's own token would
    be waits of the service.

    Attributes:
        cancelled: Whether `cancel_thread` has been called.
        timed_out: Whether it took longer than its timeout, whatever it has made of its cancellation.
    """

    __slots__ = (
        "_kind",
        "_name",
        "_owner",
        "_pool",
        "_release",
        "_signal",
        "_thread",
        "_timeout",
        "_token",
        "_work",
        "cancelled",
        "timed_out",
    )

    def __init__(  # noqa: PLR0913, PLR0917  # what it takes to make a call
        self,
        work: Callable[..., object],
        name: str,
        kind: FunctionKind,
        timeout: float | None,
        signal: StopSignal,
        owner: CallOwner,
        pool: DaemonThreadPool,
        release: Callable[[], object] | None = None,
    ) -> None:
        """Prepare to call *work*, with a token in front if *kind* says so; *timeout* is in seconds.

        A blocking function gets a thread of *pool*; *release* is called in the event loop when that has returned.
        """
        self._work = work
        self._name = name
        self._kind = kind
        self._timeout = timeout
        self._signal = signal
        self._owner = owner
        self._pool = pool
        self._release = release
        self._token: StopSource | None = None
        self._thread: DaemonThread[object] | None = None
        self.cancelled = self.timed_out = False

    def make(self) -> Coroutine[Any, Any, object]:
        """Make the call when it is awaited, and return what the function returns.

        Raises:
            TimeoutError: It took longer than its timeout.
        """
        return self._with_token() if self._kind.takes_token else self._make(self._work)

    def cancel_thread(self) -> bool:
        """Set the token of what runs on a thread, as that cannot be cancelled; return False if nothing does."""
        if self._thread is None or self._thread.returned:
            return False
        self.cancelled = True
        self._request_stop()
        return True

    def line(self) -> str | None:
        """Return the innermost line of the user's own where it is in a thread, None if it is in none."""
        return None if self._thread is None else self._thread.line()

    async def _with_token(self) -> object:
        token = self._token = self._owner.make_token(self._kind)
        undo = self._signal.on_stop(token.request_stop)
        try:
            return await self._make(partial(self._work, token))
        finally:
            undo()

    def _make(self, work: Callable[[], object]) -> Coroutine[Any, Any, object]:
        return self._within_timeout(work, self._timeout) if self._kind.is_async else self._on_thread(work)

    async def _on_thread(self, work: Callable[[], object]) -> object:
        thread = self._thread = DaemonThread(work, self._name, self._release, self._pool)
        thread.start()
        timeout, left, late, line = self._timeout, None, False, None
        try:
            if timeout is not None:
                began = anyio.current_time()
                with anyio.move_on_after(timeout):
                    await thread.wait_returned()
                left = began + timeout - anyio.current_time()
                late = not thread.returned
            if late:
                # It cannot be ended, only asked; another run beside it would be worse than to wait for it.
                line = thread.line()
                self._owner.on_late(line)
                self._request_stop()
            result = await thread.wait()
        finally:
            if not thread.returned:
                thread.abandon()
                self._owner.on_abandoned(thread)
        if isawaitable(result):
            result = await self._within_timeout(lambda: result, left)
        if late:
            raise self._timeout_error(line)
        return result

    async def _within_timeout(self, work: Callable[[], object], seconds: float | None) -> object:
        awaitable: Awaitable[object] = work()  # type: ignore[assignment]  # as an async function has it
        if seconds is None:
            return await awaitable
        with anyio.move_on_after(seconds) as scope:
            try:
                return await awaitable
            except BaseException as error:
                line = traceback_line(error.__traceback__)
                raise
            finally:
                # Which a backend may not have noticed, where the loop was blocked.
                self.timed_out = scope.cancel_called or anyio.current_time() >= scope.deadline
        raise self._timeout_error(line)

    def _timeout_error(self, line: str | None) -> TimeoutError:
        self.timed_out = True
        at = f", at {line}" if line else ""
        return TimeoutError(f"job {self._name!r} took longer than {self._timeout:g} s{at}")

    def _request_stop(self) -> None:
        if self._token is not None:
            self._token.request_stop()
