"""Daemon threads for blocking calls: reused, limited in number, and no reason for the process to stay.

anyio's own worker threads are joined at the interpreter's exit on asyncio: one call that never returns would hold the
process for ever.
"""

import sys
import threading
from collections import deque
from collections.abc import Callable
from contextvars import copy_context
from functools import partial
from queue import SimpleQueue
from typing import Any, Generic, TypeVar, TypeVarTuple, Unpack

import anyio

from hostkit._execution.event_loop import RootTask
from hostkit._execution.stack import thread_line
from hostkit._values.text import repr_of

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class DaemonThreads:
    """At most *limit* calls at a time, each on a daemon thread; a thread is made when it is first needed.

    Its methods belong to the event loop. `close` lets the threads go; they are made again when needed, in another
    event loop too.
    """

    def __init__(self, limit: int, name: str) -> None:
        """Prepare, but start no thread yet; *name* is that of the threads, with a number."""
        self._limit = limit
        self._name = name
        self._count = 0
        self._closed = False
        self._idle: list[_Worker] = []
        self._running: set[ThreadCall[Any]] = set()
        self._waiting: deque[ThreadCall[Any]] = deque()
        self._all_returned: anyio.Event | None = None
        self._root: RootTask | None = None

    @property
    def running(self) -> "frozenset[ThreadCall[Any]]":
        """The calls that hold a thread, abandoned ones included."""
        return frozenset(self._running)

    async def run(self, function: Callable[[Unpack[Ts]], T], *args: *Ts) -> T:
        """Call *function* on a thread, in a copy of the current context; return what it returns, raise what it raises.

        Waits for a free thread. Cancelled, it leaves at once; a call that has begun cannot be ended: it is abandoned,
        and holds its thread until it returns.
        """
        call = await self.start(function, *args)
        try:
            return await call.wait()
        except BaseException:
            call.abandon()
            raise

    async def start(self, function: Callable[[Unpack[Ts]], T], *args: *Ts) -> "ThreadCall[T]":
        """Begin a call as `run` does, as soon as a thread is free, and return while it runs."""
        call = ThreadCall(partial(copy_context().run, function, *args))
        if len(self._running) < self._limit:
            self._running.add(call)
        else:
            await self._wait_for_turn(call)
        # Where it returns to: the loop of the latest call, for a thread may outlive its own.
        self._root = RootTask()
        self._closed = False
        try:
            worker = self._idle.pop() if self._idle else self._new_worker()
        except BaseException:  # no thread is to be had
            self._leave(call)
            raise
        worker.give(call)
        return call

    async def wait_returned(self) -> None:
        """Wait until every call has returned, abandoned ones included."""
        while self._running:
            self._all_returned = anyio.Event()
            await self._all_returned.wait()

    def close(self) -> None:
        """Let the threads go: idle ones now, the others when their call returns."""
        self._closed = True
        while self._idle:
            self._idle.pop().give(None)

    async def _wait_for_turn(self, call: "ThreadCall[Any]") -> None:
        self._waiting.append(call)
        try:
            await call.turn.wait()
        except BaseException:
            if call in self._running:
                self._leave(call)
            else:
                self._waiting.remove(call)
            raise

    def _new_worker(self) -> "_Worker":
        self._count += 1
        worker = _Worker(self, f"{self._name} {self._count}")
        worker.start()
        return worker

    def _post(self, callback: Callable[[], object]) -> bool:
        return self._root is not None and self._root.post(callback)

    def _on_returned(self, worker: "_Worker", call: "ThreadCall[Any]") -> None:
        """Take note, in the loop, that *call* has returned."""
        worker.call = None
        if self._closed:
            worker.give(None)
        else:
            self._idle.append(worker)
        self._leave(call)
        if call.abandoned:
            call.report_error(worker.name)
        else:
            call.returned.set()

    def _leave(self, call: "ThreadCall[Any]") -> None:
        self._running.discard(call)
        if self._waiting:
            following = self._waiting.popleft()
            self._running.add(following)
            following.turn.set()
        elif not self._running and self._all_returned is not None:
            self._all_returned.set()


def any_call_runs() -> bool:
    """Return whether somebody waits for a call on one of these threads."""
    calls = [thread.call for thread in threading.enumerate() if isinstance(thread, _Worker)]
    return any(call is not None and not call.abandoned for call in calls)


class ThreadCall(Generic[T]):
    """One call on a thread."""

    def __init__(self, work: Callable[[], T]) -> None:
        """Prepare; a thread calls `perform`."""
        self._work = work
        self._result: T | None = None
        self._error: BaseException | None = None
        self._thread: int | None = None
        self.turn = anyio.Event()
        """Set when it is its turn to have a thread."""
        self.returned = anyio.Event()
        self.abandoned = False

    async def wait(self) -> T:
        """Wait until it has returned; return what it returns, raise what it raises.

        Cancelled, it leaves the call alone: wait again, or `abandon` it.
        """
        await self.returned.wait()
        if self._error is not None:
            raise self._error
        return self._result  # type: ignore[return-value]  # set, unless there is an error

    def abandon(self) -> None:
        """Care no more for what comes of it; if that is an error, it becomes a line on standard error."""
        self.abandoned = True

    def line(self) -> str | None:
        """Return the innermost line of the user's own where the call is."""
        return thread_line(self._thread)

    def perform(self) -> None:
        """Make the call, on its thread."""
        self._thread = threading.get_ident()
        try:
            self._result = self._work()
        except BaseException as error:  # noqa: BLE001  # raised again where the call is awaited
            self._error = error

    def report_error(self, thread: str) -> None:
        """Tell of an error that nobody waits for."""
        if self._error is not None and sys.stderr is not None:
            sys.stderr.write(f"hostkit: abandoned call on thread {thread!r} failed: {repr_of(self._error)}\n")


class _Worker(threading.Thread):
    """A thread that makes one call after the other."""

    def __init__(self, owner: DaemonThreads, name: str) -> None:
        super().__init__(name=name, daemon=True)
        self._owner = owner
        self.call: ThreadCall[Any] | None = None
        """What it does, until the loop knows of its end."""
        self._calls: SimpleQueue[ThreadCall[Any] | None] = SimpleQueue()

    def give(self, call: "ThreadCall[Any] | None") -> None:
        """Hand the next call to the thread, or None for its end."""
        self.call = call
        self._calls.put(call)

    def run(self) -> None:
        """Make calls until there are no more."""
        owner = self._owner
        while (call := self._calls.get()) is not None:
            call.perform()
            # Posted, not waited for: the loop may be blocked, or gone.
            if not owner._post(partial(owner._on_returned, self, call)):
                owner._running.discard(call)
                call.report_error(self.name)
                self.call = None
                return
            del call
