"""Who is let into a queue: room, keys and numbers, for the event loop and for any other thread."""

import threading
from collections import deque
from collections.abc import Callable, Hashable
from contextvars import copy_context
from datetime import datetime
from itertools import count
from threading import get_ident
from typing import TYPE_CHECKING

import anyio

from hostkit import HostStateError
from hostkit._values.functions import name_of
from hostkit.jobs._errors import QueueClosedError, QueueFullError
from hostkit.jobs._job import Job, JobState
from hostkit.jobs._kinds import KINDS, kind_of
from hostkit.jobs._options import Options

if TYPE_CHECKING:
    from hostkit.jobs._desk import Desk

AnyJob = Job[object]
When = float | datetime | None
"""In how many seconds, or at which instant, or at once."""
Post = Callable[[Callable[[], object]], object]


class Intake:
    """The door of a queue.

    The event loop's own jobs go straight to their place. What comes from other threads, or before the start, lies in a
    tray until the loop takes it in. Those others hold a lock, in which nothing waits; the loop takes it for keys alone,
    as a lock would be a tenth of the price of a job. For the room it needs none: everybody counts himself in first and
    looks then, so that of the loop and a thread that meet at the last place never both come in.

    Attributes:
        capacity: How many jobs may be in that have not begun.
        pending: How many of these are in the loop's hands, with the places that are promised.
        promised: How many places are promised to callers who have waited for one.
        waiters: Those who wait.
        tray: What the loop has not taken in.
        thread: The event loop's, while there is one.
        closed: Whether nothing more is let in.
    """

    def __init__(self, desk: "Desk", capacity: int) -> None:
        """Give what comes in to *desk*, in the loop."""
        self.capacity = capacity
        self.pending = self.promised = 0
        self.waiters: deque[_Waiter] = deque()
        self.tray: list[tuple[AnyJob, When]] = []
        self.thread: int | None = None
        self.closed = False
        self._desk = desk
        self._post: Post | None = None
        self._posted = False
        self._accepted_in_loop = self._accepted_outside = 0
        self._numbers = count(1)
        self._keys: dict[Hashable, AnyJob] = {}
        # Once more from the thread that holds it: what the garbage collector ends meanwhile may enqueue as well.
        self._lock = threading.RLock()

    @property
    def accepted(self) -> int:
        """How many jobs were let in since the queue was made."""
        return self._accepted_in_loop + self._accepted_outside

    def open(self, post: Post) -> None:
        """Let jobs in, in the running event loop, into which *post* posts; take in what has come before."""
        with self._lock:
            self.closed = self._posted = False
            self.thread = get_ident()
            self._post = post
        self.take_in()

    def close(self) -> None:
        """Let nothing more in; whoever waits for room is refused."""
        with self._lock:
            self.closed = True
        self.take_in()
        for waiter in self.waiters:
            waiter.event.set()
        self.waiters.clear()

    def leave(self) -> None:
        """Leave the event loop."""
        with self._lock:
            self.thread = self._post = None

    def put(  # noqa: C901, PLR0913, PLR0917  # what the verbs hand on; in one piece, as every job pays for it
        self,
        options: Options,
        when: When,
        function: Callable[..., object],
        args: tuple[object, ...],
        kwargs: dict[str, object],
        promise: "_Waiter | None" = None,
    ) -> AnyJob | None:
        """Accept a job, or return the one that has its key; None if there is no room, for which a *promise* is good.

        Raises:
            QueueClosedError: Nothing is let in any more.
            TypeError: *function* is none.
        """
        try:
            kind = KINDS[function]
        except (KeyError, TypeError):  # not known yet, or not hashable
            kind = kind_of(function)
        quick = kind.quick and options.timeout is None
        if get_ident() != self.thread:
            return self._put_into_tray(options, when, function, args, kwargs, quick=quick)
        if self.tray:
            self.take_in()  # first come, first served
        if self.closed:
            raise QueueClosedError(options.name or name_of(function))
        key = options.key
        if key is not None:
            self._lock.acquire()
        try:
            if key is not None and key in self._keys:
                return self._keys[key]
            if promise is not None:
                promise.has_place = False
                self.promised -= 1
            else:
                self.pending += 1
                if self.pending + len(self.tray) > self.capacity:
                    self.pending -= 1
                    return None
            self._accepted_in_loop += 1
            number = next(self._numbers)
            job: AnyJob = Job(self._desk, number, function, args, kwargs, options, copy_context(), quick)
            if key is not None:
                self._keys[key] = job
        finally:
            if key is not None:
                self._lock.release()
        self._desk.place(job, when)
        return job

    async def put_waiting(
        self,
        options: Options,
        when: When,
        function: Callable[..., object],
        args: tuple[object, ...],
        kwargs: dict[str, object],
    ) -> AnyJob:
        """Accept a job as soon as there is room for it.

        Raises:
            QueueClosedError: Nothing is let in any more.
            QueueFullError: The queue was not started: nothing makes room.
            HostStateError: This is not the host's event loop.
        """
        if self.thread is None:
            raise QueueFullError(self.capacity)
        self.require_loop("to wait for room in a full queue")
        waiter = _Waiter()
        self.waiters.append(waiter)
        self.pass_on()  # a thread may have been at the door together with the loop, and have been refused as well
        try:
            await waiter.event.wait()
            job = self.put(options, when, function, args, kwargs, waiter)
        finally:
            # Cancelled, refused, or given the job that has its key: others may have its place.
            if waiter in self.waiters:
                self.waiters.remove(waiter)
            if waiter.has_place:
                self.promised -= 1
                self.pending -= 1
                self.pass_on()
        assert job is not None  # a promised place is nobody else's
        return job

    def take_in(self) -> None:
        """Put what lies in the tray into its place, in the loop."""
        if get_ident() != self.thread:
            return  # posted into a loop that the queue has left
        with self._lock:
            tray, self.tray = self.tray, []
            self._posted = False
            self.pending += len(tray)
        for job, when in tray:
            self._desk.place(job, when)

    def take_out(self, job: AnyJob) -> bool:
        """Take *job* out of the tray, if it is in there."""
        with self._lock:
            for index, (other, _) in enumerate(self.tray):
                if other is job:
                    del self.tray[index]
                    return True
        return False

    def pass_on(self) -> None:
        """Promise places that are free to callers who wait for one, first come, first served."""
        if not self.waiters:
            return
        with self._lock:
            while self.waiters and self.pending + len(self.tray) < self.capacity:
                waiter = self.waiters.popleft()
                waiter.has_place = True
                self.promised += 1
                self.pending += 1
                waiter.event.set()

    def forget(self, job: AnyJob) -> None:
        """Let the key of *job*, which has ended, be used again."""
        with self._lock:
            del self._keys[job._options.key]

    def require_loop(self, purpose: str) -> None:
        """Refuse what is only for the host's event loop, anywhere else.

        Raises:
            HostStateError: This is another thread.
        """
        if self.thread not in (None, get_ident()):
            message = f"{purpose} is for the host's event loop only; use HostThread.call() from other threads"
            raise HostStateError(message)

    def _put_into_tray(  # noqa: PLR0913  # what the verbs hand on
        self,
        options: Options,
        when: When,
        function: Callable[..., object],
        args: tuple[object, ...],
        kwargs: dict[str, object],
        *,
        quick: bool,
    ) -> AnyJob | None:
        key = options.key
        with self._lock:
            if self.closed:
                raise QueueClosedError(options.name or name_of(function))
            if key is not None and key in self._keys:
                return self._keys[key]
            job: AnyJob = Job(self._desk, 0, function, args, kwargs, options, copy_context(), quick)
            self.tray.append((job, when))
            if self.pending + len(self.tray) > self.capacity:
                self.tray.pop()
                return None
            job.id = next(self._numbers)
            if when is not None:
                job._state = JobState.DELAYED
            self._accepted_outside += 1
            if key is not None:
                self._keys[key] = job
            if self._post is not None and not self._posted:
                self._posted = True
                self._post(self.take_in)
        return job


class _Waiter:
    """A caller who waits for room."""

    __slots__ = ("event", "has_place")

    def __init__(self) -> None:
        self.event = anyio.Event()
        self.has_place = False
