"""A task outside every caller's cancel scope, on asyncio and on trio, and a post into its loop from anywhere.

A task group of the caller's would tie the services to the task that entered it: cancelled with it, all at once, and
not to be left from another task. So the host's group lives in a root task of its own.
"""

import sys
import threading
from collections.abc import Callable, Coroutine, Generator
from contextvars import Context
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio

from hostkit._values.errors import HostStateError

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop, Future, Task

    from trio.lowlevel import Abort, RaiseCancelT
    from trio.lowlevel import Task as TrioTask


class EventLoop:
    """The task that holds a host's task group, and the way into its loop."""

    def __init__(self) -> None:
        """Bind to the running event loop.

        Raises:
            RuntimeError: No event loop runs in this thread.
        """
        self._asyncio_task: Task[None] | None = None
        is_trio = _is_trio()
        self.cancels_natively = not is_trio
        """Whether single tasks may be cancelled from outside, before their first step too, as on asyncio."""
        if is_trio:
            from trio import lowlevel

            token = lowlevel.current_trio_token()
            self._loop: object = token
            self._call_soon: Callable[[Callable[[], object]], object] = token.run_sync_soon
            self.time: Callable[[], float] = lowlevel.current_clock().current_time
        else:
            from asyncio import get_running_loop

            self._loop = loop = get_running_loop()
            self._call_soon = loop.call_soon_threadsafe
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

    def call_soon(self, callback: Callable[[], object]) -> bool:
        """Have *callback* called in the loop: from any thread or signal handler, without waiting, locking or raising.

        Returns:
            False if the loop has ended and the callback was dropped.
        """
        try:
            self._call_soon(callback)
        except RuntimeError:
            return False
        return True

    @property
    def in_loop(self) -> bool:
        """Whether this is called in the loop that it is bound to, in a task or a callback."""
        if _is_trio():
            from trio import lowlevel

            return lowlevel.current_trio_token() is self._loop
        return running_asyncio_loop() is self._loop

    @property
    def cancelled(self) -> bool:
        """Whether the task was cancelled natively, as asyncio does with every task when its loop is about to end."""
        return self._asyncio_task is not None and self._asyncio_task.cancelling() > 0


def require_backend(backend: str) -> None:
    """Raise a `HostStateError` if the event loop of that name is not installed."""
    from importlib.util import find_spec

    if backend != "asyncio" and find_spec(backend) is None:
        message = f"backend {backend!r} is not installed; install hostkit-py[{backend}]"
        raise HostStateError(message)


def require_asyncio(library: str) -> None:
    """Raise a `HostStateError` in a loop of trio's, where *library* does not run."""
    if _is_trio():
        message = f"{library} needs asyncio or uvloop, not trio; see the option backend (HOSTKIT_BACKEND)"
        raise HostStateError(message)


def run_loop(function: Callable[[], Coroutine[Any, Any, None]], backend: str) -> None:
    """Run the async *function* in an event loop of its own, the one that the option ``backend`` names."""
    anyio.run(
        function,
        backend="trio" if backend == "trio" else "asyncio",
        backend_options={"use_uvloop": True} if backend == "uvloop" else {},
    )


def loop_is_running() -> bool:
    """Return whether an event loop runs in this thread, even where no task does: in a callback of the loop."""
    return _is_trio() or running_asyncio_loop() is not None


def running_asyncio_loop() -> "AbstractEventLoop | None":
    """Return the asyncio loop that runs in this thread, if one does."""
    asyncio = sys.modules.get("asyncio")
    if asyncio is None or _is_trio():
        return None
    loop: AbstractEventLoop | None = asyncio._get_running_loop()  # noqa: SLF001  # documented for event loops
    return loop


def _is_trio() -> bool:
    trio = sys.modules.get("trio")
    return trio is not None and trio.lowlevel.in_trio_run()


def current_task() -> object:
    """Return the task that calls this, as its backend has it."""
    if _is_trio():
        from trio import lowlevel

        return lowlevel.current_task()
    task: object = sys.modules["asyncio"].current_task()
    return task


def forget_library(context: Context) -> None:
    """Have *context*, to be used where another loop or none runs, not name the library of the loop that it is from.

    anyio keeps the name in a context variable of sniffio's, where that is installed.
    """
    sniffio = sys.modules.get("sniffio")
    if sniffio is not None:
        context.run(sniffio.current_async_library_cvar.set, None)


def watch_scope() -> Callable[[], bool]:
    """Return a function that says whether this task's innermost cancel scope is the same as now.

    Neither backend has a public way to ask. Where the private one is gone, the answer is always yes, and what is only
    found out by it is not found out.
    """
    holder, name = current_task(), "_cancel_status"
    if not _is_trio():
        states = getattr(sys.modules.get("anyio._backends._asyncio"), "_task_states", {})
        holder, name = states.get(holder), "cancel_scope"
    scope = getattr(holder, name, None)
    return lambda: getattr(holder, name, None) is scope


def new_waiter() -> "TrioWaiter | Future[None]":
    """Return something that the current task awaits at once; `wake` ends that."""
    trio = sys.modules.get("trio")
    if trio is not None and trio.lowlevel.in_trio_run():
        return TrioWaiter()
    # Imported by the loop itself; an import statement would take as long as all the rest.
    waiter: Future[None] = sys.modules["asyncio"].get_running_loop().create_future()
    return waiter


def wake(waiter: "TrioWaiter | Future[None]") -> None:
    """End the wait, or do nothing if it has ended already."""
    if isinstance(waiter, TrioWaiter):
        waiter.wake()
    elif not waiter.done():
        waiter.set_result(None)


class TrioWaiter:
    """What a future is on asyncio: made by the task that awaits it next, woken once."""

    __slots__ = ("_task",)

    def __init__(self) -> None:
        """Prepare, in the task that is to wait."""
        from trio import lowlevel

        self._task: TrioTask | None = lowlevel.current_task()

    def __await__(self) -> Generator[Any, Any, None]:
        """Wait."""
        from trio import lowlevel

        return lowlevel.wait_task_rescheduled(self._abort).__await__()  # noqa: ASYNC105  # the caller awaits it

    def wake(self) -> None:
        """End the wait, or do nothing if it has ended already."""
        from trio import lowlevel

        task, self._task = self._task, None
        if task is not None:
            lowlevel.reschedule(task)

    def _abort(self, _: "RaiseCancelT") -> "Abort":
        from trio import lowlevel

        self._task = None
        return lowlevel.Abort.SUCCEEDED


class ThreadSafeEvent:
    """An event that may be set from any thread and awaited in any event loop, also in several."""

    __slots__ = ("_is_set", "_lock", "_waiters")

    def __init__(self) -> None:
        """Make an event that is not set."""
        self._is_set = False
        self._lock = threading.RLock()  # the garbage collector may end a wait while it is held
        self._waiters: dict[TrioWaiter | Future[None], EventLoop] = {}

    def set(self) -> None:
        """End every wait, now and later."""
        with self._lock:
            self._is_set = True
            waiters, self._waiters = self._waiters, {}
        for waiter, loop in waiters.items():
            if loop.in_loop:
                wake(waiter)
            else:
                loop.call_soon(partial(wake, waiter))

    async def wait(self) -> None:
        """Wait until it is set."""
        with self._lock:
            if self._is_set:
                return
            waiter = new_waiter()
            self._waiters[waiter] = EventLoop()
        try:
            await waiter
        finally:
            with self._lock:
                self._waiters.pop(waiter, None)
