"""Blocking calls on daemon threads: such a call may be abandoned, and never holds the process.

anyio's own worker threads are joined at the interpreter's exit on asyncio: one call that never returns would hold the
process for ever.
"""

import sys
import threading
from collections import deque
from collections.abc import Callable
from contextvars import copy_context
from inspect import isawaitable
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import anyio

from hostkit._execution.event_loop import EventLoop, TrioWaiter, forget_library, new_waiter, wake
from hostkit._execution.stack import thread_line
from hostkit._values.text import repr_of

if TYPE_CHECKING:
    from asyncio import Future

T = TypeVar("T")

IDLE_SECONDS = 10.0
"""After so long without a call a thread ends."""


class DaemonThread(Generic[T]):
    """One blocking call on a daemon thread, in a copy of the current context; made and awaited in the event loop.

    The thread is one of *pool*, or else one for this call alone, with the call's name.

    Attributes:
        ident: The identifier of the thread, None before the call has begun.
        returned: Whether the call has returned or raised, and the event loop has heard of it.
        abandoned: Whether the call is no longer waited for.
    """

    __slots__ = (
        "_context",
        "_error",
        "_function",
        "_on_returned",
        "_over",
        "_pool",
        "_result",
        "_waiters",
        "abandoned",
        "ident",
        "name",
        "returned",
    )

    def __init__(
        self,
        function: Callable[[], T],
        name: str,
        on_returned: Callable[[], object] | None = None,
        pool: "DaemonThreadPool | None" = None,
    ) -> None:
        """Prepare; `start` makes the call. *on_returned* is called in the loop, abandoned or not."""
        self.name = name
        self.ident: int | None = None
        self.returned = self.abandoned = False
        self._function = function
        self._context = copy_context()
        forget_library(self._context)
        self._on_returned = on_returned
        self._pool = pool
        self._over = False
        self._result: T | None = None
        self._error: BaseException | None = None
        self._waiters: list[TrioWaiter | Future[None]] = []

    def start(self) -> None:
        """Make the call; where the system has no thread left, it fails with a ``RuntimeError``."""
        if self._pool is None:
            self._pool = DaemonThreadPool(self.name)
            self._pool.close()
        self._pool.submit(self)

    async def wait(self) -> T:
        """Wait for the call's end, and return or raise what it did; cancelled, it leaves the call alone."""
        while not (self.returned or self.abandoned):
            await self._wait()
        if self._error is not None:
            raise self._error
        return self._result  # type: ignore[return-value]  # set, unless there is an error

    async def wait_returned(self) -> None:
        """Wait until the call has returned, also when it was abandoned."""
        while not self.returned:
            await self._wait()

    async def run_to_end(self) -> None:
        """Make the call and await what it returns to be awaited; only `abandon` ends the wait early."""
        self.start()
        with anyio.CancelScope(shield=True):
            result = await self.wait()
        if isawaitable(result):
            await result

    def abandon(self) -> None:
        """Wait no longer for the call: an error of it becomes a line on standard error."""
        self.abandoned = True
        assert self._pool is not None
        self._pool.awaited.discard(self)
        self._wake()

    def is_alive(self) -> bool:
        """Return whether the call was started and has not returned yet; from any thread."""
        return self._pool is not None and not self._over

    def line(self) -> str | None:
        """Return the innermost line of the user's own where the call is."""
        return None if self._over else thread_line(self.ident)

    # For the thread and its pool.

    def make(self) -> None:
        """Make the call, on the thread."""
        self.ident = threading.get_ident()
        try:
            self._result = self._context.run(self._function)
        except BaseException as error:  # noqa: BLE001  # raised again where the call is awaited
            self._error = error
        self._over = True
        del self._function, self._context  # the handle may be kept for long

    def fail(self, error: BaseException) -> None:
        """End a call that gets no thread."""
        self._error = error
        self._over = True

    def report_unheard(self) -> None:
        """Write an error that is raised nowhere to standard error."""
        if self._error is not None and sys.stderr is not None:
            sys.stderr.write(f"hostkit: abandoned thread {self.name!r} failed: {repr_of(self._error)}\n")

    def finish(self) -> None:
        """Pass the end of the call on, in the event loop."""
        self.returned = True
        self._wake()
        if self._on_returned is not None:
            self._on_returned()

    # Inside.

    async def _wait(self) -> None:
        waiter = new_waiter()
        self._waiters.append(waiter)
        await waiter

    def _wake(self) -> None:
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            wake(waiter)


