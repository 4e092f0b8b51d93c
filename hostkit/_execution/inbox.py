"""What other threads ask of a service: done in the event loop that runs it."""

import threading
from collections import deque
from collections.abc import Callable
from threading import get_ident

from hostkit._execution.event_loop import EventLoop


class Inbox:
    """Has things done in the event loop that runs a service, in order; while none does, by the thread that asks.

    Attributes:
        thread: The identifier of that loop's thread, None while no loop runs the service.
        actions: What is still to be done.
        lock: Held while a thread does something itself. It may be taken again by the thread that holds it: what the
            garbage collector ends meanwhile may ask for something as well.
    """

    def __init__(self) -> None:
        """Make one that no event loop reads yet."""
        self.lock = threading.RLock()
        self.actions: deque[Callable[[], object]] = deque()
        self._loop: EventLoop | None = None
        self.thread: int | None = None

    @property
    def is_open(self) -> bool:
        """Whether an event loop runs the service."""
        return self._loop is not None

    @property
    def in_loop(self) -> bool:
        """Whether this is called in the thread of that event loop."""
        return get_ident() == self.thread

    def open(self) -> EventLoop:
        """Have everything done in the running event loop from now on, and return that; under the lock."""
        self._loop = EventLoop()
        self.thread = get_ident()
        return self._loop

    def close(self) -> None:
        """Have each thread do what it asks for itself again."""
        with self.lock:
            self._loop = self.thread = None
            self._run()

    def do(self, action: Callable[[], object]) -> None:
        """Do something: now, if this is the event loop or none runs the service, and else at the loop's next turn."""
        if self.in_loop:
            self.take_in()  # first come, first served
            action()
            return
        with self.lock:
            if self._loop is None:
                action()
                return
            self.actions.append(action)
            if not self._loop.call_soon(self.take_in):
                self._run()  # the loop has ended without a stop of the service

    def take_in(self) -> None:
        """Do what was asked for; nothing where this was posted into a loop that the service has left."""
        if self.actions and self.in_loop:
            self._run()

    def _run(self) -> None:
        while self.actions:
            self.actions.popleft()()
