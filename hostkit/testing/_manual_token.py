"""Stopping tokens to set by hand: for tests of an `execute` without a host."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hostkit._tokens.stopping_token import StoppingToken
from hostkit._tokens.thread_stopping_token import ThreadStoppingToken

if TYPE_CHECKING:
    from collections.abc import Callable


class ManualStoppingToken(StoppingToken):
    """A `StoppingToken` that the test sets, with `request_stop`.

    It is stricter than a host, which only warns or logs: a task that goes on sleeping in the token after the stop gets
    an `AssertionError`, so that the test ends; and errors of `on_stop` callbacks come out:

    .. code-block:: python

        async def test_cleans_every_hour(manual_stopping_token):
            cleanup = LogCleanup(directory)
            async with anyio.create_task_group() as group:
                group.start_soon(cleanup.execute, manual_stopping_token)
                await anyio.sleep(2.5 * 3600)
                manual_stopping_token.request_stop()

            assert cleanup.rounds == 3
    """

    def __init__(self) -> None:
        """Make a token that no stop has reached yet."""
        self._test = _Test()
        super().__init__(self._test)

    def request_stop(self) -> None:
        """Set the token, in its event loop, as a host does at the service's turn; a second call does nothing.

        Raises:
            ExceptionGroup: What `on_stop` callbacks have raised; all of them have been called.
        """
        self._set()
        self._test.raise_errors()

    def on_stop(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Have *callback* called at the stop; see `StoppingToken.on_stop`."""
        undo = super().on_stop(callback)
        self._test.raise_errors()  # of one that came after the stop
        return undo


class ManualThreadStoppingToken(ThreadStoppingToken):
    """A `ThreadStoppingToken` that the test sets, with `request_stop`: for blocking code, in a thread of the test's.

    A thread that goes on sleeping in it after the stop gets an `AssertionError`, where a host would warn.
    """

    def __init__(self) -> None:
        """Make a token that no stop has reached yet."""
        super().__init__(_Test().note_ignored_stop)

    def request_stop(self) -> None:
        """Set the token, from any thread; a second call does nothing."""
        self._set()


class _Test:
    """Who a manual token belongs to."""

    def __init__(self) -> None:
        self._errors: list[BaseException] = []

    def note_ignored_stop(self) -> None:
        message = "goes on sleeping in its token after the stop: sleep() has returned True, leave the loop then"
        raise AssertionError(message)

    def note_callback_error(self, error: BaseException) -> None:
        self._errors.append(error)

    def raise_errors(self) -> None:
        errors, self._errors = self._errors, []
        if errors:
            message = "on_stop callbacks failed"
            raise BaseExceptionGroup(message, errors)