class DaemonThreadPool:
    """Daemon threads that are used again; as many as there are calls that block at a time.

    At most one thread at a time is on its way to look for calls, and sends the next one when it leaves some: many short
    calls are made by few threads, one after the other.

    Attributes:
        awaited: The calls that are waited for.
    """

    def __init__(self, name: str) -> None:
        """Bind to the running event loop; the threads have this *name*."""
        self.awaited: set[DaemonThread[Any]] = set()
        self._name = name
        self._loop = EventLoop()
        self._lock = threading.Lock()
        self._calls: deque[DaemonThread[Any]] = deque()
        self._idle: list[_Thread] = []
        self._looking = False
        self._closed = False
        self._returned: deque[DaemonThread[Any]] = deque()
        self._posted = False

    def submit(self, call: "DaemonThread[Any]") -> None:
        """Have *call* made."""
        self.awaited.add(call)
        with self._lock:
            self._calls.append(call)
            if self._looking:
                return
            self._looking = True
        self._send_thread()

    def close(self) -> None:
        """End the threads that are idle, and the others as soon as they are; calls may still be made."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for thread in idle:
            thread.wakeup.release()

    # For the threads.

    def take(self, thread: "_Thread") -> "DaemonThread[Any] | None":
        """Return the next call for *thread*; wait for one, and return None when it is to end."""
        while True:
            with self._lock:
                if thread.was_sent:
                    thread.was_sent = self._looking = False
                if self._calls:
                    call = self._calls.popleft()
                    send = bool(self._calls) and not self._looking
                    self._looking |= send
                    break
                if self._closed:
                    return None
                self._idle.append(thread)
            if not thread.wakeup.acquire(timeout=IDLE_SECONDS):
                with self._lock:
                    if thread in self._idle:
                        self._idle.remove(thread)
                        return None
                thread.wakeup.acquire()  # it was woken just after the timeout
        if send:
            self._send_thread()
        return call

    def end(self, call: "DaemonThread[Any]") -> None:
        """Post the end of *call* to the event loop; not waited for, as the loop may be blocked, or gone."""
        self._returned.append(call)
        posted = self._posted
        if not posted:
            self._posted = True  # before the post: the loop may deliver at once
            posted = self._loop.call_soon(self._deliver)
            if not posted:
                self._posted = False
        if call.abandoned or not posted:
            call.report_unheard()
        if not posted:
            self.awaited.discard(call)

    # Inside.

    def _send_thread(self) -> None:
        with self._lock:
            thread = self._idle.pop() if self._idle else None
        if thread is not None:
            thread.was_sent = True
            thread.wakeup.release()
            return
        try:
            _Thread(self, self._name).start()
        except RuntimeError as error:  # the system has no thread left
            with self._lock:
                calls = list(self._calls)
                self._calls.clear()
                self._looking = False
            for call in calls:
                call.fail(error)
                self.end(call)

    def _deliver(self) -> None:
        self._posted = False
        while self._returned:
            call = self._returned.popleft()
            self.awaited.discard(call)  # here, not on the thread: virtual time would wait for a call that is over
            call.finish()


class _Thread(threading.Thread):
    """A thread of a pool."""

    def __init__(self, pool: DaemonThreadPool, name: str) -> None:
        super().__init__(name=name, daemon=True)
        self.pool = pool
        self.was_sent = True
        self.wakeup = threading.Lock()
        self.wakeup.acquire()

    def run(self) -> None:
        """Make one call after the other."""
        while (call := self.pool.take(self)) is not None:
            call.make()
            self.pool.end(call)
            del call  # an idle thread keeps nothing alive


def awaited_call_runs() -> bool:
    """Return whether a call on one of these threads is waited for."""
    return any(isinstance(thread, _Thread) and thread.pool.awaited for thread in threading.enumerate())
