"""A task outside every caller's cancel scope, on asyncio and on trio, and a post into its loop from anywhere.

A task group of the caller's would tie the services to the task that entered it: cancelled with it, all at once, and
not to be left from another task. So the host's group lives in a root task of its own.
"""

import sys
from collections.abc import Callable, Coroutine
from contextvars import Context


class RootTask:
    """The task that holds a host's task group, and the way into its loop."""

    def __init__(self) -> None:
        """Bind to the running event loop.

        Raises:
            RuntimeError: No event loop runs in this thread.
        """
        self._asyncio_task: object = None
        self._cancelling: Callable[[], int] | None = None
        if _is_trio():
            from trio import lowlevel

            self._loop: object = lowlevel.current_trio_token()
            self._post: Callable[[Callable[[], object]], object] = lowlevel.current_trio_token().run_sync_soon
            self.time: Callable[[], float] = lowlevel.current_clock().current_time
        else:
            from asyncio import get_running_loop

            self._loop = loop = get_running_loop()
            self._post = loop.call_soon_threadsafe
            self.time = loop.time
        """The loop's time, for any thread and for signal handlers."""

    def spawn(
        self, function: Callable[[], Coroutine[object, object, None]], context: Context, on_lost: Callable[[], object]
    ) -> None:
        """Run the async *function*, which must not raise, in a copy of *context*.

        *on_lost* is called when asyncio's loop has ended before the function could begin.
        """
        if _is_trio():
            from trio import lowlevel

            lowlevel.spawn_system_task(function, name="hostkit", context=context.copy())
        else:
            from asyncio import get_running_loop

            # The loop itself holds its tasks weakly.
            task = get_running_loop().create_task(function(), name="hostkit", context=context.copy())
            task.add_done_callback(lambda task: on_lost() if task.cancelled() else None)
            self._asyncio_task = task
            self._cancelling = task.cancelling

    def post(self, callback: Callable[[], object]) -> bool:
        """Have *callback* called in the loop: from any thread or signal handler, without waiting, locking or raising.

        Returns:
            False if the loop has ended and the callback was dropped.
        """
        try:
            self._post(callback)
        except RuntimeError:
            return False
        return True

    @property
    def in_loop(self) -> bool:
        """Whether this is called in the loop that it is bound to, in a task or a callback."""
        if _is_trio():
            from trio import lowlevel

            return lowlevel.current_trio_token() is self._loop
        from asyncio import _get_running_loop

        return _get_running_loop() is self._loop

    @property
    def cancelled(self) -> bool:
        """Whether the task was cancelled natively, as asyncio does with every task when its loop is about to end."""
        return self._cancelling is not None and self._cancelling() > 0


def loop_is_running() -> bool:
    """Return whether an event loop runs in this thread, even where no task does: in a callback of the loop."""
    asyncio = sys.modules.get("asyncio")
    return _is_trio() or (asyncio is not None and asyncio._get_running_loop() is not None)


def _is_trio() -> bool:
    trio = sys.modules.get("trio")
    return trio is not None and trio.lowlevel.in_trio_run()
