"""Stopping tokens to set by hand: for tests of an `execute` without a host."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from hostkit._tokens.stopping_token import StoppingSource
from hostkit._tokens.thread_stopping_token import ThreadStoppingSource
from hostkit._values.durations import Duration, to_seconds

if TYPE_CHECKING:
    from collections.abc import Callable


class ManualStoppingToken(StoppingSource):
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

    def __init__(self, *, time_left: Duration = math.inf) -> None:
        """Make a token that no stop has reached yet.

        Args:
            time_left: What `time_left` is after the stop, always the same: in seconds or as a `timedelta`.
        """
        self._test = _Test(time_left)
        super().__init__(self._test)

    def request_stop(self) -> None:
        """Set the token, in its event loop, as a host does at the service's turn; a second call does nothing.

        Raises:
            ExceptionGroup: What `on_stop` callbacks have raised; all of them have been called.
        """
        super().request_stop()
        self._test.raise_errors()

    def on_stop(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Have *callback* called at the stop; see `StoppingToken.on_stop`."""
        undo = super().on_stop(callback)
        self._test.raise_errors()  # of one that came after the stop
        return undo


class ManualThreadStoppingToken(ThreadStoppingSource):
    """A `ThreadStoppingToken` that the test sets, with `request_stop`: for blocking code, in a thread of the test's.

    A thread that goes on sleeping in it after the stop gets an `AssertionError`, where a host would warn; errors of
    `on_stop` callbacks come out.
    """

    def __init__(self, *, time_left: Duration = math.inf) -> None:
        """Make a token that no stop has reached yet.

        Args:
            time_left: What `time_left` is after the stop, always the same: in seconds or as a `timedelta`.
        """
        self._test = _Test(time_left)
        super().__init__(self._test)

    def request_stop(self) -> None:
        """Set the token, from any thread; a second call does nothing.

        Raises:
            ExceptionGroup: What `on_stop` callbacks have raised; all of them have been called.
        """
        super().request_stop()
        self._test.raise_errors()

    def on_stop(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Have *callback* called at the stop; see `ThreadStoppingToken.on_stop`."""
        undo = super().on_stop(callback)
        self._test.raise_errors()  # of one that came after the stop
        return undo


class _Test:
    """The owner of a manual token."""

    def __init__(self, time_left: Duration) -> None:
        self._time_left = to_seconds(time_left, "time_left")
        self._errors: list[BaseException] = []

    def time_left(self) -> float:
        return self._time_left

    def log_ignored_stop(self) -> None:
        message = "goes on sleeping in its token after the stop: sleep() has returned True, leave the loop then"
        raise AssertionError(message)

    def on_callback_error(self, error: BaseException) -> None:
        self._errors.append(error)

    def raise_errors(self) -> None:
        errors, self._errors = self._errors, []
        if errors:
            message = "on_stop callbacks failed"
            raise BaseExceptionGroup(message, errors)
