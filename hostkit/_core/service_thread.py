"""A daemon thread of a service's own: its blocking loop beside the event loop."""

import sys
import threading
from collections.abc import Callable
from contextvars import copy_context
from inspect import isawaitable

import anyio

from hostkit._execution.event_loop import RootTask
from hostkit._values.text import repr_of


class ServiceThread:
    """One run of a blocking function on a thread that does not hold the process."""

    def __init__(self, function: Callable[[], object], name: str, root: RootTask) -> None:
        """Prepare, but start nothing yet."""
        self._function = function
        self._root = root
        self._ended = anyio.Event()
        self._result: object = None
        self._error: BaseException | None = None
        self._dropped = False
        self._thread = threading.Thread(target=copy_context().run, args=(self._work,), name=name, daemon=True)

    @property
    def ident(self) -> int | None:
        """The thread's identifier, None before it was started."""
        return self._thread.ident

    @property
    def alive(self) -> bool:
        """Whether the thread still runs."""
        return self._thread.is_alive()

    async def run(self) -> None:
        """Run the function and raise what it raises; what it returns to be awaited is awaited here, in the loop.

        A thread cannot be cancelled: neither is the wait for it. `abandon` ends the wait.
        """
        self._thread.start()
        with anyio.CancelScope(shield=True):
            await self._ended.wait()
        if self._error is not None:
            raise self._error
        if isawaitable(self._result):
            await self._result

    def abandon(self) -> None:
        """End the wait, not the thread; what it raises from now on is a line on standard error."""
        self._dropped = True
        self._ended.set()

    def _work(self) -> None:
        try:
            self._result = self._function()
        except BaseException as error:  # noqa: BLE001  # raised again where the service is awaited
            self._error = error
        # Posted, not waited for: the loop may be gone or blocked.
        heard = self._root.post(self._ended.set) and not self._dropped
        if self._error is not None and not heard and sys.stderr is not None:
            sys.stderr.write(f"hostkit: abandoned thread {self._thread.name!r} failed: {repr_of(self._error)}\n")
