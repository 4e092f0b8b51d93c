"""Which jobs are accepted: capacity and keys, for the event loop and for any other thread."""

import threading
from collections import OrderedDict
from contextlib import suppress
from typing import TYPE_CHECKING

from hostkit._execution.event_loop import ThreadSafeEvent
from hostkit.jobs._errors import QueueClosedError
from hostkit.jobs._job import ENDED, JobRecord

if TYPE_CHECKING:
    from collections.abc import Hashable


class Reservation:
    """The place of a caller who waits for room."""

    __slots__ = ("event", "has_place")

    def __init__(self) -> None:
        """Make one that has no place yet."""
        self.event = ThreadSafeEvent()
        self.has_place = False


class Admission:
    """Counts the jobs that have not begun, and gives out numbers and keys; under *lock*, in which nothing waits.

    Attributes:
        accepted: How many jobs were accepted.
        begun: How many of these wait no longer; retries wait again. For the event loop to count.
        closed: Whether nothing more is accepted.
        waiters: The callers who wait for room, in order.
    """

    def __init__(self, capacity: int, lock: threading.RLock) -> None:
        """Accept so many jobs that have not begun."""
        self.capacity = capacity
        self._lock = lock
        self.accepted = self.begun = 0
        self.closed = False
        self._reserved = 0
        self.waiters: OrderedDict[Reservation, None] = OrderedDict()
        self._keys: dict[Hashable, JobRecord] = {}

    @property
    def waiting(self) -> int:
        """How many jobs have not begun."""
        return self.accepted - self.begun

    def admit(self, job: JobRecord, reservation: Reservation | None = None) -> JobRecord | None:
        """Give *job* its number and return it, or return the one that has its key; None if there is no room.

        Raises:
            QueueClosedError: Nothing is accepted any more.
        """
        with self._lock:
            # Who was promised no place has waited until the queue was closed; it may be open again.
            if self.closed or (reservation is not None and not reservation.has_place):
                raise QueueClosedError(job.name)
            key = job.key
            if key is not None:
                holder = self._keys.get(key)
                if holder is not None and holder.state not in ENDED:
                    return holder
            if reservation is not None:
                reservation.has_place = False
                self._reserved -= 1
            elif self.accepted - self.begun + self._reserved >= self.capacity:
                return None
            self.accepted = job.id = self.accepted + 1
            if key is not None:
                self._keys[key] = job
        return job

    async def wait_for_place(self) -> Reservation:
        """Wait until there is room, first come, first served; `admit` with it, or `give_back`."""
        reservation = Reservation()
        with self._lock:
            self.waiters[reservation] = None
            self.grant()
        try:
            await reservation.event.wait()
        except BaseException:
            self.give_back(reservation)
            raise
        return reservation

    def give_back(self, reservation: Reservation) -> None:
        """Give up a place, or the wait for one."""
        with self._lock:
            self.waiters.pop(reservation, None)
            if reservation.has_place:
                self._reserved -= 1
                self.grant()

    def leave(self) -> None:
        """Count a job that waits no longer."""
        self.begun += 1
        if self.waiters:
            self.grant()

    def release_key(self, job: JobRecord) -> None:
        """Let the key of *job* be used again."""
        # Its comparison is the user's. What stays is harmless: `admit` takes no notice of jobs that have ended.
        with self._lock, suppress(Exception):
            if self._keys.get(job.key) is job:
                del self._keys[job.key]

    def close(self) -> None:
        """Accept nothing more; callers who wait for a place are refused."""
        with self._lock:
            self.closed = True
            waiters = list(self.waiters)
            self.waiters.clear()
        for reservation in waiters:
            reservation.event.set()

    def open(self) -> None:
        """Accept jobs again."""
        with self._lock:
            self.closed = False

    def grant(self) -> None:
        """Give places that are free to those who wait for one."""
        with self._lock:
            while self.waiters and self.waiting + self._reserved < self.capacity:
                reservation, _ = self.waiters.popitem(last=False)
                reservation.has_place = True
                self._reserved += 1
                reservation.event.set()
